//! The subscribing half of an adapter.

use std::{
    fmt,
    hash::{BuildHasher, RandomState},
    num::NonZeroU32,
    sync::LazyLock,
    task::{Context, Poll},
    time::Duration,
};

use super::{Chunk, Drain, Item, Outcome, Source, async_trait};
use crate::{ChannelPattern, Error, ErrorKind, EventId, GroupName, NamePattern, Result, StartPosition};

/// How long a consumer may keep an event before another one gets it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lease {
    /// How long a lease lasts unless it is renewed.
    pub duration: Duration,
    /// Who renews it.
    pub renewal: Renewal,
}

/// Who renews leases.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Renewal {
    /// The adapter, for as long as the process lives and somebody holds the delivery.
    #[default]
    Automatic,
    /// The consumer, by [`Delivery::extend`](crate::Delivery::extend).
    Manual,
}

impl Default for Lease {
    fn default() -> Self {
        Self { duration: Duration::from_secs(30), renewal: Renewal::Automatic }
    }
}

/// When a failed event is delivered again, and how often.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub struct RetryPolicy {
    /// How often an event is delivered before its failure makes it a dead letter; `None` for without end.
    pub max_attempts: Option<NonZeroU32>,
    /// How often an event is delivered that nobody says has failed, since the process ended each time that had it,
    /// before it becomes a dead letter. Never fewer than `max_attempts`, and without end where that is.
    pub max_deliveries: u32,
    /// The delay after the first failure.
    pub initial: Duration,
    /// The longest delay.
    pub max: Duration,
    /// By which part of itself a delay is shortened at random, from 0.0 to 1.0.
    pub jitter: f64,
}

impl Default for RetryPolicy {
    /// 8 attempts, 100 ms doubling to 30 s, up to a fifth shorter at random; 64 deliveries where processes end.
    fn default() -> Self {
        Self {
            max_attempts: NonZeroU32::new(8),
            max_deliveries: 64,
            initial: Duration::from_millis(100),
            max: Duration::from_secs(30),
            jitter: 0.2,
        }
    }
}

impl RetryPolicy {
    /// Redelivery at once and without end.
    pub const fn immediate() -> Self {
        Self { max_attempts: None, max_deliveries: 0, initial: Duration::ZERO, max: Duration::ZERO, jitter: 0.0 }
    }

    /// Sets how often an event is delivered; 0 means without end.
    #[must_use]
    pub const fn attempts(mut self, max_attempts: u32) -> Self {
        self.max_attempts = NonZeroU32::new(max_attempts);
        self
    }

    /// Sets how often an event is delivered that ends the process each time.
    #[must_use]
    pub const fn deliveries(mut self, max_deliveries: u32) -> Self {
        self.max_deliveries = max_deliveries;
        self
    }

    /// Sets the delays.
    #[must_use]
    pub const fn delays(mut self, initial: Duration, max: Duration) -> Self {
        self.initial = initial;
        self.max = max;
        self
    }

    /// Sets by which part of itself a delay may be shortened.
    #[must_use]
    pub const fn jitter(mut self, jitter: f64) -> Self {
        self.jitter = jitter;
        self
    }

    /// The delay after `attempt` deliveries of the event: `initial × 2^(attempt − 1)`, at most `max`, minus jitter.
    /// The jitter differs between processes, and is the same for the same event and attempt in one.
    pub fn delay(&self, id: &EventId, attempt: u32) -> Duration {
        static RANDOM: LazyLock<RandomState> = LazyLock::new(RandomState::new);
        let doublings = attempt.saturating_sub(1).min(31);
        let full = self.initial.saturating_mul(1 << doublings).min(self.max);
        let part = (RANDOM.hash_one((id, attempt)) >> 11) as f64 / (1_u64 << 53) as f64;
        // What `check` refuses has no effect here: this runs where a delivery is dropped, and must not panic.
        let jitter = if self.jitter.is_finite() { self.jitter.clamp(0.0, 1.0) } else { 0.0 };
        full.mul_f64(1.0 - jitter * part)
    }

    /// Checks the numbers.
    ///
    /// # Errors
    /// `Invalid` that names the fields.
    pub fn check(&self) -> Result<()> {
        let rules = [
            (!(0.0..=1.0).contains(&self.jitter), "field `jitter` must lie between 0.0 and 1.0"),
            (self.initial > self.max, "field `initial` must not be longer than `max`"),
        ];
        let broken = rules.into_iter().filter(|(broken, _)| *broken);
        let errors = broken.map(|(_, text)| Error::new(ErrorKind::Invalid, "check retry policy", text));
        Error::join("check retry policy", errors.collect())
    }

