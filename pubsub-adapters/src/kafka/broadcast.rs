//! Broadcasts: every partition of the channels, from offsets of our own, without a group.

use std::{collections::BTreeMap, sync::Arc};

use futures_util::{FutureExt, StreamExt};
use pubsub_core::{
    AckHandle, ChannelName, ChannelPattern, Delivery, Position, Result, StartPosition,
    driver::{AdapterState, Gap, GapReason, SlowConsumer, SubscribeOptions, Subscription, SubscriptionState},
};
use rdkafka::{
    Message as _, Offset, TopicPartitionList,
    consumer::{Consumer, StreamConsumer},
    error::KafkaError,
    message::BorrowedMessage,
};
use tokio::{
    sync::{broadcast::error::RecvError, mpsc},
    time::sleep,
};

use super::{
    connection::{ANSWER, Link, blocking},
    error::{code_of, error, is_auth, is_unknown},
    group::Seek,
    member::{Client, MemberContext},
    position::{bounds_of, resolve},
    subscriber::{DISCOVER, Seeks},
    topology::Topic,
};
use crate::common::{feed::Feed, unreadable};

/// How much is read ahead of the subscriber; the log keeps the rest.
const AHEAD: usize = 512;
/// How far a subscriber may lag behind that is to be disconnected and did not say when.
const PATIENCE: usize = 4_096;
const CHUNK: usize = 256;

type Consumption = StreamConsumer<MemberContext>;

/// A channel that is read.
struct Reading {
    channel: ChannelName,
    topic: Topic,
    /// The offset that comes next in each partition.
    next: BTreeMap<i32, i64>,
}

/// Reads for one subscription.
struct Reader {
    link: Arc<Link>,
    feed: Feed,
    options: SubscribeOptions,
    seeks: mpsc::Receiver<Seek>,
    /// By the names on the broker.
    readings: BTreeMap<String, Reading>,
    jumps: Vec<(String, i32, i64, i64)>,
    again: Vec<ChannelName>,
}

impl Link {
    pub(super) async fn subscribe_broadcast(self: &Arc<Self>, options: SubscribeOptions) -> Result<Subscription> {
        let seeks = Seeks::default();
        let receiver = seeks.add();
        let (feed, source) = Feed::new(seeks);
        let channels = self.selected(&options).await?;
        let start = options.start.clone();
        let reader = self.reader(feed, options, receiver, &channels, &start).await?;
        self.tasks.spawn(reader);
        Ok(Self::subscription(source))
    }

    /// A reader that begins where it should when this returns.
    pub(super) async fn reader(
        self: &Arc<Self>,
        feed: Feed,
        options: SubscribeOptions,
        seeks: mpsc::Receiver<Seek>,
        channels: &[ChannelName],
        start: &StartPosition,
    ) -> Result<impl Future<Output = ()> + Send + use<>> {
        let client = Client::new(self, &self.names.group("_broadcast", "_broadcast"))?;
        let mut reader = Reader {
            link: self.clone(),
            feed,
            options,
            seeks,
            readings: BTreeMap::new(),
            jumps: Vec::new(),
            again: Vec::new(),
        };
        for channel in channels {
            reader.add(client.get()?, channel, start).await.map_err(|error| error.on(channel))?;
        }
        Ok(reader.run(client))
    }
}

impl Reader {
    /// Begins to read a channel.
    async fn add(&mut self, consumer: &Arc<Consumption>, channel: &ChannelName, start: &StartPosition) -> Result<()> {
        let topic = self.link.demand(channel, "subscribe").await?;
        let (wanted, start) = (topic.clone(), start.clone());
        let offsets = self.link.ask("subscribe", move |explorer| resolve(explorer, &wanted, &start, true)).await?;
        assign(consumer, &topic.name, &offsets)?;
        let reading = Reading { channel: channel.clone(), next: offsets.into_iter().collect(), topic };
        self.readings.insert(reading.topic.name.to_string(), reading);
        Ok(())
    }

