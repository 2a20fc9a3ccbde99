//! Broadcasts: streams for durable channels, and queues for ephemeral ones and for wildcards.

use std::{sync::Arc, time::Duration};

use futures_util::StreamExt;
use lapin::{
    Channel, Consumer,
    options::{BasicAckOptions, BasicConsumeOptions, BasicQosOptions, QueueDeclareOptions, QueueDeleteOptions},
    types::FieldTable,
};
use pubsub_core::{
    AckHandle, ChannelName, ChannelPattern, Delivery, ErrorKind, Result, StartPosition,
    driver::{Gap, GapReason, SlowConsumer, SubscriptionState},
};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use super::{
    error::convert,
    names::{WHOLE, binding_key, later_key, routing_key, short},
    pulse::Pulse,
    registry::Entry,
    stream::{From, Reader, bounds, position, resolve},
    topology::{Topologist, bind, number, text, within},
    wire::{Raw, Wire},
};
use crate::common::{backoff::Backoff, feed::Feed, unreadable::mark};

const OPERATION: &str = "receive";
/// How many events a broadcast may lag behind where its subscriber sets no bound.
const BUFFER: usize = 1_024;
/// How many events the broker may send ahead from a durable queue.
const AHEAD: u16 = 256;
/// How long the broker keeps the queue of a wildcard broadcast whose process does not come back.
const KEPT: Duration = Duration::from_secs(600);

/// Where a part of a broadcast takes its events from.
#[derive(Debug)]
pub(super) enum Part {
    /// The stream of a durable channel.
    Stream { channel: ChannelName, from: From, born: u64 },
    /// A queue of this connection alone, for ephemeral channels.
    Live { patterns: Vec<ChannelPattern> },
    /// A queue of this process alone, for wildcards over durable channels.
    Durable { queue: String, patterns: Vec<ChannelPattern> },
    /// The queue of an inbox.
    Inbox { address: ChannelName },
}

/// What is open.
enum Opened {
    Stream(Reader),
    Queue(Channel, Consumer),
    /// A queue whose bindings nobody else can make again.
    Live(Consumer, Pulse),
}

/// One part of a broadcast.
pub(super) struct Broadcast {
    pub(super) topology: Arc<Topologist>,
    pub(super) wire: Arc<Wire>,
    pub(super) feed: Feed,
    pub(super) closing: CancellationToken,
    pub(super) slow: SlowConsumer,
    pub(super) buffer: Option<usize>,
    part: Part,
    opened: Option<Opened>,
    untold: Untold,
}

/// What came since the broker was told last, by id: after a lost connection it comes again, and was handed on already.
#[derive(Default)]
struct Untold {
    ids: Vec<String>,
    /// What is to come again.
    again: Vec<String>,
}

impl Untold {
    /// Takes note of what comes; false if it was handed on before.
    fn take(&mut self, raw: &Raw, redelivered: bool) -> bool {
        let id = raw.id().unwrap_or_default();
        self.ids.push(id.to_owned());
        if !redelivered {
            self.again.clear(); // what comes again comes first
        }
        let known = self.again.iter().position(|known| !id.is_empty() && known == id);
        known.map(|known| self.again.swap_remove(known)).is_none()
    }

    /// Whether it is time to tell the broker.
    fn is_due(&self) -> bool {
        self.ids.len() >= usize::from(AHEAD / 2)
    }

    /// The connection is lost: all of it comes again.
    fn turn_back(&mut self) {
        self.again.append(&mut self.ids);
    }
}

impl Broadcast {
    /// Opens a part, so that everything published from now on reaches it.
    pub(super) async fn open(
        (topology, wire): (Arc<Topologist>, Arc<Wire>),
        (feed, closing): (Feed, CancellationToken),
        (slow, buffer): (SlowConsumer, Option<usize>),
        part: Part,
    ) -> Result<Self> {
        let untold = Untold::default();
        let mut this = Self { topology, wire, feed, closing, slow, buffer, part, opened: None, untold };
        this.opened = Some(this.connect().await?);
        Ok(this)
    }

    /// The part of a stream that begins at `start`.
    pub(super) async fn stream(topology: &Topologist, channel: &ChannelName, start: &StartPosition) -> Result<Part> {
        let bounds = bounds(topology, channel, "subscribe").await?;
        let start = if *start == StartPosition::Stored { &StartPosition::Latest } else { start };
        let from = resolve(start, bounds, "subscribe").map_err(|error| error.on(channel))?;
        Ok(Part::Stream { channel: channel.clone(), from, born: bounds.born })
    }

    pub(super) async fn run(mut self) {
        let (gone, closing) = (self.feed.gone().clone(), self.closing.clone());
        tokio::select! {
            biased;
            () = gone.cancelled() => {}
            () = closing.cancelled() => {}
            () = self.work() => {}
        }
        self.opened = None;
        if let Part::Durable { queue, .. } = &self.part
            && let Ok(scratch) = self.topology.scratch(OPERATION).await
        {
            let deleted = within(OPERATION, scratch.queue_delete(short(queue), QueueDeleteOptions::default())).await;
            if matches!(deleted, Ok(Ok(_))) {
                let _ = self.topology.register(&[Entry::Gone(queue.clone())]).await;
            }
        }
        self.feed.end();
    }

