//! States that an adapter and its subscriptions report, and the signal to drain.

use std::{
    fmt,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use tokio::sync::{Notify, watch};

use crate::{Changes, ChannelName, observe::Tally};

/// The connection of an adapter.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum AdapterState {
    /// Not connected yet.
    Connecting,
    /// Connected; publishing and subscribing work.
    Ready,
    /// Connected in part, or lost and being restored; the text says why.
    Degraded(String),
    /// Closed by its owner.
    Closed,
}

/// The answer to a ping.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Health {
    /// The connection's state.
    pub state: AdapterState,
    /// How long the broker took to answer, if it did.
    pub round_trip: Option<Duration>,
}

impl Health {
    /// An answer.
    pub fn new(state: AdapterState, round_trip: Option<Duration>) -> Self {
        Self { state, round_trip }
    }

    /// Whether publishing and subscribing work now.
    pub fn is_up(&self) -> bool {
        self.state == AdapterState::Ready
    }
}

/// How often a connection that was ready became ready again.
#[derive(Default)]
struct Restored {
    count: Tally,
    /// The same, for the metrics of whoever uses the adapter first.
    named: OnceLock<Tally>,
    was_ready: AtomicBool,
}

/// Watches the states of an adapter. A slow watcher sees the latest state, not each one.
#[derive(Clone)]
pub struct States {
    receiver: watch::Receiver<AdapterState>,
    restored: Arc<Restored>,
}

impl States {
    /// The state now.
    pub fn current(&self) -> AdapterState {
        self.receiver.borrow().clone()
    }

    /// Waits for the next change; `None` once the adapter is gone. Cancel safe.
    pub async fn changed(&mut self) -> Option<AdapterState> {
        self.receiver.changed().await.ok()?;
        Some(self.receiver.borrow_and_update().clone())
    }

    /// The state as a stream, which begins with the present one.
    pub fn into_stream(self) -> Changes<AdapterState> {
        Changes::new(self.receiver)
    }

    /// How often a connection that was lost has been restored since the adapter was made. No change is missed.
    pub fn restored(&self) -> u64 {
        self.restored.count.get()
    }

    /// Counts restored connections into `tally`, too, unless they are counted into another one.
    pub(crate) fn count_restored(&self, tally: Tally) {
        if self.restored.named.set(tally).is_ok()
            && let Some(named) = self.restored.named.get()
        {
            named.add(self.restored.count.get());
        }
    }
}

impl fmt::Debug for States {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("States").field("current", &self.current()).field("restored", &self.restored()).finish()
    }
}

/// The adapter's end of [`States`].
pub struct StateSender {
    sender: watch::Sender<AdapterState>,
    restored: Arc<Restored>,
}

impl StateSender {
    /// Starts in the given state.
    pub fn new(state: AdapterState) -> Self {
        let restored = Restored { was_ready: AtomicBool::new(state == AdapterState::Ready), ..Restored::default() };
        Self { sender: watch::Sender::new(state), restored: Arc::new(restored) }
    }

    /// Reports a state; the same state twice is one change.
    pub fn set(&self, state: AdapterState) {
        self.sender.send_if_modified(|current| {
            let changed = *current != state;
            // One change after the other, under the lock of the channel.
            if changed && state == AdapterState::Ready && self.restored.was_ready.swap(true, Ordering::Relaxed) {
                self.restored.count.one();
                self.restored.named.get().into_iter().for_each(Tally::one);
            }
            *current = state;
            changed
        });
    }

    /// The state now.
    pub fn current(&self) -> AdapterState {
        self.sender.borrow().clone()
    }

    /// A new watcher.
    pub fn watch(&self) -> States {
        States { receiver: self.sender.subscribe(), restored: self.restored.clone() }
    }
}

impl fmt::Debug for StateSender {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("StateSender").field(&self.current()).finish()
    }
}

/// The connection of one subscription.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum SubscriptionState {
    /// Events flow.
    Active,
    /// The subscription is being restored; the text says why.
    Recovering(String),
}

/// Events that a subscription will not see.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Gap {
    /// The channel.
    pub channel: ChannelName,
    /// How many events, if it is known.
    pub lost: Option<u64>,
    /// Why.
    pub reason: GapReason,
}

impl Gap {
    /// A gap of `lost` events.
    pub fn new(channel: ChannelName, lost: Option<u64>, reason: GapReason) -> Self {
        Self { channel, lost, reason }
    }
}

/// Why events are missing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum GapReason {
    /// The subscriber was slower than its buffer, under [`SlowConsumer::DropOldest`](super::SlowConsumer).
    SlowConsumer,
    /// Retention removed them first.
    Retention,
    /// The connection was down, and nothing keeps events on this channel.
    Disconnected,
    /// The broker lost or deleted its data.
    DataLoss,
}

/// Tells subscriptions that their owner shuts down: hand out no more, and leave unsettled what nobody settles.
#[derive(Clone, Default)]
pub struct Drain(Arc<DrainState>);

#[derive(Default)]
struct DrainState {
    draining: AtomicBool,
    notify: Notify,
}

impl Drain {
    /// A signal that was not given yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Gives the signal.
    pub fn start(&self) {
        self.0.draining.store(true, Ordering::SeqCst);
        self.0.notify.notify_waiters();
    }

    /// Whether it was given.
    pub fn is_draining(&self) -> bool {
        self.0.draining.load(Ordering::Acquire)
    }

    /// Waits until it is given. Cancel safe.
    pub async fn started(self) {
        let notified = self.0.notify.notified();
        tokio::pin!(notified);
        notified.as_mut().enable();
        if !self.is_draining() {
            notified.await;
        }
    }
}

impl fmt::Debug for Drain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Drain({})", self.is_draining())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_connection_is_restored_when_it_is_ready_again() {
        let lost = || AdapterState::Degraded("the broker is away".to_owned());
        let sender = StateSender::new(AdapterState::Connecting);
        let states = sender.watch();
        for (state, restored) in [
            (lost(), 0),
            (AdapterState::Ready, 0),
            (AdapterState::Ready, 0),
            (lost(), 0),
            (AdapterState::Ready, 1),
            (AdapterState::Connecting, 1),
            (AdapterState::Ready, 2),
        ] {
            sender.set(state.clone());
            assert_eq!(states.restored(), restored, "{state:?}");
        }
        assert_eq!(sender.watch().restored(), 2);
    }
}
