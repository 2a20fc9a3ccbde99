//! The policies of channels that were declared: publishing and subscribing follow them.

use std::{
    collections::HashMap,
    sync::{PoisonError, RwLock},
};

use pubsub_core::{ChannelName, ChannelPolicy};

/// What `ensure` has learned.
#[derive(Debug, Default)]
pub(crate) struct DeclaredPolicies(RwLock<HashMap<ChannelName, ChannelPolicy>>);

impl DeclaredPolicies {
    /// Remembers a channel.
    pub(crate) fn insert(&self, channel: &ChannelName, policy: &ChannelPolicy) {
        // The table is whole at every point where a panic could come from.
        self.0.write().unwrap_or_else(PoisonError::into_inner).insert(channel.clone(), policy.clone());
    }

    /// The policy of a channel, if it was declared through this adapter.
    pub(crate) fn get(&self, channel: &ChannelName) -> Option<ChannelPolicy> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).get(channel).cloned()
    }

    /// Every channel that was declared, to declare it again on a broker that lost it.
    pub(crate) fn all(&self) -> Vec<(ChannelName, ChannelPolicy)> {
        let table = self.0.read().unwrap_or_else(PoisonError::into_inner);
        table.iter().map(|(channel, policy)| (channel.clone(), policy.clone())).collect()
    }
}
