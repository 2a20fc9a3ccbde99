//! An adapter of one's own, held to the same rules as all others: `cargo run --example custom_adapter`.
//!
//! The board is a list of events per world that everybody reads at their own pace. That is all it can do, and all it
//! declares: it offers broadcasts, wildcards and replay, but no groups. The conformance suite runs what it declares,
//! and sees to it that the rest is refused.
//!
//! Your own crate does it in a test, one per case. This is all of `tests/conformance.rs`:
//!
//! ```ignore
//! pubsub_testkit::conformance_tests!(board::BoardHarness::default());
//! ```
//!
//! with these lines in `Cargo.toml`:
//!
//! ```toml
//! [dev-dependencies]
//! pubsub-testkit = "0.1"
//!
//! [[test]]
//! name = "conformance"
//! harness = false
//! ```
//!
//! As an example has no tests, `main` below runs the same suite by hand.

use std::{
    any::Any,
    collections::HashMap,
    process::ExitCode,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll, Waker},
    time::Duration,
};

use pubsub::{
    AckHandle, ChannelName, ChannelPattern, Delivery, Error, ErrorKind, GroupName, Message, Position, Result,
    StartPosition,
    driver::{
        Adapter, AdapterState, Batch, BoxFuture, Capabilities, Chunk, Feature, Health, History, HistoryRange, Inbox,
        MaybeReady, PublishOptions, Publisher, Receipt, Receipts, Source, StateSender, States, Stored,
        SubscribeOptions, Subscriber, Subscription, Support, Tickets, Topology, TopologyReport, async_trait,
    },
};
use pubsub_testkit::conformance::{self, Harness, Minimum};

const SCHEME: &str = "board";

const FEATURES: &[Feature] = &[
    Feature::EphemeralBroadcast,
    Feature::LosslessBroadcast,
    Feature::WildcardEphemeral,
    Feature::WildcardDurable,
    Feature::ReplayById,
    Feature::Backlog,
    Feature::Tombstone,
];

#[allow(clippy::print_stdout)]
fn main() -> ExitCode {
    let report = conformance::run(BoardHarness::default());
    println!("{report}");
    if report.passed() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Everything that was published in one world, and who waits for more.
#[derive(Debug, Default)]
struct Log(Mutex<Inner>);

#[derive(Debug, Default)]
struct Inner {
    events: Vec<Arc<Message>>,
    readers: Vec<Waker>,
}

impl Log {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wake(&self) {
        let readers = std::mem::take(&mut self.lock().readers);
        readers.into_iter().for_each(Waker::wake);
    }

    fn start(&self, from: &StartPosition) -> Result<usize> {
        let end = self.lock().events.len();
        match from {
            StartPosition::Earliest => Ok(0),
            StartPosition::After(position) => match position.as_pair(SCHEME)? {
                (number, _) if (number as usize) < end => Ok(number as usize + 1),
                _ => Err(Error::new(ErrorKind::Invalid, "find position", "the position lies beyond the end")),
            },
            StartPosition::Time(_) => Err(Error::new(ErrorKind::Unsupported, "find position", "no times are kept")),
            _ => Ok(end),
        }
    }
}

/// The position of the event of this number.
fn place(number: usize) -> Result<Position> {
    Position::pair(SCHEME, number as u64, 0)
}

/// A connection to the log.
#[derive(Debug)]
struct Board {
    log: Arc<Log>,
    closed: Arc<AtomicBool>,
    states: StateSender,
}

impl Board {
    fn open(&self, operation: &'static str) -> Result<()> {
        if self.closed.load(Ordering::Acquire) {
            return Err(Error::new(ErrorKind::Closed, operation, "the board is closed"));
        }
        Ok(())
    }
}

impl Publisher for Board {
    fn enqueue<'a>(&'a self, batch: Batch, _: &PublishOptions) -> MaybeReady<'a, Result<Tickets>> {
        if let Err(error) = self.open("publish") {
            return MaybeReady::ready(Err(error));
        }
        let mut log = self.log.lock();
        let mut receipts = Receipts::new();
        for message in batch {
            receipts.push(place(log.events.len()).map(Receipt::at));
            log.events.push(message);
        }
        drop(log);
        self.log.wake();
        MaybeReady::ready(Ok(MaybeReady::ready(Ok(receipts))))
    }

    fn flush(&self) -> BoxFuture<'_, Result<()>> {
        Box::pin(async { Ok(()) })
    }
}

#[async_trait]
impl Subscriber for Board {
    async fn subscribe(&self, options: SubscribeOptions) -> Result<Subscription> {
        self.open("subscribe")?;
        self.capabilities().require("subscribe", options.group.iter().map(|_| Feature::DurableGroup))?;
        let next = self.log.start(&options.start)?;
        let (log, closed) = (self.log.clone(), self.closed.clone());
        Ok(Subscription::new(Reader { log, closed, channels: options.channels, next }))
    }
}

