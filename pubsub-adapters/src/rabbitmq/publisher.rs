//! Publishing: from messages to lanes, and from confirmations to tickets.

use std::{sync::Arc, time::Duration};

use futures_util::future::join_all;
use lapin::types::{AMQPValue, ShortString};
use pubsub_core::{
    ChannelName, Durability, Error, ErrorKind, Message, Result, Timestamp,
    driver::{Batch, BoxFuture, Confirm, MaybeReady, PublishOptions, Publisher, Receipt, Receipts, Tickets},
};
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore, oneshot},
    time::{Instant, timeout_at},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{
    adapter::RabbitMq,
    capabilities::MAX_DELAY,
    connection::Link,
    delay::Delay,
    error::{closed, unavailable},
    lane::{self, Inlet, Outgoing, Trace, Unrouted},
    names::{WHOLE, hash, queue_key, routing_key, scheduled_key, shard_of, short},
    options::RabbitMqOptions,
    topology::Topologist,
    wire::{EXPIRES, Raw, Wire},
};
use crate::common::{
    backoff::Backoff,
    ledger::{Ledger, OpenTickets},
};

/// How long a copy for a later delivery may take to be confirmed.
const COPY_TIMEOUT: Duration = Duration::from_secs(10);
/// All properties of a message go in one frame of 128 KiB, and the broker ends the connection of whoever exceeds it. A part
/// is kept free for what groups add to copies, and the broker to messages on their way through a delay.
const MAX_HEAD: usize = 112 << 10;
/// As much of a frame as copies may take. The rest is the broker's, for what it adds on the way through a delay.
const MAX_COPY_HEAD: usize = 120 << 10;

/// The publishing half, which groups use for their copies, too.
#[derive(Debug)]
pub(super) struct Sender {
    lanes: Vec<Inlet>,
    room: Arc<Semaphore>,
    ledger: Ledger,
    pub(super) wire: Arc<Wire>,
    topology: Arc<Topologist>,
    link: Arc<Link>,
    max_payload: usize,
    /// Refuses publishes.
    closing: CancellationToken,
    stop: CancellationToken,
    /// The lanes.
    tasks: TaskTracker,
}

impl Sender {
    pub(super) fn start(options: &RabbitMqOptions, link: &Arc<Link>, topology: &Arc<Topologist>) -> Arc<Self> {
        let stop = CancellationToken::new();
        let tasks = TaskTracker::new();
        let start = |_| lane::start(link.clone(), topology.clone(), stop.clone(), &tasks);
        let lanes = (0..options.lanes).map(start).collect();
        tasks.close();
        Arc::new(Self {
            lanes,
            room: Arc::new(Semaphore::new(options.window)),
            ledger: Ledger::default(),
            wire: Arc::new(Wire::new(&options.broker.source, options.broker.wire.unwrap_or_default())),
            topology: topology.clone(),
            link: link.clone(),
            max_payload: options.max_payload,
            closing: CancellationToken::new(),
            stop,
            tasks,
        })
    }

    /// The lane of an order: everything of one channel takes the same.
    fn lane(&self, of: &str) -> Option<&Inlet> {
        let hash = hash(of);
        let index = usize::from_str_radix(&hash[..4], 16).unwrap_or(0) % self.lanes.len().max(1);
        self.lanes.get(index)
    }

    /// Publishes a copy of a message for a queue of the group with this token, and waits until the broker has it.
    ///
    /// # Errors
    /// `TooLarge` if its headers leave no room in a frame for what a copy needs: as long as it is tried, nothing else is
    /// published on the connection, which the broker ends each time.
    pub(super) async fn copy(
        &self,
        raw: Raw,
        (to, token): (&str, &str),
        delay: Duration,
        channel: &ChannelName,
    ) -> Result<()> {
        let size = raw.head_len();
        if size > MAX_COPY_HEAD {
            let text = format!("the event's headers have {size} bytes, and a copy of it may have {MAX_COPY_HEAD}");
            return Err(Error::new(ErrorKind::TooLarge, "nack", text).on(channel));
        }
        let delay = Delay::of(delay);
        let (exchange, key, unrouted) = match delay.level() {
            None => (ShortString::default(), short(to), Unrouted::Refuse),
            Some(level) => {
                self.topology.ladder(delay.units(), false).await?;
                let key = format!("{}{}", delay.digits(), queue_key(to, token));
                (short(&self.topology.names.level(level)), short(&key), Unrouted::Ladder(delay.units()))
            }
        };
        self.put(raw, exchange, key, unrouted, channel).await
    }

