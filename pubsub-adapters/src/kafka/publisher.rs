//! Publishing: records that are confirmed by every copy, in a window of our own.

use std::{
    fmt,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use arc_swap::ArcSwapOption;
use pubsub_core::{
    ChannelName, Error, ErrorKind, Message, Result, Timestamp,
    driver::{Batch, BoxFuture, Confirm, MaybeReady, PublishOptions, Publisher, Receipt, Receipts, Tickets},
};
use rdkafka::{
    ClientContext,
    config::{FromClientConfigAndContext, RDKafkaLogLevel},
    error::{KafkaError, RDKafkaErrorCode as Code},
    message::{DeliveryResult, Message as _},
    producer::{BaseRecord, Producer, ProducerContext, PurgeConfig, ThreadedProducer},
};
use tokio::{
    runtime::Handle,
    sync::{OwnedSemaphorePermit, Semaphore, oneshot},
    time::timeout,
};

use super::{
    adapter::Kafka,
    connection::{Link, Signals, reap},
    error::{code_of, error, is_unknown},
    options::Profile,
    topology::Topic,
};
use crate::common::ledger::{Ledger, OpenTickets};

/// For how long a record is tried: no publish waits longer for its confirmation.
pub(super) const DELIVERY: Duration = Duration::from_secs(10);
/// The window, in units of a record and each further KiB of it.
const WINDOW: u32 = 16_384;
/// What a record may have beside what counts as its size: names of headers, and the frame.
const FRAME: usize = 40_000;
/// The largest record that brokers take by default.
const LARGEST: usize = 1_048_576;

/// The largest event, in bytes of payload, key and metadata.
pub(super) fn max_payload(option: Option<&str>) -> usize {
    option.and_then(|text| text.parse().ok()).map_or(1_000_000, |bytes: usize| bytes.saturating_sub(FRAME).max(1))
}

type Confirmed = std::result::Result<(i32, i64), KafkaError>;

/// A record underway. What it holds is given back when the client is done with it, whoever still waits.
struct Pending {
    done: oneshot::Sender<Confirmed>,
    open: OpenTickets,
    channel: ChannelName,
    _room: Arc<OwnedSemaphorePermit>,
}

/// Where the client reports to, on its own thread.
struct Reports {
    signals: Arc<Signals>,
    broken: Arc<AtomicBool>,
}

impl ClientContext for Reports {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, text: &str) {
        super::connection::Context(self.signals.clone()).log(level, facility, text);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        if code_of(&error) == Some(Code::Fatal) {
            self.broken.store(true, Ordering::SeqCst);
        }
        super::connection::Context(self.signals.clone()).error(error, reason);
    }
}

impl ProducerContext for Reports {
    type DeliveryOpaque = Box<Pending>;

    fn delivery(&self, result: &DeliveryResult<'_>, pending: Box<Pending>) {
        let confirmed = match result {
            Ok(record) => Ok((record.partition(), record.offset())),
            Err((cause, _)) => {
                if code_of(cause) == Some(Code::Fatal) {
                    self.broken.store(true, Ordering::SeqCst);
                }
                pending.open.fail(&refusal(cause.clone(), &pending.channel));
                Err(cause.clone())
            }
        };
        let _ = pending.done.send(confirmed);
    }
}

/// What a record's fate means to its publisher.
fn refusal(cause: KafkaError, channel: &ChannelName) -> Error {
    let refused = error("publish", cause).on(channel);
    match refused.kind() {
        ErrorKind::Timeout | ErrorKind::Unavailable | ErrorKind::Backend | ErrorKind::Closed => {
            refused.perhaps_applied()
        }
        _ => refused,
    }
}

type Client = ThreadedProducer<Reports>;

/// The producer, which is made when it is needed, and anew when it is broken.
pub(super) struct Outlet {
    producer: ArcSwapOption<Client>,
    making: Mutex<()>,
    broken: Arc<AtomicBool>,
    window: Arc<Semaphore>,
    ledger: Ledger,
}

impl Outlet {
    pub(super) fn new() -> Self {
        Self {
            producer: ArcSwapOption::empty(),
            making: Mutex::new(()),
            broken: Arc::default(),
            window: Arc::new(Semaphore::new(WINDOW as usize)),
            ledger: Ledger::default(),
        }
    }

    fn client(&self, link: &Link) -> Result<Arc<Client>> {
        if self.broken.load(Ordering::SeqCst) {
            self.retire();
        }
        if let Some(producer) = self.producer.load_full() {
            return Ok(producer);
        }
        let _turn = self.making.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(producer) = self.producer.load_full() {
            return Ok(producer);
        }
        link.open("publish")?;
        self.broken.store(false, Ordering::SeqCst);
        let mut config = link.options.client();
        config.set("acks", "all").set("enable.idempotence", "true").set("partitioner", "murmur2_random");
        config.set("message.timeout.ms", DELIVERY.as_millis().to_string());
        config.set("message.max.bytes", LARGEST.to_string());
        config.set("linger.ms", if link.options.profile == Profile::Throughput { "5" } else { "0" });
        config.set("queue.buffering.max.messages", (4 * WINDOW).to_string());
        link.options.finish(&mut config);
        let reports = Reports { signals: link.signals.clone(), broken: self.broken.clone() };
        let producer = Client::from_config_and_context(&config, reports).map_err(|cause| error("publish", cause))?;
        let producer = Arc::new(producer);
        self.producer.store(Some(producer.clone()));
        Ok(producer)
    }

