//! `listChannels` and `getChannelInfo`: which channels there are, and how they are.

use std::{collections::BTreeSet, sync::PoisonError};

use futures_util::{StreamExt, stream};
use pubsub_core::{ChannelName, ChannelPattern, ChannelPolicy, Ordering};
use serde::{Deserialize, Serialize};

use super::input;
use crate::{
    ApiError, Operation,
    edge::{Caller, Edge, Inner},
    policy::WebPolicy,
};

/// How many channels are looked at at the same time.
const AT_ONCE: usize = 16;

/// What is asked for.
#[derive(Debug, Default, Deserialize)]
pub(crate) struct ListInput {
    #[serde(default, deserialize_with = "input::given")]
    pub(crate) family: Option<String>,
}

/// Which channel is asked for.
#[derive(Debug, Deserialize)]
pub(crate) struct InfoInput {
    pub(crate) channel: String,
}

/// All channels that the caller may read.
#[derive(Debug, Serialize)]
pub(crate) struct ChannelList {
    channels: Vec<ChannelInfo>,
}

/// A channel, or a pattern of channels.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ChannelInfo {
    name: String,
    pattern: bool,
    family: Option<String>,
    description: Option<String>,
    event_types: Vec<String>,
    ordered: bool,
    history_size: Option<u64>,
    history_retention_ms: Option<u64>,
    max_subscribers: Option<u32>,
    max_event_size: Option<usize>,
    active_subscribers: usize,
    latest: Option<String>,
}

impl Edge {
    pub(crate) async fn list_channels(&self, caller: &Caller, input: ListInput) -> Result<ChannelList, ApiError> {
        let user = caller.user()?.map(|user| &**user);
        let mut infos = Vec::new();
        let mut names: BTreeSet<ChannelName> = BTreeSet::new();
        for (pattern, web) in self.policies.iter() {
            match pattern {
                ChannelPattern::Exact(name) => {
                    names.insert(name.clone());
                }
                ChannelPattern::Family(_) => {
                    let sample = sample(pattern);
                    let Ok(allowed) = self.exposed(&sample) else { continue };
                    if self.may(user, &sample, Operation::Read, &allowed).await? {
                        infos.push(self.describe(pattern.to_string(), true, web, &allowed.core, None));
                    }
                }
                ChannelPattern::All => {}
            }
        }
        names.extend(self.met.lock().unwrap_or_else(PoisonError::into_inner).keys().cloned());
        let mut readable = Vec::new();
        for name in names {
            let Ok(allowed) = self.exposed(&name) else { continue };
            if self.may(user, &name, Operation::Read, &allowed).await? {
                readable.push(name);
            }
        }
        let look = |name: ChannelName| async move { self.look_at(&name).await };
        let mut found: Vec<_> = stream::iter(readable).map(look).buffered(AT_ONCE).collect().await;
        infos.extend(found.drain(..).collect::<Result<Vec<_>, _>>()?);
        if let Some(family) = &input.family {
            infos.retain(|info| info.family.as_ref() == Some(family));
        }
        Ok(ChannelList { channels: infos })
    }

    pub(crate) async fn channel_info(&self, caller: &Caller, input: InfoInput) -> Result<ChannelInfo, ApiError> {
        let user = caller.user()?.map(|user| &**user);
        let channel = input::channel(&input.channel)?;
        self.allow(user, &channel, Operation::Read).await?;
        self.look_at(&channel).await
    }
}

impl Inner {
    async fn look_at(&self, channel: &ChannelName) -> Result<ChannelInfo, ApiError> {
        let latest = self.latest(channel).await?;
        let allowed = self.exposed(channel)?;
        let mut info = self.describe(channel.to_string(), false, allowed.web, &allowed.core, Some(channel));
        info.latest = latest;
        Ok(info)
    }

    fn describe(
        &self,
        name: String,
        pattern: bool,
        web: &WebPolicy,
        core: &ChannelPolicy,
        channel: Option<&ChannelName>,
    ) -> ChannelInfo {
        let mut event_types: Vec<String> = self
            .public_definitions()
            .filter(|definition| Some(definition.channel()) == channel)
            .map(|definition| definition.name().to_string())
            .collect();
        event_types.dedup();
        let family = || name.strip_suffix(".*").map(str::to_owned);
        ChannelInfo {
            family: web.family.clone().or_else(|| if pattern { family() } else { family_of(web) }),
            description: web.description.clone(),
            event_types,
            ordered: core.ordering != Ordering::None,
            history_size: if core.retention.history { core.retention.count } else { Some(0) },
            history_retention_ms: core.retention.age.map(|age| u64::try_from(age.as_millis()).unwrap_or(u64::MAX)),
            max_subscribers: web.subscribers(core),
            max_event_size: web.max_event_size,
            active_subscribers: channel.map_or(0, |channel| self.hub.streams_of(channel)),
            latest: None,
            pattern,
            name,
        }
    }
}

/// A channel that stands for all of a pattern.
pub(super) fn sample(pattern: &ChannelPattern) -> ChannelName {
    match pattern {
        ChannelPattern::Exact(name) => name.clone(),
        ChannelPattern::Family(family) => ChannelName::parse(&format!("{family}.x")).unwrap_or_else(|_| family.clone()),
        // No policy of a server has it.
        ChannelPattern::All => ChannelName::from_static("x").unwrap_or_else(|_| unreachable!("the name is good")),
    }
}

/// The family of a channel below a pattern is that of the pattern.
fn family_of(web: &WebPolicy) -> Option<String> {
    web.pattern.strip_suffix(".*").map(str::to_owned)
}