    /// Publishes a message and waits until the broker has it.
    pub(super) async fn put(
        &self,
        raw: Raw,
        exchange: ShortString,
        routing_key: ShortString,
        unrouted: Unrouted,
        channel: &ChannelName,
    ) -> Result<()> {
        let word = self.post(raw, exchange, routing_key, unrouted, channel)?;
        word.await.unwrap_or_else(|_| Err(closed("publish")))
    }

    /// Hands a message to its lane at once; what comes back tells when the broker has it.
    pub(super) fn post(
        &self,
        raw: Raw,
        exchange: ShortString,
        routing_key: ShortString,
        unrouted: Unrouted,
        channel: &ChannelName,
    ) -> Result<oneshot::Receiver<Result<()>>> {
        let (answer, word) = oneshot::channel();
        let message = Outgoing {
            exchange,
            routing_key,
            properties: raw.properties,
            body: raw.body,
            unrouted,
            channel: channel.clone(),
            deadline: Instant::now() + COPY_TIMEOUT,
            answer,
            permit: None, // bounded by whoever waits here
            tickets: None,
            trace: Trace::default(),
        };
        let lane = self.lane(channel.as_str()).ok_or_else(|| closed("publish"))?;
        lane.send(message).map_err(|_| closed("publish"))?;
        Ok(word)
    }

    /// Where and how an event goes.
    fn address(&self, message: &Message, delay: Delay) -> (String, String, Unrouted) {
        let (names, channel) = (&self.topology.names, message.channel());
        if channel.is_inbox() {
            return (String::new(), names.inbox(channel), Unrouted::Refuse);
        }
        let policy = self.topology.policies.get(channel).unwrap_or_default();
        if policy.durability == Durability::Ephemeral {
            return (names.live(), routing_key(WHOLE, channel), Unrouted::Fine);
        }
        let key = routing_key(&shard_of(message, policy.ordering), channel);
        if let Some(level) = delay.level() {
            return (names.level(level), scheduled_key(&delay.digits(), &key), Unrouted::Ladder(delay.units()));
        }
        // Without history and without a group nobody needs the event.
        let unrouted = if policy.retention.history { Unrouted::Channel(channel.clone()) } else { Unrouted::Groups };
        (names.gate(&names.exchange(channel)), key, unrouted)
    }

    fn message(&self, message: &Message, options: &PublishOptions, delay: Delay) -> Result<Pending> {
        let channel = message.channel();
        let (properties, body) = self.wire.encode(message).map_err(|error| error.on(channel))?;
        let (size, limit) = (body.len().max(message.wire_len()), self.max_payload);
        if size > limit {
            let text = format!(
                "the event has {size} bytes, the adapter takes {limit}: publish where the data is instead, or raise \
                 `max_payload` in the address, up to the broker's `max_message_size`"
            );
            return Err(Error::new(ErrorKind::TooLarge, "publish", text).on(channel));
        }
        let mut raw = Raw { properties, body, routing_key: ShortString::default() };
        let head = raw.head_len();
        if head > MAX_HEAD {
            let text = format!(
                "the event's metadata has {head} bytes, the protocol takes {MAX_HEAD}: move some of it into the payload"
            );
            return Err(Error::new(ErrorKind::TooLarge, "publish", text).on(channel));
        }
        if let Some(ttl) = options.ttl {
            let from = options.deliver_at.unwrap_or_else(Timestamp::now).max(Timestamp::now());
            raw = raw.with(EXPIRES, AMQPValue::LongLongInt(from.saturating_add(ttl).as_millis()));
            if delay.level().is_none() {
                // At least a millisecond: zero would expire at once although somebody waits for it.
                let millis = ttl.as_millis().clamp(1, u128::from(u32::MAX));
                raw.properties = raw.properties.with_expiration(short(&millis.to_string()));
            }
        }
        let (exchange, key, unrouted) = self.address(message, delay);
        if key.len() > 255 {
            return Err(Error::new(ErrorKind::Invalid, "publish", "the channel's name is too long").on(channel));
        }
        Ok(Pending { raw, exchange: short(&exchange), key: short(&key), unrouted, channel: channel.clone() })
    }

