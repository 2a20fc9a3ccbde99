//! The producers of an adapter: one for publishes of the usual patience, and others for those who wait longer.

use std::{
    collections::BTreeMap,
    fmt,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use arc_swap::ArcSwapOption;
use pubsub_core::{Error, ErrorKind, Result};
use rdkafka::{
    ClientContext,
    config::{FromClientConfigAndContext, RDKafkaLogLevel},
    error::{KafkaError, RDKafkaErrorCode as Code},
    message::{DeliveryResult, Message as _},
    producer::{BaseProducer, Producer, ProducerContext, PurgeConfig},
};
use tokio::sync::Semaphore;

use super::{
    DELIVERY, LARGEST,
    lane::{Client, Lanes},
    refusal,
    underway::{Fault, Pending},
};
use crate::{
    common::ledger::Ledger,
    kafka::{
        connection::{Context, Link, Signals, reap},
        error::{code_of, error},
        options::Profile,
    },
};

/// The window, in units of a record and each further KiB of it.
pub(super) const WINDOW: u32 = 16_384;
/// How long the thread of a producer waits for reports until it looks whether it has to end.
const REPORTS: Duration = Duration::from_millis(100);
/// How much later than its time the client tells that a record is out of time: it looks at all of them once a second.
const LATE: Duration = Duration::from_secs(3);
/// The client takes no longer time than this.
const LONGEST: Duration = Duration::from_millis(i32::MAX as u64);

/// For how long the client tries a record whose publisher waits for `limit`. A client has one such time for all, so
/// there are steps, and a timer on our side for those who wait less.
pub(super) fn patience(limit: Duration) -> Duration {
    let mut patience = DELIVERY;
    while patience < limit && patience < LONGEST {
        patience = (patience * 2).min(LONGEST);
    }
    patience
}

/// Where the client reports to, on its own thread.
pub(super) struct Reports {
    signals: Arc<Signals>,
    /// It takes nothing any more.
    broken: AtomicBool,
    /// Nothing more is to go out.
    abandoned: AtomicBool,
}

impl Reports {
    pub(super) fn new(signals: Arc<Signals>) -> Self {
        Self { signals, broken: false.into(), abandoned: false.into() }
    }

    /// Nothing more is to go out from now on.
    pub(super) fn abandon(&self) {
        self.abandoned.store(true, Ordering::SeqCst);
    }

    pub(super) fn is_abandoned(&self) -> bool {
        self.abandoned.load(Ordering::SeqCst)
    }

    pub(super) fn look_at(&self, cause: &KafkaError) {
        if code_of(cause) == Some(Code::Fatal) {
            self.broken.store(true, Ordering::SeqCst);
        }
    }
}

impl ClientContext for Reports {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, text: &str) {
        Context(self.signals.clone()).log(level, facility, text);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        self.look_at(&error);
        Context(self.signals.clone()).error(error, reason);
    }
}

impl ProducerContext for Reports {
    type DeliveryOpaque = Box<Pending>;

    fn delivery(&self, result: &DeliveryResult<'_>, pending: Box<Pending>) {
        match result {
            Ok(record) => pending.end(Ok((record.partition(), record.offset()))),
            Err((cause, _)) => {
                self.look_at(cause);
                let batch = pending.batch();
                batch.fail(&refusal(cause.clone(), &batch.channel));
                pending.end(Err(Fault::Reported(cause.clone())));
            }
        }
    }
}

/// A producer, and the thread that serves what it reports.
pub(super) struct Outgoing {
    pub(super) client: Client,
    /// For how long it tries a record.
    patience: Duration,
    ends: Arc<AtomicBool>,
}

impl Outgoing {
    fn new(link: &Link, patience: Duration) -> Result<Arc<Self>> {
        link.open("publish")?;
        let mut config = link.options.client();
        config.set("acks", "all").set("enable.idempotence", "true").set("partitioner", "murmur2_random");
        config.set("message.timeout.ms", patience.as_millis().to_string());
        config.set("message.max.bytes", LARGEST.to_string());
        config.set("linger.ms", if link.options.profile == Profile::Throughput { "5" } else { "0" });
        config.set("queue.buffering.max.messages", (4 * WINDOW).to_string());
        link.options.finish(&mut config);
        let client = BaseProducer::from_config_and_context(&config, Reports::new(link.signals.clone()));
        let client = Arc::new(client.map_err(|cause| error("publish", cause))?);
        let ends = Arc::<AtomicBool>::default();
        // A report may let go of the last record that holds the client: so this thread ends by itself, and nobody who
        // drops the client waits for it, as the client crate's own thread would be waited for.
        let (served, ended) = (client.clone(), ends.clone());
        let serve = move || {
            while !ended.load(Ordering::SeqCst) || served.in_flight_count() > 0 {
                served.poll(REPORTS);
            }
        };
        let no_thread =
            |cause| Error::new(ErrorKind::Backend, "publish", "there is no thread for reports").because(cause);
        std::thread::Builder::new().name("kafka-reports".to_owned()).spawn(serve).map_err(no_thread)?;
        Ok(Arc::new(Self { client, patience, ends }))
    }

