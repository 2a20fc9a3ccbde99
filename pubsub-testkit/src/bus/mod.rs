//! A bus for the tests of a program: memory below, and time that stands still until it is moved.

mod run;
mod tamper;

use std::{
    ops::Deref,
    sync::Arc,
    time::{Duration, Instant},
};

use pubsub_adapters::memory::{Memory, MemoryOptions};
use pubsub_core::{Clock, Error, ErrorKind, Event, ManualClock, Message, PubSub, PubSubBuilder, Result, Timestamp};

pub use run::{HandledCall, TestRun};
use tamper::{Desk, Mishap, Tampered};

/// How long [`TestBus::settled`] waits, in real time.
const PATIENCE: Duration = Duration::from_secs(10);

/// A memory bus of its own, its handle and the clock of both: delays, backoffs, leases, retention and timestamps follow
/// [`TestBus::advance`], so a test of them waits for nothing. It lends the [`PubSub`] that the code under test takes.
///
/// A publish that waits for room waits in that time, too: it ends when something is settled or the time is moved. The
/// deadlines of `close`, `next_timeout` and `next_chunk` are of real time.
///
/// A program's own router runs on it by [`TestBus::run`], which writes down what its handlers did; what was published is
/// in [`TestBus::published`]; and [`TestBus::lose_next`], [`TestBus::double_next`], [`TestBus::swap_next`],
/// [`TestBus::delay_next`], [`TestBus::refuse_next`] and [`TestBus::crash_before_ack`] are the faults that a broker has on
/// its bad days.
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
    bus: PubSub,
    memory: Arc<Memory>,
    clock: ManualClock,
    desk: Arc<Desk>,
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
        let desk = Arc::new(Desk::default());
        let adapter = Tampered::new(memory.clone(), desk.clone(), both.clone());
        let bus = configure(PubSub::builder(Arc::new(adapter)))?.clock(both).build();
        Ok(Self { bus, memory, clock, desk })
    }

    /// Moves the time, and wakes whatever is due then.
    pub fn advance(&self, by: Duration) {
        self.clock.advance(by);
    }

    /// What was published through this bus, in that order: by the test, by the program, and by handlers. Not what was
    /// refused, and not what the library writes for itself.
    pub fn published(&self) -> Vec<Arc<Message>> {
        self.desk.published()
    }

    /// The events of one type among them.
    ///
    /// # Errors
    /// `Codec` if the payload of one of them is not that type's.
    pub fn published_of<E: Event>(&self) -> Result<Vec<E>> {
        let all = self.published();
        all.iter().filter(|message| message.name().as_str() == E::NAME).map(|message| message.decode()).collect()
    }

    /// Waits until every group has settled everything that was published, dead letters written. It does not move the time:
    /// who waits for a delay needs [`TestBus::advance`] first.
    ///
    /// # Errors
    /// `Timeout` after ten seconds of real time, with the events that are left.
    pub async fn settled(&self) -> Result<()> {
        let begun = Instant::now();
        loop {
            let left = self.desk.unsettled(self.clock.now());
            if left.is_empty() {
                return Ok(());
            }
            if begun.elapsed() > PATIENCE {
                let names: Vec<_> =
                    left.iter().take(8).map(|event| format!("{} {}", event.name(), event.id())).collect();
                let text = format!("{} events are not settled after {PATIENCE:?}: {}", left.len(), names.join(", "));
                return Err(Error::new(ErrorKind::Timeout, "wait until all is settled", text));
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }

    /// The next event that is published is confirmed, and lost: what a broker without durable storage does.
    pub fn lose_next(&self) {
        self.desk.plan(Mishap::Lost);
    }

    /// The next event that is published arrives twice, with the same id: what a publisher does that got no answer.
    pub fn double_next(&self) {
        self.desk.plan(Mishap::Doubled);
    }

    /// The next event that is published is overtaken by the one after it.
    pub fn swap_next(&self) {
        self.desk.plan(Mishap::Overtaken);
    }

    /// The next event that is published arrives so much later.
    pub fn delay_next(&self, delay: Duration) {
        self.desk.plan(Mishap::Late(delay));
    }

    /// The next event that is published is refused as `Unavailable`.
    pub fn refuse_next(&self) {
        self.desk.plan(Mishap::Refused);
    }

    /// The next acknowledgement never arrives, as if the process had crashed between handler and ack: the event comes
    /// again, as its next delivery.
    pub fn crash_before_ack(&self) {
        self.desk.crash();
    }

    /// The handle, to be given away; it lives as long as its clones.
    pub fn handle(&self) -> PubSub {
        self.bus.clone()
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
    type Target = PubSub;

    fn deref(&self) -> &PubSub {
        &self.bus
    }
}

#[cfg(test)]
mod tests {
    use pubsub_core::{ChannelName, ChannelPolicy, Envelope, EventName, Payload};

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