    /// Begins anew with a channel that has lost its events.
    async fn renew(&mut self, consumer: &Arc<Consumption>, channel: &ChannelName) {
        let Some(reading) = self.readings.values().find(|reading| reading.channel == *channel) else { return };
        self.feed.state(SubscriptionState::Recovering("the channel has lost its events".to_owned()));
        let mut list = TopicPartitionList::new();
        for partition in reading.next.keys() {
            list.add_partition(&reading.topic.name, *partition);
        }
        let _ = consumer.incremental_unassign(&list);
        let name = reading.topic.name.to_string();
        match self.add(consumer, channel, &StartPosition::Earliest).await {
            Ok(()) => {
                self.feed.gap(Gap::new(channel.clone(), None, GapReason::DataLoss));
                self.feed.state(SubscriptionState::Active);
            }
            Err(_) => {
                if let Some(reading) = self.readings.get_mut(&name) {
                    reading.next.clear();
                }
                self.again.push(channel.clone());
            }
        }
    }

    async fn run(mut self, client: Client) {
        if let Ok(consumer) = client.get().cloned() {
            self.read(&consumer).await;
        }
        self.feed.end();
        client.leave(ANSWER / 2).await;
    }

    async fn read(&mut self, consumer: &Arc<Consumption>) {
        let (link, feed) = (self.link.clone(), self.feed.clone());
        let mut stream = consumer.stream();
        let (mut incidents, mut states) = (link.incidents.subscribe(), link.states.watch());
        let wildcards = self.options.channels.iter().any(ChannelPattern::is_wildcard);
        let mut recovering = false;
        let lossless = self.bound().is_none();
        loop {
            self.report_jumps().await;
            let discovered = link.discovered.notified();
            tokio::select! {
                biased;
                () = link.closing.cancelled() => return,
                () = feed.gone().cancelled() => return,
                () = self.options.drain.clone().started() => {
                    link.closing.cancelled().await;
                    return;
                }
                incident = incidents.recv() => match incident {
                    Ok(incident) => self.renew(consumer, &incident.channel).await,
                    Err(RecvError::Closed) => return,
                    Err(RecvError::Lagged(_)) => {}
                },
                state = states.changed() => match state {
                    Some(AdapterState::Degraded(reason)) => {
                        recovering = true;
                        feed.state(SubscriptionState::Recovering(reason));
                    }
                    Some(AdapterState::Ready) if std::mem::take(&mut recovering) => {
                        feed.state(SubscriptionState::Active);
                    }
                    _ => {}
                },
                Some(seek) = self.seeks.recv() => {
                    let _ = seek.done.send(self.seek(consumer, &seek.to).await);
                }
                () = discovered, if wildcards => self.discover(consumer).await,
                () = sleep(DISCOVER) => self.discover(consumer).await,
                record = async {
                    feed.resumed().await;
                    if lossless {
                        feed.room(AHEAD).await;
                    }
                    stream.next().await
                } => {
                    let mut next = record;
                    for taken in 1_usize.. {
                        match next {
                            Some(Ok(record)) => self.arrive(&record),
                            Some(Err(cause)) => self.fault(cause),
                            None => break,
                        }
                        if taken >= CHUNK || !self.jumps.is_empty() || (lossless && feed.len() >= AHEAD) {
                            break;
                        }
                        next = match stream.next().now_or_never() {
                            Some(next) => next,
                            None => break,
                        };
                    }
                }
            }
        }
    }

    /// How far the subscriber may lag behind, where that has consequences. Otherwise it is read no faster than it takes.
    fn bound(&self) -> Option<usize> {
        match self.options.slow {
            SlowConsumer::Disconnect => Some(self.options.buffer.unwrap_or(PATIENCE)),
            _ => self.options.buffer,
        }
    }

    fn arrive(&mut self, record: &BorrowedMessage<'_>) {
        let (partition, offset) = (record.partition(), record.offset());
        let Some(reading) = self.readings.get_mut(record.topic()) else { return };
        let Some(next) = reading.next.get_mut(&partition) else { return };
        let expected = std::mem::replace(next, offset + 1);
        if offset < expected {
            // Offsets only grow, as long as it is the same log.
            self.feed.gap(Gap::new(reading.channel.clone(), None, GapReason::DataLoss));
            self.link.signals.trouble.notify_one();
        } else if offset > expected {
            self.jumps.push((reading.topic.name.to_string(), partition, expected, offset));
        }
        let (message, fault) = self.link.wire.read(record, &reading.channel, reading.topic.born);
        let mut delivery = unreadable::mark(Delivery::new(message, AckHandle::none()), fault);
        if let Some(position) = reading.position() {
            delivery = delivery.at(position);
        }
        match self.bound() {
            Some(bound) => self.feed.broadcast(delivery, self.options.slow, bound),
            None => self.feed.deliver(delivery),
        }
    }