    /// Lets the producer go, with what it still has underway.
    pub(super) fn retire(&self) {
        if let Some(producer) = self.producer.swap(None) {
            reap(Retired(producer));
        }
    }

    /// Lets the producer go, and gives up what it has underway: whoever waits is told.
    pub(super) fn abandon(&self) {
        if let Some(producer) = self.producer.swap(None) {
            producer.purge(PurgeConfig::default().queue().inflight());
            reap(Retired(producer));
        }
    }

    /// Waits until every ticket given out before is resolved.
    pub(super) async fn flush(&self) -> Result<()> {
        self.ledger.flush().await
    }
}

struct Retired(Arc<Client>);

impl Drop for Retired {
    fn drop(&mut self) {
        // What is underway ends by its own timeout, and is told of.
        let _ = self.0.flush(DELIVERY);
    }
}

/// Room for a batch, shared by its records.
type Room = Arc<OwnedSemaphorePermit>;

fn units(batch: &[Arc<Message>]) -> u32 {
    let units: usize = batch.iter().map(|message| 1 + message.wire_len() / 1024).sum();
    u32::try_from(units).unwrap_or(WINDOW).min(WINDOW)
}

impl Link {
    /// Hands one record to the client.
    fn send(
        &self,
        topic: &str,
        message: &Message,
        due: Option<Timestamp>,
        room: Room,
    ) -> Result<oneshot::Receiver<Confirmed>> {
        let channel = message.channel();
        let (size, limit) = (message.wire_len(), max_payload(self.options.property_value("message.max.bytes")));
        if size > limit {
            let text = format!("the event has {size} bytes, {limit} are allowed");
            let error = Error::new(ErrorKind::TooLarge, "publish", text).on(channel);
            self.outlet.ledger.fail(&error);
            return Err(error);
        }
        let encoded = self.wire.write(message, due).map_err(|error| error.on(channel))?;
        let producer = self.outlet.client(self)?;
        let (done, confirmed) = oneshot::channel();
        let open = self.outlet.ledger.open(1);
        let pending = Pending { done, open, channel: channel.clone(), _room: room };
        let mut record = BaseRecord::<str, [u8], _>::with_opaque_to(topic, Box::new(pending)).headers(encoded.headers);
        if let Some(key) = message.key() {
            record = record.key(key.as_str());
        }
        if let Some(body) = &encoded.body {
            record = record.payload(body);
        }
        match producer.send(record) {
            Ok(()) => Ok(confirmed),
            Err((cause, record)) => {
                if code_of(&cause) == Some(Code::Fatal) {
                    self.outlet.broken.store(true, Ordering::SeqCst);
                }
                let error = error("publish", cause).on(channel);
                record.delivery_opaque.open.fail(&error);
                Err(error)
            }
        }
    }

    /// Hands a batch to the client; its tickets resolve with the broker's word.
    fn send_all(
        self: &Arc<Self>,
        target: Target,
        batch: Batch,
        room: OwnedSemaphorePermit,
        limit: Duration,
    ) -> Tickets {
        let room = Arc::new(room);
        let sent: Vec<_> =
            batch.iter().map(|message| self.send(target.name(), message, target.due, room.clone())).collect();
        drop(room);
        let link = self.clone();
        MaybeReady::boxed(async move {
            let waited = link.clone().confirmed(target, batch, sent);
            // The client's own limit holds without a timer.
            if limit >= DELIVERY || Handle::try_current().is_err() {
                return Ok(waited.await);
            }
            timeout(limit, waited).await.map_err(|_| {
                let text = format!("the broker did not confirm within {limit:?}");
                Error::new(ErrorKind::Timeout, "publish", text).perhaps_applied()
            })
        })
    }

    async fn confirmed(
        self: Arc<Self>,
        target: Target,
        batch: Batch,
        sent: Vec<Result<oneshot::Receiver<Confirmed>>>,
    ) -> Receipts {
        let mut receipts = Receipts::new();
        for (message, sent) in batch.iter().zip(sent) {
            let receipt = match sent {
                Ok(confirmed) => self.receipt(&target, message, confirmed).await,
                Err(error) => Err(error),
            };
            receipts.push(receipt);
        }
        receipts
    }