    fn hand_over(
        &self,
        pending: Vec<Result<Pending>>,
        permit: OwnedSemaphorePermit,
        tickets: OpenTickets,
        deadline: Instant,
    ) -> Result<Tickets> {
        let Some(first) = pending.iter().find_map(|pending| pending.as_ref().ok()) else {
            let refused = pending.into_iter().map(|pending| pending.map(|_| Receipt::default()));
            return Ok(MaybeReady::ready(Ok(refused.collect())));
        };
        let lane = self.lane(first.channel.as_str()).ok_or_else(|| closed("publish"))?;
        let mut words = Vec::with_capacity(pending.len());
        let mut permit = Some(permit);
        for pending in pending {
            let pending = match pending {
                Ok(pending) => pending,
                Err(error) => {
                    tickets.fail(&error);
                    words.push(Err(error));
                    continue;
                }
            };
            let (answer, word) = oneshot::channel();
            words.push(Ok(word));
            let message = Outgoing {
                exchange: pending.exchange,
                routing_key: pending.key,
                properties: pending.raw.properties,
                body: pending.raw.body,
                unrouted: pending.unrouted,
                channel: pending.channel,
                deadline,
                answer,
                permit: permit.as_mut().and_then(|permit| permit.split(1)),
                tickets: Some(self.ledger.open(1)),
                trace: Trace::default(),
            };
            if lane.send(message).is_err() {
                return Err(closed("publish"));
            }
        }
        drop(permit);
        drop(tickets);
        Ok(MaybeReady::boxed(async move {
            let answers = words.into_iter().map(|word| async move {
                match word?.await {
                    Ok(outcome) => outcome.map(|()| Receipt::default()),
                    Err(_) => Err(closed("publish").perhaps_applied()),
                }
            });
            // What is there is told, however much the task has done before.
            Ok(tokio::task::unconstrained(join_all(answers)).await.into_iter().collect())
        }))
    }

    /// Waits for room in the window.
    async fn room(&self, count: u32, deadline: Instant) -> Result<OwnedSemaphorePermit> {
        let room = self.room.clone().acquire_many_owned(count);
        tokio::select! {
            () = self.closing.cancelled() => Err(closed("publish")),
            room = timeout_at(deadline, room) => match room {
                Ok(room) => room.map_err(|_| closed("publish")),
                Err(_) if self.link.now().is_none() => Err(unavailable("publish", "the connection is being restored")),
                Err(_) => {
                    let text = "as many events as may be are on their way to the broker, unconfirmed";
                    Err(Error::new(ErrorKind::Backpressure, "publish", text))
                }
            }
        }
    }

    /// Refuses publishes from now on.
    pub(super) fn refuse(&self) {
        self.closing.cancel();
    }

    /// Waits for the tickets that are open.
    pub(super) async fn flush(&self) -> Result<()> {
        self.ledger.flush().await
    }

    /// How many tickets are open.
    pub(super) fn open(&self) -> u64 {
        self.ledger.len()
    }

    /// Ends the lanes.
    pub(super) fn stop(&self) {
        self.stop.cancel();
    }

    /// Waits until the lanes have ended.
    pub(super) async fn ended(&self) {
        self.tasks.wait().await;
    }
}