    /// Reads on and on, and opens again what was lost.
    async fn work(&mut self) {
        loop {
            if let Some(mut opened) = self.opened.take() {
                self.read(&mut opened).await;
            }
            self.feed.state(SubscriptionState::Recovering("the connection to the broker was lost".to_owned()));
            if let Part::Live { patterns } = &self.part {
                self.feed.gaps(patterns.iter().filter_map(name_of), GapReason::Disconnected);
            }
            if let Part::Inbox { address } = &self.part {
                self.feed.gap(Gap::new(address.clone(), None, GapReason::Disconnected));
            }
            let mut backoff = Backoff::default();
            while self.opened.is_none() {
                match self.reconnect().await {
                    Ok(opened) => self.opened = Some(opened),
                    Err(error) => {
                        self.feed.state(SubscriptionState::Recovering(error.to_string()));
                        sleep(backoff.next()).await;
                    }
                }
            }
            self.feed.state(SubscriptionState::Active);
        }
    }

    /// Hands on what comes, until the connection or the queue is gone.
    async fn read(&mut self, opened: &mut Opened) {
        loop {
            let lossless = self.slow != SlowConsumer::Disconnect && !matches!(self.part, Part::Live { .. });
            if lossless {
                // What is not read stays on the broker.
                self.feed.room(self.buffer.unwrap_or(BUFFER).max(1)).await;
            }
            let raw = match opened {
                Opened::Stream(reader) => match reader.next().await {
                    Ok(Some(raw)) => raw,
                    Ok(None) | Err(_) => return,
                },
                Opened::Queue(channel, consumer) => match consumer.next().await {
                    Some(Ok(delivery)) => {
                        let (tag, again) = (delivery.delivery_tag, delivery.redelivered);
                        let raw = Raw::of(delivery);
                        let fresh = self.untold.take(&raw, again);
                        if self.untold.is_due() {
                            let told = channel.basic_ack(tag, BasicAckOptions { multiple: true }).await;
                            if told.is_err() {
                                if fresh {
                                    self.hand_on(&raw);
                                }
                                return;
                            }
                            self.untold.ids.clear();
                        }
                        if !fresh {
                            continue;
                        }
                        raw
                    }
                    Some(Err(_)) | None => return,
                },
                Opened::Live(consumer, pulse) => {
                    let next = tokio::select! {
                        biased;
                        next = consumer.next() => next,
                        () = pulse.lost() => return,
                    };
                    let Some(Ok(delivery)) = next else { return };
                    pulse.beat();
                    Raw::of(delivery)
                }
            };
            self.hand_on(&raw);
        }
    }

    fn hand_on(&mut self, raw: &Raw) {
        let channel = match &mut self.part {
            Part::Stream { channel, from, .. } => {
                let Some(offset) = raw.offset() else { return };
                if let From::Offset(expected) = *from {
                    if offset < expected {
                        return; // the beginning of a chunk
                    }
                    if offset > expected {
                        self.feed.gap(Gap::new(channel.clone(), Some(offset - expected), GapReason::Retention));
                    }
                }
                *from = From::Offset(offset + 1);
                channel.clone()
            }
            Part::Live { patterns } | Part::Durable { patterns, .. } => {
                if Pulse::is_mark(raw) {
                    return;
                }
                let Some(channel) = raw.channel() else { return };
                if !patterns.iter().any(|pattern| pattern.matches(&channel)) {
                    return;
                }
                channel
            }
            Part::Inbox { address } => address.clone(),
        };
        if raw.mark().is_some() || raw.is_expired() {
            return;
        }
        let (message, fault) = self.wire.decode(raw, &channel);
        let mut delivery = Delivery::new(message, AckHandle::none());
        if let (Part::Stream { born, .. }, Some(offset)) = (&self.part, raw.offset())
            && let Some(position) = position(offset, *born)
        {
            delivery = delivery.at(position);
        }
        let delivery = mark(delivery, fault);
        let buffer = self.buffer.unwrap_or(BUFFER);
        match (&self.part, self.slow) {
            (Part::Live { .. }, slow) => self.feed.broadcast(delivery, slow, buffer),
            (_, SlowConsumer::Disconnect) => self.feed.broadcast(delivery, SlowConsumer::Disconnect, buffer),
            _ => self.feed.deliver(delivery),
        }
    }

