//! A bus for the tests of a program: memory below, and time that stands still until it is moved.

mod observed;
mod run;
mod tamper;

use std::{ops::Deref, sync::Arc, time::Duration};

use pubsub_adapters::memory::{Memory, MemoryOptions};
use pubsub_core::{Clock, ManualClock, PubSubBuilder, Result, Timestamp};

pub use observed::ObservedBus;
pub use run::{HandledCall, TestRun};

/// How long [`ObservedBus::settled`] waits, in real time.
const PATIENCE: Duration = Duration::from_secs(10);

/// A memory bus of its own, its handle and the clock of both: delays, backoffs, leases, retention and timestamps follow
/// [`TestBus::advance`], so a test of them waits for nothing. It lends the [`PubSub`](pubsub_core::PubSub) that the code under test takes.
///
/// A publish that waits for room waits in that time, too: it ends when something is settled or the time is moved. The
/// deadlines of `close`, `next_timeout` and `next_chunk` are of real time.
///
/// A program's own router runs on it by [`ObservedBus::run`], which writes down what its handlers did; what was published
/// is in [`ObservedBus::published`]; and [`ObservedBus::lose_next`], [`ObservedBus::double_next`],
/// [`ObservedBus::swap_next`], [`ObservedBus::delay_next`], [`ObservedBus::refuse_next`] and
/// [`ObservedBus::crash_before_ack`] are the faults that a broker has on its bad days. All that is there on any adapter as
/// well, where time passes by itself: [`ObservedBus::over`].
///
/// ```
/// # use pubsub_core as pubsub;
/// use std::time::Duration;
///
/// use pubsub::{ChannelName, Envelope, EventName, Payload};
/// use pubsub_testkit::TestBus;
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> pubsub::Result<()> {
/// let bus = TestBus::new()?;
/// let mut reminders = bus.subscribe_channel("reminders").group("mailer").await?;
///
/// let reminder = Envelope::new(EventName::parse("reminders:due")?, ChannelName::parse("reminders")?, Payload::json("7"));
/// bus.publish_envelope(reminder).delay(Duration::from_secs(24 * 3_600)).await?;
///
/// bus.advance(Duration::from_secs(24 * 3_600));
/// let due = reminders.next().await.transpose()?.expect("the bus is open");
/// assert_eq!(due.attempt(), 1);
/// due.nack_after(Duration::from_secs(60))?;
///
/// bus.advance(Duration::from_secs(60));
/// let again = reminders.next().await.transpose()?.expect("the bus is open");
/// assert_eq!(again.attempt(), 2);
/// again.ack();
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct TestBus {
    observed: ObservedBus,
    memory: Arc<Memory>,
    clock: ManualClock,
}

impl TestBus {
    /// A private bus without catalog or policies. Its time begins at the present one.
    ///
    /// # Errors
    /// None that the options could give: they are the default ones.
    pub fn new() -> Result<Self> {
        Self::with(MemoryOptions::new(), Ok)
    }

    /// A bus with options, and a handle with whatever `configure` adds: a catalog, policies. The clocks of both are set
    /// here.
    ///
    /// # Errors
    /// `Invalid` for bad options, and what `configure` gives.
    pub fn with(
        options: MemoryOptions,
        configure: impl FnOnce(PubSubBuilder) -> Result<PubSubBuilder>,
    ) -> Result<Self> {
        let clock = ManualClock::new(Timestamp::now());
        let both = Clock::from(clock.clone());
        let memory = Memory::open(options.clock(both.clone()))?;
        let observed = ObservedBus::with_clock(memory.clone(), both, PATIENCE, configure)?;
        Ok(Self { observed, memory, clock })
    }

    /// Moves the time, and wakes whatever is due then.
    pub fn advance(&self, by: Duration) {
        self.clock.advance(by);
    }

    /// The clock of bus and handle.
    pub fn clock(&self) -> &ManualClock {
        &self.clock
    }

    /// The adapter below.
    pub fn memory(&self) -> &Arc<Memory> {
        &self.memory
    }
}

impl Deref for TestBus {
    type Target = ObservedBus;

    fn deref(&self) -> &ObservedBus {
        &self.observed
    }
}

#[cfg(test)]
mod tests {
    use pubsub_core::{ChannelName, ChannelPolicy, Envelope, EventName, Payload, PubSub};

    use super::*;

    fn event() -> Result<Envelope> {
        Ok(Envelope::new(EventName::parse("test:event")?, ChannelName::parse("test")?, Payload::json("1")))
    }

    #[tokio::test]
    async fn handle_and_bus_follow_one_clock() -> Result<()> {
        let policy = ChannelPolicy::new().dedup_window(Duration::from_secs(60)).rate(1, 1);
        let bus = TestBus::with(MemoryOptions::new(), |builder| builder.policy("test", policy))?;
        let first = event()?;
        bus.publish_envelope(first.clone()).await?;
        assert!(bus.publish_envelope(first.clone()).await.is_err(), "the rate follows the clock, which stands still");
        bus.advance(Duration::from_secs(1));
        assert!(bus.handle().publish_envelope(first.clone()).await?.duplicate);
        bus.advance(Duration::from_secs(59));
        assert!(!bus.publish_envelope(first).await?.duplicate);
        assert_eq!(bus.clock().now(), PubSub::clock(&bus).now());
        Ok(())
    }

    #[test]
    fn a_shared_bus_that_follows_another_clock_is_refused() {
        let options = || MemoryOptions::new().name("two-clocks");
        let _one = TestBus::with(options(), Ok).expect("the first opens it");
        assert!(TestBus::with(options(), Ok).is_err());
    }
}
