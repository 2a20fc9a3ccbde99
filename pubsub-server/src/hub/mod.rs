//! The hub: from one broker subscription per channel to any number of streams.
//!
//! A channel's latest events lie in a [`log`], written once as text that all streams share. A stream is a cursor into the
//! logs of its channels; it is woken when something comes, and ended when it lags behind what a log keeps. A stream that
//! begins in the past reads history page by page until it meets an event that lies in the log, and goes on there: nothing
//! is missed and nothing comes twice.

mod channel;
mod frame;
mod log;
mod open;
mod stream;
mod subscriber;

use std::{
    collections::HashMap,
    fmt,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering},
    },
    time::Duration,
};

use pubsub_core::{ChannelName, Direction, ErrorKind, Message, PubSub, Timestamp, driver::AdapterState, rpc::Reply};
use tokio::time::{Instant, sleep_until, timeout};

use channel::{Channel, Feed};
pub(crate) use frame::{Heading, envelope_text};
use log::Bounds;
pub(crate) use open::{Ask, OnGap, Start, Wanted};
pub(crate) use stream::{EventStream, Filter};
use subscriber::{End, Seat, Subscriber};

use crate::{ApiError, Settings};

/// How long opening a channel may take.
const OPEN: Duration = Duration::from_secs(5);

/// What all channels of a server share.
pub(crate) struct Shared {
    pub(crate) bus: PubSub,
    bounds: Bounds,
    outage_grace: Duration,
    last_activity: AtomicI64,
    slow: AtomicU64,
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared").finish_non_exhaustive()
    }
}

impl Shared {
    pub(crate) fn note_activity(&self) {
        self.last_activity.store(self.bus.clock().now().as_millis(), Ordering::Relaxed);
    }

    fn note_slow(&self, streams: u64) {
        if streams > 0 {
            self.slow.fetch_add(streams, Ordering::Relaxed);
        }
    }

    /// Whether clients never see this event: internal ones, requests that only read, and what nobody declared where that is
    /// needed.
    pub(crate) fn is_hidden(&self, message: &Message) -> bool {
        match self.bus.catalog().versions(message.name()).last() {
            Some(definition) => definition.direction() == Direction::Internal || definition.is_read_only(),
            None => {
                let undeclared = self.bus.policy(message.channel()).is_ok_and(|policy| policy.allow_undeclared);
                !undeclared || Reply::is_reply(message)
            }
        }
    }
}

/// All channels that have streams, and all streams.
#[derive(Clone, Debug)]
pub(crate) struct Hub {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    shared: Arc<Shared>,
    max_streams: usize,
    slots: Mutex<HashMap<ChannelName, Arc<Slot>>>,
    streams: Mutex<HashMap<u64, Arc<Subscriber>>>,
    next_stream: AtomicU64,
    draining: AtomicBool,
}

/// A channel that is opened by the first stream and closed behind the last one.
#[derive(Debug, Default)]
struct Slot {
    /// How many streams have it or are about to; changed under the lock of the table.
    users: AtomicU64,
    feed: tokio::sync::Mutex<Option<Feed>>,
    /// The channel of the feed, for those who only look.
    open: Mutex<Option<Arc<Channel>>>,
}

/// One use of a slot.
#[derive(Debug)]
struct Use {
    inner: Arc<Inner>,
    name: ChannelName,
    slot: Arc<Slot>,
}

impl Drop for Use {
    fn drop(&mut self) {
        let mut slots = self.inner.slots();
        if self.slot.users.fetch_sub(1, Ordering::Relaxed) == 1 {
            // The feed ends with the last holder of the slot, which is this.
            slots.remove(&self.name);
        }
    }
}

/// A stream's part in a channel, given back when the stream ends by whatever side.
#[derive(Debug)]
struct Holding {
    channel: Arc<Channel>,
    seat: Arc<Seat>,
    place: usize,
    _used: Use,
}

impl Drop for Holding {
    fn drop(&mut self) {
        self.channel.seats.remove(self.place, &self.seat);
    }
}

impl Inner {
    fn slots(&self) -> MutexGuard<'_, HashMap<ChannelName, Arc<Slot>>> {
        // The table is whole at every point where a panic could come from.
        self.slots.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn streams(&self) -> MutexGuard<'_, HashMap<u64, Arc<Subscriber>>> {
        self.streams.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How a channel that has streams is.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Occupied {
    pub(crate) streams: usize,
    /// Whether its broker subscription works.
    pub(crate) is_up: bool,
}

impl Hub {
    pub(crate) fn new(bus: &PubSub, settings: &Settings) -> Self {
        let shared = Shared {
            bus: bus.clone(),
            bounds: Bounds { events: settings.buffer_events as u64, bytes: settings.buffer_bytes },
            outage_grace: settings.outage_grace,
            last_activity: AtomicI64::new(0),
            slow: AtomicU64::new(0),
        };
        let inner = Inner {
            shared: Arc::new(shared),
            max_streams: settings.max_streams,
            slots: Mutex::default(),
            streams: Mutex::default(),
            next_stream: AtomicU64::new(0),
            draining: AtomicBool::new(false),
        };
        Self { inner: Arc::new(inner) }
    }