    async fn receipt(
        &self,
        target: &Target,
        message: &Message,
        confirmed: oneshot::Receiver<Confirmed>,
    ) -> Result<Receipt> {
        let channel = message.channel();
        // Tickets that are there resolve at once, however many a task looks at.
        match tokio::task::unconstrained(confirmed).await {
            Ok(Ok((partition, offset))) if target.due.is_none() => {
                let position = target.topic.position(partition, offset);
                Ok(position.map_or_else(Receipt::default, Receipt::at))
            }
            Ok(Ok(_)) => Ok(Receipt::default()),
            Ok(Err(cause)) if is_unknown(&cause) => {
                // It was there when it was looked for. The next publish makes it again, where that is wanted.
                self.topics.forget(channel);
                self.signals.trouble.notify_one();
                if self.options.broker.strict || channel.is_inbox() {
                    return Err(error("publish", cause).on(channel));
                }
                let text = "the channel was deleted meanwhile";
                Err(Error::new(ErrorKind::Unavailable, "publish", text).on(channel).because(cause))
            }
            Ok(Err(cause)) => Err(refusal(cause, channel)),
            Err(_) => {
                let text = "the adapter was closed before the broker confirmed";
                Err(Error::new(ErrorKind::Closed, "publish", text).on(channel).perhaps_applied())
            }
        }
    }

    /// Publishes one event and waits for its confirmation.
    pub(super) async fn publish(self: &Arc<Self>, message: Arc<Message>) -> Result<()> {
        let topic = self.demand(message.channel(), "publish").await?;
        let batch = Batch::from_iter([message]);
        let room = self.room(&batch, DELIVERY).await?;
        let tickets = self.send_all(Target { topic, due: None }, batch, room, DELIVERY);
        tickets.await?.into_iter().try_for_each(|receipt| receipt.map(drop))
    }

    async fn room(&self, batch: &Batch, limit: Duration) -> Result<OwnedSemaphorePermit> {
        let room = timeout(limit, self.outlet.window.clone().acquire_many_owned(units(batch))).await;
        let full = |_| {
            let text = format!("the window of unconfirmed events had no room within {limit:?}");
            Error::new(ErrorKind::Backpressure, "publish", text)
        };
        room.map_err(full)?.map_err(|_| Error::new(ErrorKind::Closed, "publish", "the adapter is closed"))
    }
}

/// Where records go.
struct Target {
    topic: Topic,
    due: Option<Timestamp>,
}

impl Target {
    fn name(&self) -> &str {
        &self.topic.name
    }
}

impl Publisher for Kafka {
    fn enqueue<'a>(&'a self, batch: Batch, options: &PublishOptions) -> MaybeReady<'a, Result<Tickets>> {
        let options = *options;
        let link = &self.link;
        let Some(channel) = batch.first().map(|message| message.channel()) else {
            return MaybeReady::ready(Ok(MaybeReady::ready(Ok(Receipts::new()))));
        };
        if let Err(error) = link.open("publish").and_then(|()| check(&options)) {
            return MaybeReady::ready(Err(error.on(channel)));
        }
        if options.deliver_at.is_none()
            && let Some(topic) = link.topics.get(channel)
            && let Ok(room) = link.outlet.window.clone().try_acquire_many_owned(units(&batch))
        {
            let target = Target { topic, due: None };
            return MaybeReady::ready(Ok(link.send_all(target, batch, room, options.timeout)));
        }
        MaybeReady::boxed(async move {
            let channel = batch.first().map(|message| message.channel().clone());
            let Some(channel) = channel else { return Ok(MaybeReady::ready(Ok(Receipts::new()))) };
            let due = options.deliver_at.filter(|due| *due > Timestamp::now());
            let found = async {
                match due {
                    Some(_) => link.later(&channel).await,
                    None => link.demand(&channel, "publish").await,
                }
            };
            let late = |_| {
                let text = format!("the channel could not be looked for within {:?}", options.timeout);
                link.signals.explain(Error::new(ErrorKind::Unavailable, "publish", text)).on(&channel)
            };
            let topic = timeout(options.timeout, found).await.map_err(late)??;
            let room = link.room(&batch, options.timeout).await.map_err(|error| error.on(&channel))?;
            link.open("publish")?;
            Ok(link.send_all(Target { topic, due }, batch, room, options.timeout))
        })
    }

    fn flush(&self) -> BoxFuture<'_, Result<()>> {
        Box::pin(self.link.outlet.flush())
    }
}

/// What Kafka cannot do.
fn check(options: &PublishOptions) -> Result<()> {
    let unsupported = |text| Err(Error::new(ErrorKind::Unsupported, "publish", text));
    if options.ttl.is_some() {
        return unsupported("the adapter `kafka` does not offer a time to live per event");
    }
    if options.confirm != Confirm::Accepted {
        return unsupported("the adapter `kafka` does not offer confirmation by settlement");
    }
    Ok(())
}

impl fmt::Debug for Outlet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Outlet").field("open", &self.ledger.len()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_of_the_client_leaves_room_for_the_frame() {
        assert_eq!(max_payload(None), 1_000_000);
        assert_eq!(max_payload(Some("5000000")), 4_960_000);
        assert_eq!(max_payload(Some("10")), 1);
    }
}
