//! Broadcasts: every partition of the channels, from offsets of our own, without a group.

mod reading;

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use futures_util::{FutureExt, StreamExt};
use pubsub_core::{
    AckHandle, ChannelName, ChannelPattern, Delivery, Result, StartPosition,
    driver::{AdapterState, Gap, GapReason, SlowConsumer, SubscribeOptions, Subscription, SubscriptionState},
};
use rdkafka::{
    Message as _, Offset, TopicPartitionList,
    consumer::{Consumer, StreamConsumer},
    error::KafkaError,
    message::BorrowedMessage,
};
use tokio::{
    sync::{
        broadcast::{self, error::RecvError},
        mpsc,
    },
    time::{Instant, MissedTickBehavior, interval, sleep},
};

use self::reading::Reading;

use super::{
    connection::{ANSWER, Incident, Link, Trouble},
    error::{code_of, error, is_auth, is_fatal, is_unknown},
    group::Seek,
    jumps::{Jump, Jumps},
    member::{Client, MemberContext, move_client},
    position::resolve,
    subscriber::{DISCOVER, Seeks},
};
use crate::common::{backoff::Backoff, feed::Feed, unreadable};

/// How much is read ahead of the subscriber; the log keeps the rest.
const AHEAD: usize = 512;
/// How far a subscriber may lag behind that is to be disconnected and did not say when.
const PATIENCE: usize = 4_096;
const CHUNK: usize = 256;
/// A client that was read from for so long is not to blame for what befell it.
const SOUND: Duration = Duration::from_secs(10);

type Consumption = StreamConsumer<MemberContext>;

/// Why a client is no longer read from.
enum End {
    /// The subscription or the adapter ends.
    Stop,
    /// The client has to be made anew.
    Rebuild(String),
}

/// Reads for one subscription.
struct Reader {
    link: Arc<Link>,
    feed: Feed,
    options: SubscribeOptions,
    seeks: mpsc::Receiver<Seek>,
    /// By the names on the broker.
    readings: BTreeMap<String, Reading>,
    /// Where records did not follow each other.
    jumps: Jumps,
    /// From before the first channel is looked for: none is made anew without being noticed.
    incidents: broadcast::Receiver<Incident>,
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
        let client = self.client_of_broadcast()?;
        let mut reader = Reader {
            link: self.clone(),
            feed,
            options,
            seeks,
            readings: BTreeMap::new(),
            jumps: Jumps::default(),
            incidents: self.incidents.subscribe(),
        };
        for channel in channels {
            reader.add(client.get()?, channel, start).await.map_err(|error| error.on(channel))?;
        }
        Ok(reader.run(client))
    }

    fn client_of_broadcast(&self) -> Result<Client> {
        Client::new(self, &self.names.group("_broadcast", "_broadcast"))
    }
}

impl Reader {
    /// Begins to read a channel.
    async fn add(&mut self, consumer: &Arc<Consumption>, channel: &ChannelName, start: &StartPosition) -> Result<()> {
        let topic = self.link.demand(channel, "subscribe").await?;
        let (wanted, start) = (topic.clone(), start.clone());
        let offsets = self.link.ask("subscribe", move |explorer| resolve(explorer, &wanted, &start, true)).await?;
        assign(consumer, &topic.name, &offsets)?;
        let reading = Reading::new(channel.clone(), topic, offsets);
        self.readings.insert(reading.topic.name.to_string(), reading);
        Ok(())
    }

    /// Reads until the subscription ends; heals by itself.
    async fn run(mut self, mut client: Client) {
        let mut backoff = Backoff::default();
        loop {
            let since = Instant::now();
            let end = match client.get().cloned() {
                Ok(consumer) => self.read(&consumer).await,
                Err(error) => End::Rebuild(error.to_string()),
            };
            let End::Rebuild(reason) = end else { break };
            self.feed.state(SubscriptionState::Recovering(reason));
            drop(client);
            if since.elapsed() > SOUND {
                backoff.reset();
            }
            client = match self.begin_again(&mut backoff).await {
                Some(client) => client,
                None => return self.feed.end(),
            };
            self.feed.state(SubscriptionState::Active);
        }
        self.feed.end();
        client.leave(ANSWER / 2).await;
    }