/// One subscription: which channels, and how far it has read.
struct Reader {
    log: Arc<Log>,
    closed: Arc<AtomicBool>,
    channels: Vec<ChannelPattern>,
    next: usize,
}

impl Source for Reader {
    fn poll_chunk(&mut self, cx: &mut Context<'_>, chunk: &mut Chunk) -> Poll<Option<Result<()>>> {
        let mut log = self.log.lock();
        if self.closed.load(Ordering::Acquire) {
            return Poll::Ready(None);
        }
        while self.next < log.events.len() && chunk.len() < 256 {
            let (position, message) = (place(self.next)?, &log.events[self.next]);
            self.next += 1;
            if self.channels.iter().any(|pattern| pattern.matches(message.channel())) {
                // Nothing is settled here, so there is nothing to hold a handle to.
                chunk.push(Delivery::new(message.clone(), AckHandle::none()).shared(true).at(position));
            }
        }
        if chunk.is_empty() {
            log.readers.push(cx.waker().clone());
            return Poll::Pending;
        }
        Poll::Ready(Some(Ok(())))
    }
}

#[async_trait]
impl Adapter for Board {
    fn capabilities(&self) -> Capabilities {
        Capabilities::new(SCHEME).with(Support::Native, FEATURES)
    }

    async fn ensure(&self, topology: &Topology) -> Result<TopologyReport> {
        self.open("ensure topology")?;
        for spec in &topology.channels {
            let policy = &spec.policy;
            let demands = [
                (matches!(policy.ordering, pubsub::Ordering::PerKey { .. }), Feature::KeyOrder),
                (policy.ordering == pubsub::Ordering::Total, Feature::TotalOrder),
                (policy.dedup_window.is_some(), Feature::PublishDedup),
                (policy.ttl.is_some(), Feature::Ttl),
                (!spec.groups.is_empty(), Feature::DurableGroup),
            ];
            let wanted = demands.into_iter().filter(|(wanted, _)| *wanted).map(|(_, feature)| feature);
            self.capabilities().require("ensure topology", wanted)?;
            // It keeps everything: whoever wants a bound must know.
            let kept = &policy.retention;
            let bounds =
                [("age", kept.age.is_some()), ("count", kept.count.is_some()), ("bytes", kept.bytes.is_some())];
            if let Some((bound, _)) = bounds.into_iter().find(|(_, wanted)| *wanted) {
                let text = format!("field `retention.{bound}`: the board keeps everything");
                return Err(Error::new(ErrorKind::Unsupported, "ensure topology", text).on(&spec.channel));
            }
        }
        Ok(TopologyReport::default())
    }

    async fn delete_group(&self, _: &ChannelName, _: &GroupName) -> Result<()> {
        Err(Error::new(ErrorKind::Unsupported, "delete group", "the board has no groups"))
    }

    async fn history(&self, range: &HistoryRange) -> Result<History> {
        self.open("read history")?;
        let from = if range.from == StartPosition::Stored { StartPosition::Earliest } else { range.from.clone() };
        let first = self.log.start(&from)?;
        let log = self.log.lock();
        let mut found = (log.events.iter().enumerate().skip(first))
            .filter(|(_, message)| *message.channel() == range.channel)
            .take(range.limit + 1)
            .map(|(number, message)| Ok(Stored::new(message.clone(), place(number)?)))
            .collect::<Result<Vec<_>>>()?;
        let at_end = found.len() <= range.limit;
        found.truncate(range.limit);
        let same = if let StartPosition::After(same) = from { Some(same) } else { None };
        let next = found.last().map(|stored| stored.position.clone()).or(same);
        Ok(History::new(found, next, at_end))
    }

    async fn open_inbox(&self) -> Result<Inbox> {
        Err(Error::new(ErrorKind::Unsupported, "open inbox", "the board has no inboxes"))
    }

    fn states(&self) -> States {
        self.states.watch()
    }

    async fn health(&self) -> Health {
        let answers = !self.closed.load(Ordering::Acquire);
        Health::new(self.states.current(), answers.then_some(Duration::ZERO))
    }

    async fn close(&self, _: Duration) -> Result<()> {
        self.closed.store(true, Ordering::Release);
        self.states.set(AdapterState::Closed);
        self.log.wake();
        Ok(())
    }

    fn native(&self) -> Option<&(dyn Any + Send + Sync)> {
        Some(self)
    }
}

/// Worlds by name: what opens the same name sees the same events.
#[derive(Default)]
struct BoardHarness(Mutex<HashMap<String, Arc<Log>>>);

#[async_trait]
impl Harness for BoardHarness {
    fn name(&self) -> &str {
        SCHEME
    }

    async fn adapter(&self, world: &str) -> Result<Arc<dyn Adapter>> {
        let mut worlds = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let log = worlds.entry(world.to_owned()).or_default().clone();
        Ok(Arc::new(Board { log, closed: Arc::default(), states: StateSender::new(AdapterState::Ready) }))
    }

    fn minimum(&self) -> Minimum {
        Minimum::new().at_least(Support::Native, FEATURES)
    }
}