    async fn connect(&mut self) -> Result<Opened> {
        let topology = &self.topology;
        match &self.part {
            Part::Stream { channel, from, .. } => {
                Ok(Opened::Stream(Reader::of(topology, channel, *from, OPERATION).await?))
            }
            Part::Live { patterns } => {
                topology.base(false).await?;
                let options = QueueDeclareOptions { exclusive: true, auto_delete: true, ..Default::default() };
                let channel = topology.scratch(OPERATION).await?;
                let declared = channel.queue_declare(short(""), options, FieldTable::default());
                let queue = within(OPERATION, declared).await?.map_err(|error| convert(OPERATION, error))?;
                let queue = queue.name().as_str().to_owned();
                for pattern in patterns {
                    let key = match pattern {
                        ChannelPattern::Exact(channel) => routing_key(WHOLE, channel),
                        wildcard => binding_key(wildcard),
                    };
                    bind(&channel, OPERATION, &queue, &topology.names.live(), &key).await?;
                }
                let pulse = Pulse::new(topology);
                bind(&channel, OPERATION, &queue, &topology.names.live(), &pulse.key()).await?;
                let (_, consumer) = consume(channel, &queue, true).await?;
                Ok(Opened::Live(consumer, pulse))
            }
            Part::Durable { queue, patterns } => {
                topology.base(false).await?;
                let channel = topology.scratch(OPERATION).await?;
                let mut arguments = FieldTable::default();
                text(&mut arguments, "x-queue-type", "quorum");
                number(&mut arguments, "x-expires", u64::try_from(KEPT.as_millis()).unwrap_or(u64::MAX));
                let mut bindings = Vec::new();
                for pattern in patterns {
                    let key = binding_key(pattern);
                    let exchange = match pattern {
                        ChannelPattern::Exact(channel) => topology.names.exchange(channel),
                        _ => topology.names.events(),
                    };
                    bindings.push((topology.names.later(), later_key(&key)));
                    bindings.push((exchange, key));
                }
                if !super::group::exists(topology, queue).await? {
                    // Whoever makes a deleted exchange again binds the queue to it.
                    let entry = Entry::Bound { queue: queue.clone(), bindings: bindings.clone() };
                    topology.register(&[entry]).await?;
                }
                super::topology::quorum(&channel, OPERATION, queue, arguments).await?;
                for (exchange, key) in bindings {
                    bind(&channel, OPERATION, queue, &exchange, &key).await?;
                }
                let (channel, consumer) = consume(channel, queue, false).await?;
                Ok(Opened::Queue(channel, consumer))
            }
            Part::Inbox { address } => {
                let queue = topology.names.inbox(address);
                let channel = topology.scratch(OPERATION).await?;
                let options = QueueDeclareOptions { durable: true, auto_delete: true, ..Default::default() };
                let declared = channel.queue_declare(short(&queue), options, FieldTable::default());
                within(OPERATION, declared).await?.map_err(|error| convert(OPERATION, error))?;
                // The client bounds nothing that the broker sends unasked: what its reader has not taken waits there.
                let (channel, consumer) = consume(channel, &queue, false).await?;
                Ok(Opened::Queue(channel, consumer))
            }
        }
    }

    /// As [`Broadcast::connect`], after something was lost.
    async fn reconnect(&mut self) -> Result<Opened> {
        let topology = self.topology.clone();
        self.untold.turn_back();
        match &mut self.part {
            Part::Stream { channel, from, born } => {
                let bounds = match bounds(&topology, channel, OPERATION).await {
                    Err(error) if error.kind() == ErrorKind::NotFound => {
                        topology.restore(channel).await?;
                        bounds(&topology, channel, OPERATION).await?
                    }
                    bounds => bounds?,
                };
                if let From::Offset(expected) = *from {
                    let is_other = *born != 0 && bounds.born != 0 && bounds.born != *born;
                    // Or it ends before what was read already.
                    if is_other || bounds.next < expected {
                        self.feed.gap(Gap::new(channel.clone(), None, GapReason::DataLoss));
                        *from = From::Offset(bounds.first);
                    }
                }
                *born = bounds.born;
            }
            Part::Durable { queue, patterns } => {
                if !super::group::exists(&topology, queue).await? {
                    topology.base(true).await?;
                    self.untold = Untold::default();
                    self.feed.gaps(patterns.iter().filter_map(name_of), GapReason::DataLoss);
                }
            }
            Part::Live { .. } => topology.look().await?,
            // Its queue went with the connection.
            Part::Inbox { .. } => self.untold = Untold::default(),
        }
        self.connect().await
    }
}

async fn consume(channel: Channel, queue: &str, no_ack: bool) -> Result<(Channel, Consumer)> {
    let failed = |error| convert(OPERATION, error);
    if !no_ack {
        within(OPERATION, channel.basic_qos(AHEAD, BasicQosOptions::default())).await?.map_err(failed)?;
    }
    let options = BasicConsumeOptions { no_ack, ..BasicConsumeOptions::default() };
    let consumer = channel.basic_consume(short(queue), short(""), options, FieldTable::default());
    let consumer = within(OPERATION, consumer).await?.map_err(failed)?;
    Ok((channel, consumer))
}

/// The channel that a gap of a pattern is told of.
fn name_of(pattern: &ChannelPattern) -> Option<&ChannelName> {
    match pattern {
        ChannelPattern::Exact(channel) | ChannelPattern::Family(channel) => Some(channel),
        ChannelPattern::All => None,
    }
}
