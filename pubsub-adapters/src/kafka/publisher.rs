//! Publishing: records that are confirmed by every copy, in a window of our own.

mod lane;
mod outlet;
mod underway;

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use pubsub_core::{
    ChannelName, Error, ErrorKind, Message, Result, Timestamp,
    driver::{Batch, BoxFuture, Confirm, MaybeReady, PublishOptions, Publisher, Receipt, Receipts, Tickets},
};
use rdkafka::error::KafkaError;
use tokio::{
    runtime::Handle,
    sync::OwnedSemaphorePermit,
    time::{Instant, Sleep, sleep, timeout},
};

pub(super) use self::outlet::Outlet;
use self::{
    lane::{Lane, Parcel},
    outlet::{WINDOW, patience},
    underway::{Confirmed, Fault, Pending, Underway},
};
use super::{
    adapter::Kafka,
    connection::Link,
    error::{error, is_unknown},
    topology::Topic,
};

/// For how long a record is tried at least.
const DELIVERY: Duration = Duration::from_secs(10);
/// What a record may have beside what counts as its size: names of headers, and the frame.
const FRAME: usize = 40_000;
/// The largest record that brokers take by default.
const LARGEST: usize = 1_048_576;

/// The largest event, in bytes of payload, key and metadata.
pub(super) fn max_payload(option: Option<&str>) -> usize {
    option.and_then(|text| text.parse().ok()).map_or(1_000_000, within)
}