    /// Whether an event that fails at this delivery gets no other one.
    pub fn is_exhausted(&self, attempt: u32) -> bool {
        self.max_attempts.is_some_and(|max| attempt >= max.get())
    }

    /// Whether an event that has come so often gets no other delivery, although nobody said that it failed.
    pub fn is_worn(&self, deliveries: u32) -> bool {
        self.is_exhausted(deliveries) && deliveries >= self.max_deliveries
    }
}

/// What happens when a broadcast subscriber is slower than the publisher. Groups always hold the publisher back.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum SlowConsumer {
    /// The oldest events beyond the buffer are dropped, and a gap event tells how many.
    #[default]
    DropOldest,
    /// The publisher waits, and gets `Backpressure` in the end.
    Block,
    /// The subscription ends with a `Backpressure` error that says so.
    Disconnect,
}

/// Which kinds of channel a subscription's wildcards take: adapters that carry the kinds differently must know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reach {
    /// Durable ones.
    pub durable: bool,
    /// Ephemeral ones; never for a group.
    pub ephemeral: bool,
}

/// What to subscribe to, and how.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct SubscribeOptions {
    /// Which channels.
    pub channels: Vec<ChannelPattern>,
    /// Which kinds of channel the wildcards among them take, by the policies of the handle.
    pub reach: Reach,
    /// Which event names; empty for all. A hint: the library filters above the adapter.
    pub names: Vec<NamePattern>,
    /// The group; `None` for a broadcast.
    pub group: Option<GroupName>,
    /// Where to start.
    pub start: StartPosition,
    /// How many deliveries may be unsettled at a time, those in buffers included.
    pub max_in_flight: usize,
    /// How long a consumer may keep an event.
    pub lease: Lease,
    /// The backoff of deliveries that are dropped.
    pub retry: RetryPolicy,
    /// What happens when the subscriber is slow; broadcasts only.
    pub slow: SlowConsumer,
    /// How many events a broadcast may lag behind before that happens; `None` for the adapter's own bound.
    pub buffer: Option<usize>,
    /// The owner's signal to drain.
    pub drain: Drain,
}

impl SubscribeOptions {
    /// A broadcast of everything on these channels from now on.
    pub fn new(channels: Vec<ChannelPattern>) -> Self {
        Self {
            channels,
            reach: Reach { durable: true, ephemeral: true },
            names: Vec::new(),
            group: None,
            start: StartPosition::Stored,
            max_in_flight: 256,
            lease: Lease::default(),
            retry: RetryPolicy::default(),
            slow: SlowConsumer::default(),
            buffer: None,
            drain: Drain::new(),
        }
    }

    /// Checks that this member takes the same event names as another one of its group, which takes `others`: each would
    /// otherwise acknowledge, as unclaimed, what the other one wants. Adapters ask it of the members they know.
    ///
    /// # Errors
    /// `Conflict` that tells both lists, and what to do.
    pub fn check_names(&self, channel: &ChannelPattern, others: &[NamePattern]) -> Result<()> {
        let (Some(group), names) = (&self.group, &self.names) else { return Ok(()) };
        if names.iter().all(|name| others.contains(name)) && others.iter().all(|name| names.contains(name)) {
            return Ok(());
        }
        let message = format!(
            "group `{group}` on channel `{channel}` already takes {} and would lose {}: \
             take them in one subscription with `subscribe_events`, or use another group",
            list(others),
            list(names)
        );
        Err(Error::new(ErrorKind::Conflict, "subscribe", message))
    }
}

/// Event names in words.
fn list(names: &[NamePattern]) -> String {
    if names.is_empty() {
        return "every event".to_owned();
    }
    let mut texts: Vec<_> = names.iter().map(|name| format!("`{name}`")).collect();
    texts.sort_unstable();
    texts.join(", ")
}

/// Opens subscriptions.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a subscriber",
    label = "does not implement `Subscriber`",
    note = "an adapter implements `Publisher`, `Subscriber` and `Adapter` of `pubsub::driver`"
)]
#[async_trait]
pub trait Subscriber: Send + Sync {
    /// Opens a subscription. When this returns, it is in place: what is published afterwards reaches it.
    ///
    /// # Errors
    /// `Unsupported` with everything that the adapter lacks, `PositionExpired` or `Invalid` for the start position,
    /// `NotFound` for a channel that must exist, `Unavailable`, `Closed`.
    async fn subscribe(&self, options: SubscribeOptions) -> Result<Subscription>;
}