    /// A new client that goes on where the last one was; `None` once the subscription ends.
    async fn begin_again(&mut self, backoff: &mut Backoff) -> Option<Client> {
        let (link, feed) = (self.link.clone(), self.feed.clone());
        loop {
            let begun = tokio::select! {
                () = link.closing.cancelled() => return None,
                () = feed.gone().cancelled() => return None,
                begun = self.begin() => begun,
            };
            match begun {
                Ok(client) => return Some(client),
                Err(error) => feed.state(SubscriptionState::Recovering(error.to_string())),
            }
            tokio::select! {
                () = link.closing.cancelled() => return None,
                () = feed.gone().cancelled() => return None,
                () = sleep(backoff.next()) => {}
            }
        }
    }

    async fn begin(&mut self) -> Result<Client> {
        let client = self.link.client_of_broadcast()?;
        for reading in self.readings.values_mut() {
            let offsets = reading.find_again(&self.link, &self.feed).await?;
            assign(client.get()?, &reading.topic.name, &offsets)?;
        }
        Ok(client)
    }

    async fn read(&mut self, consumer: &Arc<Consumption>) -> End {
        let (link, feed) = (self.link.clone(), self.feed.clone());
        let mut stream = consumer.stream();
        let mut states = link.states.watch();
        let wildcards = self.options.channels.iter().any(ChannelPattern::is_wildcard);
        let mut recovering = false;
        let lossless = self.bound().is_none();
        let mut looks = interval(DISCOVER);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            for gap in self.jumps.gaps(&link).await {
                feed.gap(gap);
            }
            let discovered = link.discovered.notified();
            tokio::select! {
                biased;
                () = link.closing.cancelled() => return End::Stop,
                () = feed.gone().cancelled() => return End::Stop,
                () = self.options.drain.clone().started() => {
                    link.closing.cancelled().await;
                    return End::Stop;
                }
                incident = self.incidents.recv() => {
                    match incident {
                        Err(RecvError::Closed) => return End::Stop,
                        Ok(incident) => self.tell(incident),
                        Err(RecvError::Lagged(_)) => {}
                    }
                    if let Some(end) = self.find_loss() {
                        return end;
                    }
                }
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
                    let (moved, end) = match self.seek(consumer, &seek.to).await {
                        Ok(end) => (Ok(()), end),
                        Err(error) => (Err(error), None),
                    };
                    let _ = seek.done.send(moved);
                    if let Some(end) = end {
                        return end;
                    }
                }
                () = discovered, if wildcards => self.discover(consumer).await,
                _ = looks.tick() => {
                    if let Some(end) = self.find_loss() {
                        return end;
                    }
                    self.discover(consumer).await;
                }
                record = async {
                    feed.resumed().await;
                    if lossless {
                        feed.room(AHEAD).await;
                    }
                    stream.next().await
                } => {
                    let mut next = record;
                    for taken in 1_usize.. {
                        let end = match next {
                            Some(Ok(record)) => self.arrive(&record),
                            Some(Err(cause)) => self.fault(cause),
                            None => break,
                        };
                        if let Some(end) = end {
                            return end;
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

    /// Tells what befell a channel's scheduled events; of its own loss tells whoever finds the reading's place again.
    fn tell(&self, incident: Incident) {
        if self.readings.values().any(|reading| reading.channel == incident.channel) {
            match incident.trouble {
                Trouble::Lost => {}
                Trouble::ScheduledLost => self.feed.gap(Gap::new(incident.channel, None, GapReason::DataLoss)),
                Trouble::Scheduled(error) => self.feed.error(error),
            }
        }
    }

    /// Whether a channel is not the one that is read any more, whoever has noticed.
    fn find_loss(&self) -> Option<End> {
        let other = |reading: &Reading| {
            let now = self.link.topics.get(&reading.channel);
            now.is_some_and(|now| now.born != reading.topic.born)
        };
        self.readings.values().any(other).then(|| End::Rebuild("a channel was made anew".to_owned()))
    }

    /// How far the subscriber may lag behind, where that has consequences. Otherwise it is read no faster than it takes.
    fn bound(&self) -> Option<usize> {
        match self.options.slow {
            SlowConsumer::Disconnect => Some(self.options.buffer.unwrap_or(PATIENCE)),
            _ => self.options.buffer,
        }
    }

    fn arrive(&mut self, record: &BorrowedMessage<'_>) -> Option<End> {
        let (partition, offset) = (record.partition(), record.offset());
        let reading = self.readings.get_mut(record.topic())?;
        let next = reading.next.get_mut(&partition)?;
        let expected = *next;
        if offset < expected {
            // Offsets only grow, as long as it is the same log.
            reading.lost = true;
            return Some(End::Rebuild("a channel was made anew".to_owned()));
        }
        *next = offset + 1;
        if offset > expected {
            let (channel, topic) = (reading.channel.clone(), reading.topic.name.to_string());
            self.jumps.note(Jump { channel, topic, partition, expected, came: offset });
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
        None
    }

    fn fault(&self, cause: KafkaError) -> Option<End> {
        if is_fatal(&cause) {
            return Some(End::Rebuild(cause.to_string()));
        }
        if code_of(&cause).is_some_and(is_auth) {
            self.feed.error(error("receive", cause));
        } else if is_unknown(&cause) {
            self.link.signals.trouble.notify_one();
            return Some(End::Rebuild("a channel is gone".to_owned()));
        }
        None
    }

    /// Takes in channels and partitions that came to be; nothing of them is missed.
    async fn discover(&mut self, consumer: &Arc<Consumption>) {
        for reading in self.readings.values_mut() {
            let Some(now) = self.link.topics.get(&reading.channel) else {
                // A publisher has found it gone. Whether there is another one by now is compared at the next look.
                let _ = self.link.find(&reading.channel).await;
                continue;
            };
            if now.born != reading.topic.born || now.partitions <= reading.topic.partitions {
                continue;
            }
            let more: Vec<_> = (reading.topic.partitions..now.partitions).map(|partition| (partition, 0)).collect();
            if assign(consumer, &now.name, &more).is_ok() {
                reading.next.extend(more);
                reading.topic = (*now).clone();
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

    /// Moves to another position, perhaps by a client that has to be made anew for it.
    async fn seek(&mut self, consumer: &Arc<Consumption>, to: &StartPosition) -> Result<Option<End>> {
        let mut moves = Vec::new();
        for reading in self.readings.values() {
            let (topic, start) = (reading.topic.clone(), to.clone());
            let found = self.link.ask("seek", move |explorer| resolve(explorer, &topic, &start, true)).await;
            moves.push((reading.topic.name.to_string(), found.map_err(|error| error.on(&reading.channel))?));
        }
        let mut lists = Vec::with_capacity(moves.len());
        for (name, offsets) in &moves {
            let mut list = TopicPartitionList::new();
            for (partition, offset) in offsets {
                let added = list.add_partition_offset(name, *partition, Offset::Offset(*offset));
                added.map_err(|cause| error("seek", cause))?;
            }
            lists.push(list);
        }
        for (name, offsets) in moves {
            if let Some(reading) = self.readings.get_mut(&name) {
                reading.next = offsets.into_iter().collect();
            }
        }
        self.jumps.clear();
        for list in lists {
            if let Err(error) = move_client(consumer, list).await {
                // A new client begins where this one should be.
                return Ok(Some(End::Rebuild(format!("a seek stopped half-way: {error}"))));
            }
        }
        Ok(None)
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