    pub(crate) fn shared(&self) -> &Arc<Shared> {
        &self.inner.shared
    }

    /// How many streams are open.
    pub(crate) fn streams(&self) -> usize {
        self.inner.streams().len()
    }

    /// How many streams were ended because they did not read.
    pub(crate) fn slow_dropped(&self) -> u64 {
        self.inner.shared.slow.load(Ordering::Relaxed)
    }

    /// When an event last came or went.
    pub(crate) fn last_activity(&self) -> Option<Timestamp> {
        let millis = self.inner.shared.last_activity.load(Ordering::Relaxed);
        Timestamp::from_millis(millis).ok().filter(|_| millis != 0)
    }

    /// The channels that have streams.
    pub(crate) fn occupied(&self) -> Vec<(ChannelName, Occupied)> {
        let slots = self.inner.slots();
        let all = slots.iter().filter_map(|(name, slot)| {
            let open = slot.open.lock().unwrap_or_else(PoisonError::into_inner);
            let channel = open.as_ref()?;
            let (streams, is_up) = (channel.seats.count(), !channel.is_over());
            (streams > 0).then(|| (name.clone(), Occupied { streams, is_up }))
        });
        all.collect()
    }

    /// How many streams a channel has.
    pub(crate) fn streams_of(&self, name: &ChannelName) -> usize {
        let slots = self.inner.slots();
        let Some(slot) = slots.get(name) else { return 0 };
        let open = slot.open.lock().unwrap_or_else(PoisonError::into_inner);
        open.as_ref().map_or(0, |channel| channel.seats.count())
    }

    pub(crate) fn is_draining(&self) -> bool {
        self.inner.draining.load(Ordering::Acquire)
    }

    /// Opens no more streams, and ends those that are open, spread evenly over `within`. Cancel safety: who drops the
    /// future leaves the rest open.
    pub(crate) async fn drain(&self, within: Duration) {
        self.inner.draining.store(true, Ordering::Release);
        let all: Vec<Arc<Subscriber>> = self.inner.streams().values().cloned().collect();
        let (started, count) = (Instant::now(), u32::try_from(all.len()).unwrap_or(u32::MAX).max(1));
        for (index, subscriber) in (0_u32..).zip(all) {
            sleep_until(started + within / count * index).await;
            subscriber.end(End::Drained);
        }
        // Whoever was let in while the signal was given.
        let late: Vec<_> = self.inner.streams().values().cloned().collect();
        for subscriber in late {
            subscriber.end(End::Drained);
        }
    }

    /// The channel, opened if it has no streams yet.
    async fn channel(&self, name: &ChannelName) -> Result<(Use, Arc<Channel>), ApiError> {
        let used = {
            let mut slots = self.inner.slots();
            let slot = slots.entry(name.clone()).or_default().clone();
            slot.users.fetch_add(1, Ordering::Relaxed);
            Use { inner: self.inner.clone(), name: name.clone(), slot }
        };
        let shared = &self.inner.shared;
        let channel = {
            let mut feed = used.slot.feed.lock().await;
            if let Some(open) = feed.as_ref().filter(|feed| !feed.is_over()) {
                open.channel.clone()
            } else {
                if matches!(shared.bus.states().current(), AdapterState::Connecting | AdapterState::Closed) {
                    return Err(ApiError::unavailable("the broker cannot be reached"));
                }
                *feed = None;
                let opened = timeout(OPEN, Feed::open(shared, name)).await;
                let opened = opened.map_err(|_| ApiError::unavailable("the broker did not answer in time"))?;
                let opened = opened.map_err(|error| {
                    tracing::warn!(channel = %name, %error, "a channel cannot be opened");
                    match error.kind() {
                        // Nobody asked for a place yet, and the channel is one that there may be.
                        ErrorKind::NotFound | ErrorKind::PositionExpired => {
                            ApiError::unavailable("the channel is not ready")
                        }
                        _ => ApiError::of(&error),
                    }
                })?;
                let channel = opened.channel.clone();
                *used.slot.open.lock().unwrap_or_else(PoisonError::into_inner) = Some(channel.clone());
                *feed = Some(opened);
                channel
            }
        };
        Ok((used, channel))
    }
}