/// A stream of items from one source, flattened out of its chunks.
///
/// Dropping it gives back what was not handed out; deliveries that were handed out can still be settled.
pub struct Subscription {
    source: Box<dyn Source>,
    buffer: Chunk,
}

impl Subscription {
    /// A subscription over a source.
    pub fn new(source: impl Source + 'static) -> Self {
        Self { source: Box::new(source), buffer: Chunk::default() }
    }

    /// The next item; `None` at the end. Deliveries whose lease is gone are passed over.
    pub fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Item>>> {
        loop {
            while let Some(item) = self.buffer.pop() {
                match item {
                    Item::Delivery(delivery) if !delivery.is_live() => delivery.forget(),
                    item => return Poll::Ready(Some(Ok(item))),
                }
            }
            match self.source.poll_chunk(cx, &mut self.buffer) {
                Poll::Ready(Some(Ok(()))) => {}
                Poll::Ready(Some(Err(error))) => return Poll::Ready(Some(Err(error))),
                Poll::Ready(None) => return Poll::Ready(None),
                Poll::Pending => return Poll::Pending,
            }
        }
    }

    /// The next item; `None` at the end. Cancel safe: dropping the future loses nothing.
    pub async fn next(&mut self) -> Option<Result<Item>> {
        std::future::poll_fn(|cx| self.poll_next(cx)).await
    }

    /// Takes an item that is there already, without asking the source.
    pub fn next_buffered(&mut self) -> Option<Item> {
        loop {
            match self.buffer.pop()? {
                Item::Delivery(delivery) if !delivery.is_live() => delivery.forget(),
                item => return Some(item),
            }
        }
    }

    /// The source, to seek and pause. What is buffered is given back first when it seeks.
    pub fn source(&mut self) -> &mut dyn Source {
        &mut *self.source
    }

    /// Gives back everything that was not handed out.
    pub fn release_buffered(&mut self) {
        while let Some(item) = self.buffer.pop() {
            if let Item::Delivery(delivery) = item {
                delivery.settle_as(Outcome::Release);
            }
        }
    }

    /// Lets `wrap` put another source around this one, as decorators of adapters do.
    #[must_use]
    pub fn map_source<S: Source + 'static>(mut self, wrap: impl FnOnce(Box<dyn Source>) -> S) -> Self {
        self.release_buffered();
        let source = std::mem::replace(&mut self.source, Box::new(Ended));
        Self::new(wrap(source))
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        self.release_buffered();
    }
}

impl fmt::Debug for Subscription {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Subscription").field("buffered", &self.buffer.len()).finish_non_exhaustive()
    }
}

/// The source of a subscription whose own was taken.
struct Ended;

impl Source for Ended {
    fn poll_chunk(&mut self, _: &mut Context<'_>, _: &mut Chunk) -> Poll<Option<Result<()>>> {
        Poll::Ready(None)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delays_double_up_to_the_limit_and_jitter_only_shortens() {
        let policy = RetryPolicy::default();
        let id = EventId::random();
        for (attempt, full) in [(1, 100), (2, 200), (3, 400), (9, 25_600), (10, 30_000), (u32::MAX, 30_000)] {
            let delay = policy.delay(&id, attempt).as_millis();
            assert!(delay <= full && delay >= full * 8 / 10, "attempt {attempt}: {delay} of {full}");
        }
        assert_eq!(RetryPolicy::immediate().delay(&id, 5), Duration::ZERO);
        for jitter in [f64::NAN, f64::INFINITY, -1.0, 9.0] {
            let odd = policy.jitter(jitter);
            assert!(odd.check().is_err() && odd.delay(&id, 1) <= policy.initial, "{jitter}");
        }
        assert!(policy.check().is_ok() && RetryPolicy::immediate().check().is_ok());
        assert!(policy.delays(Duration::MAX, Duration::ZERO).check().is_err());
        assert!(policy.is_exhausted(8) && !policy.is_exhausted(7));
        assert!(!RetryPolicy::immediate().is_exhausted(u32::MAX));
    }

    #[test]
    fn processes_that_end_wear_an_event_out_later_than_failures() {
        let policy = RetryPolicy::default();
        assert!(policy.is_worn(64) && !policy.is_worn(63));
        assert!(policy.attempts(100).is_worn(100) && !policy.attempts(100).is_worn(99));
        assert!(policy.deliveries(3).is_worn(8) && !policy.deliveries(3).is_worn(7));
        assert!(!RetryPolicy::immediate().is_worn(u32::MAX));
    }
}
