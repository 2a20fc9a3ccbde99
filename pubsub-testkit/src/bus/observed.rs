//! A bus over any adapter that writes down what happens, and has faults on demand.

use std::{
    ops::Deref,
    sync::Arc,
    time::{Duration, Instant},
};

use pubsub_core::{Clock, Error, ErrorKind, Event, Message, PubSub, PubSubBuilder, Result, driver::Adapter};

use super::tamper::{Desk, Mishap, Tampered};

/// A handle over an adapter, which writes down what is published, and has the faults of a broker on its bad days: what
/// [`TestBus`](super::TestBus) is on memory, on any broker. A test of a router that takes `&ObservedBus` is the same test
/// on both; only time passes by itself here.
///
/// It lends the [`PubSub`] that the code under test takes.
#[derive(Debug)]
pub struct ObservedBus {
    bus: PubSub,
    desk: Arc<Desk>,
    clock: Clock,
    patience: Duration,
}

impl ObservedBus {
    /// A handle over `adapter` with whatever `configure` adds: a catalog, policies.
    ///
    /// # Errors
    /// What `configure` gives.
    pub fn over(
        adapter: Arc<dyn Adapter>,
        configure: impl FnOnce(PubSubBuilder) -> Result<PubSubBuilder>,
    ) -> Result<Self> {
        Self::with_clock(adapter, Clock::default(), Duration::from_secs(30), configure)
    }

    pub(super) fn with_clock(
        adapter: Arc<dyn Adapter>,
        clock: Clock,
        patience: Duration,
        configure: impl FnOnce(PubSubBuilder) -> Result<PubSubBuilder>,
    ) -> Result<Self> {
        let desk = Arc::new(Desk::default());
        let tampered = Tampered::new(adapter, desk.clone(), clock.clone());
        let bus = configure(PubSub::builder(Arc::new(tampered)))?.clock(clock.clone()).build();
        Ok(Self { bus, desk, clock, patience })
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

    /// Waits until every group that had subscribed through this bus by then has settled what was published, dead letters
    /// written. It moves no time: on a `TestBus` who waits for a delay needs [`TestBus::advance`](super::TestBus::advance)
    /// first.
    ///
    /// # Errors
    /// `Timeout` with the events that are left, after ten seconds of real time on a `TestBus`, and thirty elsewhere.
    pub async fn settled(&self) -> Result<()> {
        let begun = Instant::now();
        loop {
            let left = self.desk.unsettled(self.clock.now());
            if left.is_empty() {
                return Ok(());
            }
            if begun.elapsed() > self.patience {
                let names: Vec<_> =
                    left.iter().take(8).map(|event| format!("{} {}", event.name(), event.id())).collect();
                let (count, patience, names) = (left.len(), self.patience, names.join(", "));
                let text = format!("{count} events are not settled after {patience:?}: {names}");
                return Err(Error::new(ErrorKind::Timeout, "wait until all is settled", text));
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }

    /// The next event that is published is confirmed, and lost: what a broker without durable storage does.
    pub fn lose_next(&self) {
        self.desk.plan(Mishap::Lost);
    }

    /// The next event that is published is sent twice, with the same id: what a publisher does that got no answer. A
    /// channel with deduplication keeps one.
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
}

impl Deref for ObservedBus {
    type Target = PubSub;

    fn deref(&self) -> &PubSub {
        &self.bus
    }
}