/// The largest event within a record of so many bytes.
pub(super) fn within(record: usize) -> usize {
    record.saturating_sub(FRAME).max(record / 2).max(1)
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

fn units(batch: &[Arc<Message>]) -> u32 {
    let units: usize = batch.iter().map(|message| 1 + message.wire_len() / 1024).sum();
    u32::try_from(units).unwrap_or(WINDOW).min(WINDOW)
}

impl Link {
    /// Hands one record to the client, or to the lane before it; whether it waits there.
    fn send(&self, target: &Target, lane: Option<&Lane>, message: Arc<Message>, pending: Pending) -> bool {
        let (size, limit) = (message.wire_len(), max_payload(self.options.property_value("message.max.bytes")));
        if size > limit {
            let text = format!(
                "the event has {size} bytes, the adapter takes {limit}: publish where the data is instead, or raise \
                 `message.max.bytes`, of the adapter and of the broker"
            );
            pending.refuse(Error::new(ErrorKind::TooLarge, "publish", text).on(message.channel()));
            return false;
        }
        let mut parcel = Some(Parcel::new(message, target.due, pending));
        let sent = self.outlet.with(self, target.patience, |producer| {
            let Some(parcel) = parcel.take() else { return false };
            match lane {
                Some(lane) => lane.put(parcel, &producer.client, &self.wire),
                None => {
                    parcel.send(&target.topic.name, &producer.client, &self.wire);
                    false
                }
            }
        });
        sent.unwrap_or_else(|error| {
            parcel.into_iter().for_each(|parcel| parcel.refuse(error.clone()));
            false
        })
    }

    /// Hands a batch to the client; its tickets resolve with the broker's word.
    fn send_all(
        self: &Arc<Self>,
        target: Target,
        batch: Batch,
        room: OwnedSemaphorePermit,
        limit: Duration,
    ) -> Tickets {
        let Some(channel) = batch.first().map(|message| message.channel().clone()) else {
            return MaybeReady::ready(Ok(Receipts::new()));
        };
        // Where records go to several nodes, one of them would hold up the others; and who is patient has a client of
        // its own.
        let goes_alone = target.topic.partitions == 1 && target.patience == DELIVERY;
        let lane = goes_alone.then(|| self.outlet.lanes.of(&target.topic.name));
        let underway = Underway::new(batch.len(), channel, lane.clone(), self.outlet.ledger.open(batch.len()), room);
        let (mut waits, kept) = (false, batch.clone());
        for (index, message) in batch.into_iter().enumerate() {
            waits |= self.send(&target, lane.as_deref(), message, Pending::new(underway.clone(), index));
        }
        // Where the client's own limit is the same and the client has it all, that holds without a timer.
        let limit = (limit != target.patience || waits).then_some(limit);
        MaybeReady::boxed(Confirming { link: self.clone(), target, underway, limit, timer: None, _kept: kept })
    }

    fn receipt(&self, target: &Target, channel: &ChannelName, confirmed: Confirmed) -> Result<Receipt> {
        match confirmed {
            Ok((partition, offset)) if target.due.is_none() => {
                let position = target.topic.position(partition, offset);
                Ok(position.map_or_else(Receipt::default, Receipt::at))
            }
            Ok(_) => Ok(Receipt::default()),
            Err(Fault::Refused(error)) => Err(error),
            Err(Fault::Reported(cause)) if is_unknown(&cause) => {
                // It was there when it was looked for. The next publish makes it again, where that is wanted.
                self.topics.forget(channel);
                self.signals.trouble.notify_one();
                if self.options.broker.strict || channel.is_inbox() {
                    return Err(error("publish", cause).on(channel));
                }
                let text = "the channel was deleted meanwhile";
                Err(Error::new(ErrorKind::Unavailable, "publish", text).on(channel).because(cause))
            }
            Err(Fault::Reported(cause)) => Err(refusal(cause, channel)),
            Err(Fault::Silent) => {
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
        let tickets = self.send_all(Target::new(topic.into(), None, DELIVERY), batch, room, DELIVERY);
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

/// The broker's word on a batch. One is made for each, so that it is as small as it can be.
struct Confirming {
    link: Arc<Link>,
    target: Target,
    underway: Arc<Underway>,
    limit: Option<Duration>,
    /// Runs once this has to wait.
    timer: Option<Pin<Box<Sleep>>>,
    /// The events: freed where they were made, since the allocator is slow where that is done elsewhere.
    _kept: Batch,
}

impl Future for Confirming {
    type Output = Result<Receipts>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        if let Poll::Ready(confirmed) = this.underway.poll(context) {
            let receipt = |confirmed| this.link.receipt(&this.target, &this.underway.channel, confirmed);
            return Poll::Ready(Ok(confirmed.into_iter().map(receipt).collect()));
        }
        let Some(limit) = this.limit else { return Poll::Pending };
        if this.timer.is_none() && Handle::try_current().is_ok() {
            this.timer = Some(Box::pin(sleep(limit)));
        }
        let Some(timer) = &mut this.timer else { return Poll::Pending };
        ready!(timer.as_mut().poll(context));
        let text = format!("the broker did not confirm within {limit:?}");
        Poll::Ready(Err(Error::new(ErrorKind::Timeout, "publish", text).perhaps_applied()))
    }
}

/// Where records go, and for how long the client tries.
struct Target {
    topic: Arc<Topic>,
    due: Option<Timestamp>,
    patience: Duration,
}

impl Target {
    fn new(topic: Arc<Topic>, due: Option<Timestamp>, limit: Duration) -> Self {
        Self { topic, due, patience: patience(limit) }
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
            let target = Target::new(topic, None, options.timeout);
            return MaybeReady::ready(Ok(link.send_all(target, batch, room, options.timeout)));
        }
        MaybeReady::boxed(async move {
            let channel = batch.first().map(|message| message.channel().clone());
            let Some(channel) = channel else { return Ok(MaybeReady::ready(Ok(Receipts::new()))) };
            let begun = Instant::now();
            let left = || options.timeout.saturating_sub(begun.elapsed());
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
            let room = link.room(&batch, left()).await.map_err(|error| error.on(&channel))?;
            link.open("publish")?;
            Ok(link.send_all(Target::new(topic.into(), due, options.timeout), batch, room, left()))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_of_the_client_leaves_room_for_the_frame() {
        assert_eq!(max_payload(None), 1_000_000);
        assert_eq!(max_payload(Some("5000000")), 4_960_000);
        assert_eq!(max_payload(Some("10")), 5);
    }
}