    /// Gives up what is underway, and what waits for it: whoever waits is told.
    fn abandon(&self) {
        self.client.context().abandon();
        self.client.purge(PurgeConfig::default().queue().inflight());
    }

    fn is_sound(&self) -> bool {
        !self.client.context().broken.load(Ordering::SeqCst)
    }
}

impl Drop for Outgoing {
    fn drop(&mut self) {
        // The thread that serves reports ends with the last one, and what waits in a lane holds the client.
        self.abandon();
        self.ends.store(true, Ordering::SeqCst);
    }
}

/// The producers, which are made when they are needed, and anew when they are broken.
pub(in crate::kafka) struct Outlet {
    usual: ArcSwapOption<Outgoing>,
    /// By the time for which they try, in milliseconds. Whoever makes a producer holds it.
    patient: Mutex<BTreeMap<u128, Arc<Outgoing>>>,
    pub(super) window: Arc<Semaphore>,
    pub(super) ledger: Ledger,
    pub(super) lanes: Lanes,
}

impl Outlet {
    pub(in crate::kafka) fn new() -> Self {
        Self {
            usual: ArcSwapOption::empty(),
            patient: Mutex::default(),
            window: Arc::new(Semaphore::new(WINDOW as usize)),
            ledger: Ledger::default(),
            lanes: Lanes::default(),
        }
    }

    /// Does something with the producer that tries for so long.
    pub(super) fn with<R>(&self, link: &Link, patience: Duration, act: impl FnOnce(&Outgoing) -> R) -> Result<R> {
        if patience == DELIVERY
            && let Some(producer) = &*self.usual.load()
            && producer.is_sound()
        {
            return Ok(act(producer));
        }
        let producer = self.make(link, patience)?;
        Ok(act(&producer))
    }

    /// Makes the usual producer, which connects meanwhile: the first publish need not wait for that.
    pub(in crate::kafka) fn warm(&self, link: &Link) -> Result<()> {
        self.make(link, DELIVERY).map(drop)
    }

    fn make(&self, link: &Link, patience: Duration) -> Result<Arc<Outgoing>> {
        let mut patient = self.patient();
        let known = match patience {
            DELIVERY => self.usual.load_full(),
            _ => patient.get(&patience.as_millis()).cloned(),
        };
        match known {
            Some(producer) if producer.is_sound() => return Ok(producer),
            Some(broken) => reap(Retired(broken)),
            None => {}
        }
        let producer = Outgoing::new(link, patience)?;
        match patience {
            DELIVERY => self.usual.store(Some(producer.clone())),
            _ => drop(patient.insert(patience.as_millis(), producer.clone())),
        }
        Ok(producer)
    }

    fn take_all(&self) -> impl Iterator<Item = Arc<Outgoing>> {
        let patient = std::mem::take(&mut *self.patient());
        self.usual.swap(None).into_iter().chain(patient.into_values())
    }

    /// Lets the producers go, with what they still have underway.
    pub(in crate::kafka) fn retire(&self) {
        self.take_all().for_each(|producer| reap(Retired(producer)));
    }

    /// Lets the producers go, and gives up what they have underway: whoever waits is told.
    pub(in crate::kafka) fn abandon(&self) {
        for producer in self.take_all() {
            producer.abandon();
            reap(Retired(producer));
        }
    }

    /// Waits until every ticket given out before is resolved.
    pub(in crate::kafka) async fn flush(&self) -> Result<()> {
        self.ledger.flush().await
    }

    fn patient(&self) -> MutexGuard<'_, BTreeMap<u128, Arc<Outgoing>>> {
        self.patient.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Outlet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Outlet").field("open", &self.ledger.len()).finish_non_exhaustive()
    }
}

struct Retired(Arc<Outgoing>);

impl Drop for Retired {
    fn drop(&mut self) {
        // What is underway ends by its own timeout, and is told of: were it given up here, it would look as if the
        // adapter were closed.
        let _ = self.0.client.flush(self.0.patience.saturating_add(LATE).min(LONGEST));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_client_is_as_patient_as_the_publisher_or_more() {
        let seconds = Duration::from_secs;
        for (limit, expected) in [(0, 10), (9, 10), (10, 10), (11, 20), (20, 20), (60, 80)] {
            assert_eq!(patience(seconds(limit)), seconds(expected), "{limit}");
        }
        assert_eq!(patience(Duration::MAX), LONGEST);
    }
}
