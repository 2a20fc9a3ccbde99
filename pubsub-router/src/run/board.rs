//! Which subscriptions there are, and how they are.

use pubsub_core::{Changes, ChannelName, GroupName};
use tokio::sync::watch;

/// How a subscription is.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ConsumerState {
    /// Events flow.
    Active,
    /// Being restored; the text says why.
    Recovering(String),
    /// Paused by [`Running::pause`](crate::Running::pause).
    Paused,
    /// Takes no more, and finishes what it has.
    Draining,
    /// Ended; the text says why, where nobody asked for it.
    Ended(Option<String>),
}

/// A subscription, and how it is.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ConsumerStatus {
    /// Its group.
    pub group: GroupName,
    /// Its channel.
    pub channel: ChannelName,
    /// How it is.
    pub state: ConsumerState,
}

impl ConsumerStatus {
    /// Whether it does what it should: it takes events, or somebody told it not to.
    pub fn is_ready(&self) -> bool {
        matches!(self.state, ConsumerState::Active | ConsumerState::Paused)
    }
}

/// Watches all subscriptions of a router. A slow watcher sees the latest states, not each one.
#[derive(Clone, Debug)]
pub struct Watch(watch::Receiver<Vec<ConsumerStatus>>);

impl Watch {
    /// All subscriptions as they are now.
    pub fn current(&self) -> Vec<ConsumerStatus> {
        self.0.borrow().clone()
    }

    /// Waits for the next change; `None` once the router is gone. Cancel safe.
    pub async fn changed(&mut self) -> Option<Vec<ConsumerStatus>> {
        self.0.changed().await.ok()?;
        Some(self.0.borrow_and_update().clone())
    }

    /// The states as a stream, which begins with the present ones.
    pub fn into_stream(self) -> Changes<Vec<ConsumerStatus>> {
        Changes::new(self.0)
    }
}

#[derive(Debug, Default)]
pub(crate) struct Board(watch::Sender<Vec<ConsumerStatus>>);

impl Board {
    pub(crate) fn watch(&self) -> Watch {
        Watch(self.0.subscribe())
    }

    pub(crate) fn current(&self) -> Vec<ConsumerStatus> {
        self.0.borrow().clone()
    }

    /// Takes a subscription away that somebody has stopped.
    pub(crate) fn remove(&self, group: &GroupName, channel: &ChannelName) {
        self.0.send_if_modified(|all| {
            let before = all.len();
            all.retain(|status| status.group != *group || status.channel != *channel);
            all.len() < before
        });
    }

    /// Notes how a subscription is. One that has ended by itself stays on the board.
    pub(crate) fn set(&self, group: &GroupName, channel: &ChannelName, state: ConsumerState) {
        self.0.send_if_modified(|all| {
            match all.iter_mut().find(|status| status.group == *group && status.channel == *channel) {
                Some(status) if status.state == state => return false,
                Some(status) => status.state = state,
                None => all.push(ConsumerStatus { group: group.clone(), channel: channel.clone(), state }),
            }
            true
        });
    }
}