impl Drop for Sender {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

/// A message that is ready to go.
struct Pending {
    raw: Raw,
    exchange: ShortString,
    key: ShortString,
    unrouted: Unrouted,
    channel: ChannelName,
}

impl RabbitMq {
    /// What can be said without asking the broker.
    fn check(&self, batch: &Batch, options: &PublishOptions) -> Result<Delay> {
        if self.sender.closing.is_cancelled() {
            return Err(closed("publish"));
        }
        if options.confirm == Confirm::Settled {
            let text = "the adapter `amqp` does not offer confirmation by settlement";
            return Err(Error::new(ErrorKind::Unsupported, "publish", text));
        }
        let Some(due) = options.deliver_at else { return Ok(Delay::none()) };
        let wait = due.since(Timestamp::now());
        if wait > MAX_DELAY {
            let text = format!("field `deliver_at` is further away than the adapter's limit of {MAX_DELAY:?}");
            return Err(Error::new(ErrorKind::Invalid, "publish", text));
        }
        let ephemeral = batch.iter().any(|message| {
            let policy = self.topology.policies.get(message.channel());
            message.channel().is_inbox() || policy.is_some_and(|policy| policy.durability == Durability::Ephemeral)
        });
        if ephemeral && !wait.is_zero() {
            let text = "an ephemeral channel keeps nothing for later";
            return Err(Error::new(ErrorKind::Unsupported, "publish", text));
        }
        Ok(Delay::until(due))
    }

    fn pending(&self, batch: &Batch, options: &PublishOptions, delay: Delay) -> Vec<Result<Pending>> {
        batch.iter().map(|message| self.sender.message(message, options, delay)).collect()
    }
}

impl Publisher for RabbitMq {
    fn enqueue<'a>(&'a self, batch: Batch, options: &PublishOptions) -> MaybeReady<'a, Result<Tickets>> {
        let options = *options;
        let deadline = Instant::now() + options.timeout;
        let delay = match self.check(&batch, &options) {
            Ok(delay) => delay,
            Err(error) => return MaybeReady::ready(Err(error)),
        };
        let Some(channel) = batch.first().map(|message| message.channel().clone()) else {
            return MaybeReady::ready(Ok(MaybeReady::ready(Ok(Receipts::new()))));
        };
        let count = u32::try_from(batch.len()).unwrap_or(u32::MAX);
        let known = channel.is_inbox() || self.topology.policies.get(&channel).is_some();
        if known && delay.level().is_none() {
            let pending = self.pending(&batch, &options, delay);
            if let Ok(permit) = self.sender.room.clone().try_acquire_many_owned(count) {
                let tickets = self.sender.ledger.open(1);
                return MaybeReady::ready(self.sender.hand_over(pending, permit, tickets, deadline));
            }
        }
        MaybeReady::boxed(async move {
            let prepare = async {
                let mut patience = (deadline, Backoff::default());
                loop {
                    let prepared = async {
                        if !known {
                            self.topology.used(&channel).await?;
                        }
                        if delay.level().is_some() {
                            self.topology.ladder(delay.units(), false).await?;
                        }
                        Ok(())
                    };
                    match prepared.await {
                        Ok(()) => return Ok(()),
                        Err(error) => self.once_more("publish", &mut patience, error).await?,
                    }
                }
            };
            timeout_at(deadline, prepare)
                .await
                .unwrap_or_else(|_| Err(unavailable("publish", "the connection is being restored")))
                .map_err(|error| self.or_closed("publish", error).on(&channel))?;
            let pending = self.pending(&batch, &options, delay);
            let most = u32::try_from(self.options.window).unwrap_or(u32::MAX);
            let permit = self.sender.room(count.min(most), deadline).await.map_err(|error| error.on(&channel))?;
            if self.sender.closing.is_cancelled() {
                return Err(closed("publish"));
            }
            let tickets = self.sender.ledger.open(1);
            self.sender.hand_over(pending, permit, tickets, deadline)
        })
    }

    fn flush(&self) -> BoxFuture<'_, Result<()>> {
        Box::pin(self.sender.flush())
    }
}
