//! A world: the private corner of a backend in which one case runs.

use std::{
    fmt,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::{SystemTime, UNIX_EPOCH},
};

use futures_util::future::join_all;
use pubsub_core::{
    ChannelName, ChannelPolicy, EventName, Policies, PubSub, PubSubBuilder, Raw, Result, Subscribe,
    driver::{Adapter, Capabilities},
};

use super::{Bounds, Failure, Harness, Verdict};

/// What a case works with.
pub type Ctx = Arc<World>;

/// On which kind of channel a case runs, where it makes sense on both.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// A durable channel, read by a group.
    Durable,
    /// An ephemeral channel, read by a broadcast.
    Ephemeral,
}

/// How much a case does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Size {
    /// What fits a CI run.
    Default,
    /// The full counts, chosen by `PUBSUB_TEST_LONG=1`.
    Long,
}

impl Size {
    /// The size that the environment asks for.
    pub fn from_env() -> Self {
        match std::env::var("PUBSUB_TEST_LONG") {
            Ok(value) if !value.is_empty() && value != "0" => Self::Long,
            _ => Self::Default,
        }
    }
}

/// Unique names, handles to the adapter under test, and their end.
pub struct World {
    harness: Arc<dyn Harness>,
    name: String,
    size: Size,
    names: AtomicU64,
    handles: Mutex<Vec<PubSub>>,
}

impl World {
    /// A world of its own for one run of a case.
    pub fn new(harness: Arc<dyn Harness>, size: Size) -> Ctx {
        Arc::new(Self { harness, name: unique(), size, names: AtomicU64::new(0), handles: Mutex::default() })
    }

    /// Another world on the same backend, as if it were another broker. The case closes it itself.
    pub fn sibling(&self) -> Ctx {
        Self::new(self.harness.clone(), self.size)
    }

    /// The world's name, as the harness got it.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The harness.
    pub fn harness(&self) -> &dyn Harness {
        &*self.harness
    }

    /// The adapter's bounds.
    pub fn bounds(&self) -> Bounds {
        self.harness.bounds()
    }

    /// A count: the first in CI, where the harness may lower it, the second in the long form.
    pub fn count(&self, default: usize, long: usize) -> usize {
        match self.size {
            Size::Default => self.harness.sized(default).max(1),
            Size::Long => long,
        }
    }

    /// A channel name that is used nowhere else. `hint` must follow the channel grammar.
    ///
    /// # Errors
    /// If it does not.
    pub fn channel(&self, hint: &str) -> Verdict<ChannelName> {
        Ok(ChannelName::parse(&format!("{hint}-{}", self.number()))?)
    }

    /// A group name that is used nowhere else. `hint` must follow the group grammar.
    pub fn group(&self, hint: &str) -> String {
        format!("{hint}-{}", self.number())
    }

    /// An event name that is used nowhere else.
    ///
    /// # Errors
    /// If `hint` holds a colon or a space.
    pub fn event(&self, hint: &str) -> Verdict<EventName> {
        Ok(EventName::parse(&format!("conformance:{hint}-{}", self.number()))?)
    }

    fn number(&self) -> u64 {
        self.names.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// A fresh adapter without a handle around it. The case closes it itself.
    ///
    /// # Errors
    /// What the harness reports.
    pub async fn adapter(&self) -> Result<Arc<dyn Adapter>> {
        self.harness.adapter(&self.name).await
    }

    /// What the adapter declares.
    ///
    /// # Errors
    /// What the harness reports.
    pub async fn capabilities(&self) -> Verdict<Capabilities> {
        Ok(self.bus().await?.capabilities())
    }

    /// A handle over a fresh adapter, with default policies.
    ///
    /// # Errors
    /// What the harness reports.
    pub async fn bus(&self) -> Verdict<PubSub> {
        self.bus_with(Ok).await
    }

    /// A handle over a fresh adapter, whose channels all follow `policy`.
    ///
    /// # Errors
    /// What the harness reports.
    pub async fn bus_of(&self, policy: ChannelPolicy) -> Verdict<PubSub> {
        self.bus_with(|builder| Ok(builder.policies(Policies::new(policy)))).await
    }

    /// A handle over a fresh adapter, whose channels are all durable or all ephemeral.
    ///
    /// # Errors
    /// What the harness reports.
    pub async fn bus_in(&self, mode: Mode) -> Verdict<PubSub> {
        self.bus_of(mode.policy()).await
    }

    /// A handle over a fresh adapter, built as `build` says. The world closes it in the end.
    ///
    /// # Errors
    /// What the harness and `build` report.
    pub async fn bus_with(&self, build: impl FnOnce(PubSubBuilder) -> Result<PubSubBuilder> + Send) -> Verdict<PubSub> {
        let adapter = self.adapter().await.map_err(|error| Failure::from(error).during("opening an adapter"))?;
        let bus = build(PubSub::builder(adapter))?.build();
        self.handles.lock().unwrap_or_else(PoisonError::into_inner).push(bus.clone());
        Ok(bus)
    }

    /// A subscription to all events of a channel: in a group of this name on a durable channel, a broadcast on an
    /// ephemeral one.
    pub fn reader(&self, bus: &PubSub, channel: &ChannelName, mode: Mode, group: &str) -> Subscribe<Raw> {
        let subscribe = bus.subscribe_channel(channel.as_str());
        match mode {
            Mode::Durable => subscribe.group(group),
            Mode::Ephemeral => subscribe,
        }
    }

    /// Closes a handle now, as a process does that ends in good order.
    ///
    /// # Errors
    /// If it does not close within its bound.
    pub async fn close_bus(&self, bus: &PubSub) -> Verdict {
        let deadline = self.bounds().close;
        match tokio::time::timeout(deadline * 2, bus.close(deadline)).await {
            Ok(closed) => closed.map_err(|error| Failure::from(error).during("closing a handle")),
            Err(_) => Err(Failure::new(format!("a handle to close within {deadline:?}"), "still closing")),
        }
    }

    /// Closes every handle that is left.
    ///
    /// # Errors
    /// If one of them does not close within its bound.
    pub async fn close(&self) -> Verdict {
        let handles = std::mem::take(&mut *self.handles.lock().unwrap_or_else(PoisonError::into_inner));
        let closed = join_all(handles.iter().map(|bus| self.close_bus(bus))).await;
        closed.into_iter().collect()
    }
}

impl Mode {
    /// Sets how many events a reader may have unsettled, where it settles at all.
    pub fn in_flight(self, reader: Subscribe<Raw>, events: usize) -> Subscribe<Raw> {
        match self {
            Self::Durable => reader.max_in_flight(events),
            Self::Ephemeral => reader,
        }
    }

    /// Sets how many events a reader of this mode may have before it: unsettled in a group, unread in a broadcast.
    pub fn bound(self, reader: Subscribe<Raw>, events: usize) -> Subscribe<Raw> {
        match self {
            Self::Durable => reader.max_in_flight(events),
            Self::Ephemeral => reader.buffer(events),
        }
    }

    /// The policy of channels in this mode.
    pub fn policy(self) -> ChannelPolicy {
        match self {
            Self::Durable => ChannelPolicy::new(),
            Self::Ephemeral => ChannelPolicy::new().ephemeral(),
        }
    }
}

/// A name that no other run on this backend has: process, time and a counter.
fn unique() -> String {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let time = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_millis());
    format!("w{:x}-{time:x}-{:x}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed))
}

impl fmt::Debug for World {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("World").field("harness", &self.harness.name()).field("name", &self.name).finish_non_exhaustive()
    }
}
