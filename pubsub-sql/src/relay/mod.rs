//! `Relay`: publishes what was committed to an outbox.

mod flight;
mod lanes;
mod lead;
#[cfg(test)]
mod tests;
mod watch;
mod work;

use std::{future::Future, sync::Arc, time::Duration};

use pubsub_core::{Error, ErrorKind, EventId, PubSub, Result, driver::RetryPolicy, store::Outbox};

pub use watch::{RelayStats, RelayWatch};

use watch::Shared;
use work::Work;

/// Publishes the rows of an outbox, each until the broker has confirmed it, and then marks it.
///
/// - **At least once.** A row is marked after its confirmation; a process that dies in between leaves it to be published
///   again under the same id, which an [`Inbox`](crate::Inbox) knows. On a bus in memory the confirmation is that all
///   durable groups have settled the event, so that a process that dies with the bus has lost nothing; make the groups
///   (`PubSub::ensure`, or a subscription) before the relay runs.
/// - **Order.** Channels that keep an order (by key, or as a whole) get their rows one after the other; everything else
///   flows side by side.
/// - **Several relays.** As many may run as there are processes. One works, by a lease in the database; the others take
///   over when it resigns, or when its lease runs out.
/// - **Failures.** What may succeed later is tried again with a growing delay, and holds back only its own lane. What is
///   refused for good (`Invalid`, `TooLarge`, `Rejected`, `Unsupported`, `Codec`, `DeadlineExceeded`) is set aside with
///   its error, where [`Outbox::parked`] lists it, [`Outbox::redrive`] sends it after all and [`Outbox::discard`] drops it.
///
/// ```no_run
/// # async fn example(outbox: pubsub_sql::SqlOutbox) -> pubsub_core::Result<()> {
/// let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
/// let relay = tokio::spawn(outbox.relay().run(async { drop(stopped.await) }));
/// // … until the process ends:
/// drop(stop);
/// relay.await.expect("the relay does not panic")
/// # }
/// ```
#[derive(Debug)]
pub struct Relay {
    bus: PubSub,
    outbox: Arc<dyn Outbox>,
    name: String,
    window: usize,
    poll: Duration,
    lease: Duration,
    timeout: Duration,
    drain: Duration,
    backoff: RetryPolicy,
    shared: Arc<Shared>,
}

impl Relay {
    /// A relay from any outbox to a bus; [`SqlOutbox::relay`](crate::SqlOutbox::relay) is the short form.
    pub fn new(bus: &PubSub, outbox: impl Outbox + 'static) -> Self {
        Self {
            bus: bus.clone(),
            outbox: Arc::new(outbox),
            name: EventId::random().to_string(),
            window: 256,
            poll: Duration::from_secs(1),
            lease: Duration::from_secs(10),
            timeout: Duration::from_secs(10),
            drain: Duration::from_secs(5),
            backoff: RetryPolicy::immediate().delays(Duration::from_millis(100), Duration::from_secs(30)).jitter(0.2),
            shared: Arc::new(Shared::new(bus.observer())),
        }
    }

    /// Sets how many rows may be on their way at a time, at least 1; 256 unless set. They are all that the relay holds in
    /// memory.
    #[must_use]
    pub fn window(mut self, rows: usize) -> Self {
        self.window = rows;
        self
    }

    /// Sets after how long the relay looks for rows although nobody woke it; 1 s unless set. On SQLite rows that
    /// another process wrote are found only so.
    #[must_use]
    pub fn poll(mut self, every: Duration) -> Self {
        self.poll = every;
        self
    }

    /// Sets after how long another relay takes over from one that died; 10 s unless set. Nothing is sent by a relay whose
    /// lease is over, so it must be longer than the database ever takes to answer.
    #[must_use]
    pub fn lease(mut self, lease: Duration) -> Self {
        self.lease = lease;
        self
    }

    /// Sets how long to wait for a broker's confirmation; 10 s unless set. In memory, where groups confirm by settling,
    /// there is no limit.
    #[must_use]
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// Sets how long to wait, when told to end, for what is on its way; 5 s unless set.
    #[must_use]
    pub fn drain(mut self, within: Duration) -> Self {
        self.drain = within;
        self
    }

    /// Sets the delays after failures: from `initial`, doubling up to `max`, each up to a fifth shorter at random; from
    /// 100 ms to 30 s unless set. There is no last attempt.
    #[must_use]
    pub fn backoff(mut self, initial: Duration, max: Duration) -> Self {
        self.backoff = self.backoff.delays(initial, max);
        self
    }

    /// Watches the relay while it runs.
    pub fn watch(&self) -> RelayWatch {
        RelayWatch(self.shared.clone())
    }

    /// Works until `shutdown` resolves, then waits for what is on its way and resigns. While the database cannot be
    /// reached it tries again.
    ///
    /// Cancel safety: dropping it loses nothing. What was on its way may be published again, and others take over only
    /// when the lease is over.
    ///
    /// # Errors
    /// `Invalid` for a setting of zero; `Timeout` if the database does not answer at the end; `Closed` when the bus or the database is closed; from the database what does not
    /// heal by itself, such as `NotFound` for missing tables and `Auth`.
    pub async fn run(self, shutdown: impl Future<Output = ()>) -> Result<()> {
        self.check()?;
        let outcome = Box::pin(Work::new(&self).run(shutdown)).await;
        self.shared.ended();
        outcome
    }

    fn check(&self) -> Result<()> {
        const OPERATION: &str = "run relay";
        self.backoff.check()?;
        let zero = [
            ("window", self.window == 0),
            ("poll", self.poll.is_zero()),
            ("lease", self.lease.is_zero()),
            ("timeout", self.timeout.is_zero()),
        ];
        match zero.iter().find(|(_, zero)| *zero) {
            Some((field, _)) => {
                Err(Error::new(ErrorKind::Invalid, OPERATION, format!("field `{field}` must not be zero")))
            }
            None => Ok(()),
        }
    }
}