    fn fault(&self, cause: KafkaError) {
        if code_of(&cause).is_some_and(is_auth) {
            self.feed.error(error("receive", cause));
        } else if is_unknown(&cause) {
            self.link.signals.trouble.notify_one();
        }
    }

    /// Records are missing: retention may have removed them, or they were never meant for readers.
    async fn report_jumps(&mut self) {
        for (name, partition, expected, came) in std::mem::take(&mut self.jumps) {
            let topic = name.clone();
            let asked = self.link.ask("receive", move |explorer| bounds_of(explorer, &topic, partition)).await;
            let lost = asked.map_or(0, |bounds| bounds.low.min(came) - expected);
            if let (true, Some(reading)) = (lost > 0, self.readings.get(&name)) {
                let gap = Gap::new(reading.channel.clone(), Some(lost.unsigned_abs()), GapReason::Retention);
                self.feed.gap(gap);
            }
        }
    }

    /// Takes in channels and partitions that came to be; nothing of them is missed.
    async fn discover(&mut self, consumer: &Arc<Consumption>) {
        for channel in std::mem::take(&mut self.again) {
            self.renew(consumer, &channel).await;
        }
        for reading in self.readings.values_mut() {
            let Some(now) = self.link.topics.get(&reading.channel) else { continue };
            if now.born != reading.topic.born || now.partitions <= reading.topic.partitions {
                continue;
            }
            let more: Vec<_> = (reading.topic.partitions..now.partitions).map(|partition| (partition, 0)).collect();
            if assign(consumer, &now.name, &more).is_ok() {
                reading.next.extend(more);
                reading.topic = now;
            }
        }
        if !self.options.channels.iter().any(ChannelPattern::is_wildcard) {
            return;
        }
        for channel in self.link.selected(&self.options).await.unwrap_or_default() {
            if self.readings.values().all(|reading| reading.channel != channel)
                && let Err(error) = self.add(consumer, &channel, &StartPosition::Earliest).await
            {
                self.feed.error(error.on(&channel));
            }
        }
    }

    async fn seek(&mut self, consumer: &Arc<Consumption>, to: &StartPosition) -> Result<()> {
        let mut moves = Vec::new();
        for reading in self.readings.values() {
            let (topic, start) = (reading.topic.clone(), to.clone());
            let found = self.link.ask("seek", move |explorer| resolve(explorer, &topic, &start, true)).await;
            moves.push((reading.topic.name.to_string(), found.map_err(|error| error.on(&reading.channel))?));
        }
        for (name, offsets) in moves {
            let mut list = TopicPartitionList::new();
            for (partition, offset) in &offsets {
                let added = list.add_partition_offset(&name, *partition, Offset::Offset(*offset));
                added.map_err(|cause| error("seek", cause))?;
            }
            let client = consumer.clone();
            let moved = blocking("seek", move || client.seek_partitions(list, ANSWER).map(drop)).await?;
            moved.map_err(|cause| error("seek", cause))?;
            if let Some(reading) = self.readings.get_mut(&name) {
                reading.next = offsets.into_iter().collect();
            }
        }
        Ok(())
    }
}

impl Reading {
    /// The position of whoever has read so far.
    fn position(&self) -> Option<Position> {
        if let (1, Some((partition, next))) = (self.next.len(), self.next.first_key_value()) {
            return self.topic.position(*partition, next - 1);
        }
        let read: Vec<_> =
            self.next.iter().filter(|(_, next)| **next > 0).map(|(partition, next)| (*partition, next - 1)).collect();
        self.topic.marks.of(&read)
    }
}

fn assign(consumer: &Consumption, topic: &str, offsets: &[(i32, i64)]) -> Result<()> {
    let mut list = TopicPartitionList::new();
    for (partition, offset) in offsets {
        let added = list.add_partition_offset(topic, *partition, Offset::Offset(*offset));
        added.map_err(|cause| error("subscribe", cause))?;
    }
    consumer.incremental_assign(&list).map_err(|cause| error("subscribe", cause))
}
