//! Groups on the broker: their queues, and how they come and go.
//!
//! A group has one quorum queue per channel, or per shard of an ordered channel. A fresh group that reads what is
//! retained also gets a backlog: a copy of the history, in a queue of its own that is read before the other and deleted
//! with its last message. An exchange that nothing uses says that the group is complete; a queue is the lock.

mod backlog;

use std::time::Duration;

use lapin::{
    Channel, Consumer, ExchangeKind,
    options::{
        BasicConsumeOptions, ExchangeDeclareOptions, ExchangeDeleteOptions, QueueDeclareOptions, QueueDeleteOptions,
    },
    types::{AMQPValue, FieldTable, ShortString},
};
use pubsub_core::{
    ChannelName, ChannelPattern, Error, ErrorKind, EventId, GroupName, Ordering, Result, StartPosition,
    driver::SubscribeOptions,
};
use tokio::time::{Instant, sleep};

use super::{
    error::{convert, is_missing, late},
    names::{Names, binding_key, hash, later_key, later_queue_key, routing_key, shards, short},
    publisher::Sender,
    registry::{Entry, ready, ready_token},
    topology::{Topologist, bind, lasting, number, quorum, text, within},
    wire::{MARK, Raw},
};

const OPERATION: &str = "subscribe";
/// How long another process may take to make the group.
const LOCK_TIMEOUT: Duration = Duration::from_secs(60);
/// How long the broker keeps the queue of a lock, or one that counts members, that nobody asks for, in milliseconds.
pub(super) const LOCK_KEPT: u64 = 600_000;
/// Returns are counted by the library; the broker must never give an event up by itself. Version 4 would after 20.
const RETURNS: u64 = 1_000_000;

/// What one member takes: the queues of a group on one channel, or on some wildcards.
#[derive(Clone, Debug)]
pub(super) struct Scope {
    pub(super) group: GroupName,
    /// The channel's name, or a hash of the patterns.
    name: String,
    patterns: Vec<ChannelPattern>,
    pub(super) channel: Option<ChannelName>,
    shards: Vec<String>,
    /// One member at a time reads each queue.
    pub(super) ordered: bool,
}

impl Scope {
    /// The scopes of a subscription.
    pub(super) fn of(options: &SubscribeOptions, group: &GroupName, topology: &Topologist) -> Vec<Self> {
        let ordering_of = |channel: &ChannelName| topology.policies.get(channel).unwrap_or_default().ordering;
        if options.channels.iter().any(ChannelPattern::is_wildcard) {
            let mut texts: Vec<_> = options.channels.iter().map(ToString::to_string).collect();
            texts.sort_unstable();
            // One queue for all: a channel that two patterns take comes once. It has no shards, so that the order of
            // channels which have one is kept by one member at a time.
            let known = topology.policies.all();
            let mut taken =
                known.iter().filter(|(channel, _)| options.channels.iter().any(|pattern| pattern.matches(channel)));
            let ordered = taken.any(|(_, policy)| policy.ordering != Ordering::None);
            let name = format!("~{}{}", if ordered { "o" } else { "" }, hash(&texts.join(" ")));
            let patterns = options.channels.clone();
            let shards = vec![super::names::WHOLE.to_owned()];
            return vec![Self { group: group.clone(), name, patterns, channel: None, shards, ordered }];
        }
        let exact = options.channels.iter().filter_map(|pattern| match pattern {
            ChannelPattern::Exact(channel) => Some(channel),
            _ => None,
        });
        exact.map(|channel| Self::exact(group, channel, ordering_of(channel))).collect()
    }

    /// The scope of a group on one channel.
    pub(super) fn exact(group: &GroupName, channel: &ChannelName, ordering: Ordering) -> Self {
        Self {
            group: group.clone(),
            name: channel.to_string(),
            patterns: vec![channel.clone().into()],
            channel: Some(channel.clone()),
            shards: shards(ordering),
            ordered: ordering != Ordering::None,
        }
    }

    pub(super) fn len(&self) -> usize {
        self.shards.len()
    }

    pub(super) fn queue(&self, names: &Names, index: usize) -> String {
        names.queue(&self.group, &self.name, self.shards.get(index).map_or("", String::as_str))
    }

    /// The queue that counts its members.
    pub(super) fn members(&self, names: &Names) -> String {
        names.members(&self.group, &self.name)
    }

    pub(super) fn backlog(&self, names: &Names, index: usize) -> String {
        names.backlog(&self.group, &self.name, self.shards.get(index).map_or("", String::as_str))
    }

    /// Whether a wildcard's queue holds an event of a channel that the wildcard does not take.
    pub(super) fn takes(&self, channel: &ChannelName) -> bool {
        self.patterns.iter().any(|pattern| pattern.matches(channel))
    }

    /// What binds a queue: exchange and key.
    fn bindings(&self, names: &Names, index: usize, token: &str) -> Vec<(String, String)> {
        let queue = self.queue(names, index);
        // Without a token come the copies of members whom the broker did not tell it.
        let own = [token, ""].map(|token| (names.later(), later_queue_key(&queue, token)));
        let mut bindings = Vec::from(own);
        for pattern in &self.patterns {
            let (exchange, key) = match (pattern, self.shards.get(index)) {
                (ChannelPattern::Exact(channel), Some(shard)) if self.channel.is_some() => {
                    (names.exchange(channel), routing_key(shard, channel))
                }
                (ChannelPattern::Exact(channel), _) => (names.exchange(channel), binding_key(pattern)),
                _ => (names.events(), binding_key(pattern)),
            };
            bindings.push((names.later(), later_key(&key)));
            bindings.push((exchange, key));
        }
        bindings
    }
}

/// The lock of a group, held as long as this lives: dropping the consumer would cancel it.
pub(super) struct Lock {
    channel: Channel,
    _consumer: Consumer,
}

/// Makes groups.
pub(super) struct Founder<'a> {
    pub(super) topology: &'a Topologist,
    pub(super) sender: &'a Sender,
}

impl Founder<'_> {
    /// Makes sure that a group is there. A fresh one starts at `start`.
    pub(super) async fn join(&self, scope: &Scope, start: &StartPosition) -> Result<()> {
        let deadline = Instant::now() + LOCK_TIMEOUT;
        loop {
            if self.is_ready(scope).await? {
                return Ok(());
            }
            // With the exchanges the word goes that there is a group, but not the group.
            self.topology.look().await?;
            let Some(lock) = self.lock(scope).await? else {
                if Instant::now() >= deadline {
                    return Err(late(OPERATION));
                }
                sleep(Duration::from_millis(20)).await;
                continue;
            };
            if self.is_ready(scope).await? {
                return Ok(());
            }
            let all: Vec<_> = (0..scope.len()).collect();
            let token = EventId::random().to_string();
            let made = self.make(&lock, scope, &all, start, &token).await;
            unlock(&lock).await;
            return made;
        }
    }

    /// Makes those queues again that were deleted under the group.
    pub(super) async fn mend(&self, scope: &Scope, start: &StartPosition) -> Result<()> {
        if let Some(channel) = &scope.channel {
            self.topology.restore(channel).await?;
        }
        self.topology.base(true).await?;
        let lock = self.hold(scope).await?;
        let mut missing = Vec::new();
        for index in 0..scope.len() {
            if !exists(self.topology, &scope.queue(&self.topology.names, index)).await? {
                missing.push(index);
            }
        }
        let token = self.token(scope).await?;
        let made = match token {
            Some(_) if missing.is_empty() => Ok(()),
            token => {
                let token = token.unwrap_or_else(|| EventId::random().to_string());
                self.make(&lock, scope, &missing, start, &token).await
            }
        };
        unlock(&lock).await;
        made
    }

    /// The token of a group; none if the group is not there.
    pub(super) async fn token(&self, scope: &Scope) -> Result<Option<String>> {
        ready_token(self.topology, &self.topology.names.ready(&scope.group, &scope.name), OPERATION).await
    }

    pub(super) async fn is_ready(&self, scope: &Scope) -> Result<bool> {
        let name = short(&self.topology.names.ready(&scope.group, &scope.name));
        let look = ExchangeDeclareOptions { passive: true, ..lasting() };
        let scratch = self.topology.scratch(OPERATION).await?;
        let found = scratch.exchange_declare(name, ExchangeKind::Fanout, look, FieldTable::default());
        match within(OPERATION, found).await? {
            Ok(()) => Ok(true),
            Err(error) if is_missing(&error) => Ok(false),
            Err(error) => Err(convert(OPERATION, error)),
        }
    }

    /// How many messages wait in the queues of a group, those of before it began included.
    pub(super) async fn waiting(&self, scope: &Scope) -> Result<u64> {
        let names = &self.topology.names;
        let mut waiting = 0;
        for index in 0..scope.len() {
            for queue in [scope.queue(names, index), scope.backlog(names, index)] {
                waiting += content(self.topology, &queue).await?.map_or(0, |(messages, _)| u64::from(messages));
            }
        }
        Ok(waiting)
    }

    /// The lock of a group, if nobody else has it. It is held as long as the channel is open.
    async fn lock(&self, scope: &Scope) -> Result<Option<Lock>> {
        let name = short(&self.topology.names.lock(&scope.group, &scope.name));
        let channel = self.topology.scratch(OPERATION).await?;
        // It outlives its holder for a while: on a queue that goes with its last consumer, the next one could hold a lock
        // that is just going.
        let mut arguments = FieldTable::default();
        number(&mut arguments, "x-expires", LOCK_KEPT);
        let options = QueueDeclareOptions { durable: true, ..QueueDeclareOptions::default() };
        let declared = within(OPERATION, channel.queue_declare(name.clone(), options, arguments)).await?;
        declared.map_err(|error| convert(OPERATION, error))?;
        let options = BasicConsumeOptions { exclusive: true, ..BasicConsumeOptions::default() };
        let consume = channel.basic_consume(name, short("lock"), options, FieldTable::default());
        match within(OPERATION, consume).await?.map_err(|error| convert(OPERATION, error)) {
            Ok(consumer) => Ok(Some(Lock { channel, _consumer: consumer })),
            // Somebody else has it, or had it until now.
            Err(error) if matches!(error.kind(), ErrorKind::Auth | ErrorKind::Conflict | ErrorKind::NotFound) => {
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    /// Waits for the lock of a group.
    pub(super) async fn hold(&self, scope: &Scope) -> Result<Lock> {
        let deadline = Instant::now() + LOCK_TIMEOUT;
        loop {
            match self.lock(scope).await? {
                Some(lock) => return Ok(lock),
                None if Instant::now() >= deadline => return Err(late(OPERATION)),
                None => sleep(Duration::from_millis(20)).await,
            }
        }
    }

    /// Makes some queues of a group, under its lock.
    async fn make(
        &self,
        lock: &Lock,
        scope: &Scope,
        indices: &[usize],
        start: &StartPosition,
        token: &str,
    ) -> Result<()> {
        // With its connection the lock is lost, and may be somebody else's by now.
        let held = || match lock.channel.status().connected() {
            true => Ok(()),
            false => Err(super::error::unavailable(OPERATION, "the connection was lost")),
        };
        let names = &self.topology.names;
        // A position that is gone is refused before anything is made.
        let history = self.history(scope, start).await?;
        let bound: Vec<_> = (0..scope.len())
            .map(|index| Entry::Bound {
                queue: scope.queue(names, index),
                bindings: scope.bindings(names, index, token),
            })
            .collect();
        self.topology.register(&bound).await?;
        let scratch = self.topology.scratch(OPERATION).await?;
        for index in 0..scope.len() {
            let queue = scope.queue(names, index);
            if indices.contains(&index) {
                // What an earlier attempt left behind, which nobody has read.
                for name in [&queue, &scope.backlog(names, index)] {
                    held()?;
                    delete(&scratch, name).await?;
                }
                quorum(&scratch, OPERATION, &queue, arguments(scope.ordered)).await?;
            }
            for (exchange, key) in scope.bindings(names, index, token) {
                bind(&scratch, OPERATION, &queue, &exchange, &key).await?;
            }
        }
        if let (true, Some(channel)) = (history, &scope.channel) {
            self.backlog(scope, channel, indices, start).await?;
        }
        held()?;
        let exchange = names.ready(&scope.group, &scope.name);
        self.topology.register(&[Entry::Ready { exchange: exchange.clone(), token: token.to_owned() }]).await?;
        ready(&scratch, &exchange, token).await
    }

    /// Deletes a group.
    pub(super) async fn delete(&self, scope: &Scope) -> Result<()> {
        const OPERATION: &str = "delete group";
        let names = &self.topology.names;
        if !self.is_ready(scope).await? {
            let text = format!("there is no group `{}` on this channel", scope.group);
            return Err(Error::new(ErrorKind::NotFound, OPERATION, text));
        }
        let busy = || {
            let text = format!("group `{}` has members", scope.group);
            Error::new(ErrorKind::Conflict, OPERATION, text)
        };
        let lock = self.lock(scope).await?.ok_or_else(busy)?;
        for index in 0..scope.len() {
            for queue in [scope.queue(names, index), scope.backlog(names, index)] {
                if consumers(self.topology, &queue).await?.is_some_and(|consumers| consumers > 0) {
                    unlock(&lock).await;
                    return Err(busy());
                }
            }
        }
        let scratch = self.topology.scratch(OPERATION).await?;
        let mut gone = Vec::new();
        for index in 0..scope.len() {
            for queue in [scope.queue(names, index), scope.backlog(names, index)] {
                delete(&scratch, &queue).await?;
                gone.push(Entry::Gone(queue));
            }
        }
        // Last what says that it is there, so that whoever is interrupted can go on.
        let exchange = names.ready(&scope.group, &scope.name);
        gone.push(Entry::Gone(exchange.clone()));
        self.topology.register(&gone).await?;
        let deleted = scratch.exchange_delete(short(&exchange), ExchangeDeleteOptions::default());
        within(OPERATION, deleted).await?.map_err(|error| convert(OPERATION, error))?;
        unlock(&lock).await;
        Ok(())
    }
}

impl Scope {
    /// In which of the group's queues an event belongs.
    fn shard_index(&self, raw: &Raw) -> Option<usize> {
        let key = raw.routing_key.as_str();
        let shard = super::names::shard_in(key)?;
        self.shards.iter().position(|known| known == shard)
    }
}

/// A message that marks a place in a queue.
pub(super) fn mark(text: &str) -> Raw {
    let mut headers = FieldTable::default();
    headers.insert(short(MARK), AMQPValue::LongString(text.into()));
    let properties = lapin::BasicProperties::default()
        .with_delivery_mode(2)
        .with_message_id(short(&EventId::random().to_string()))
        .with_headers(headers);
    Raw { properties, body: bytes::Bytes::new(), routing_key: ShortString::default() }
}

fn arguments(single: bool) -> FieldTable {
    let mut arguments = FieldTable::default();
    text(&mut arguments, "x-queue-type", "quorum");
    number(&mut arguments, "x-delivery-limit", RETURNS);
    if single {
        arguments.insert(short("x-single-active-consumer"), AMQPValue::Boolean(true));
    }
    arguments
}

pub(super) async fn unlock(lock: &Lock) {
    let _ = within(OPERATION, lock.channel.close(200, short("unlock"))).await;
}

/// Deletes a queue.
pub(super) async fn remove(topology: &Topologist, queue: &str) -> Result<()> {
    delete(&topology.scratch(OPERATION).await?, queue).await
}

async fn delete(scratch: &Channel, queue: &str) -> Result<()> {
    let deleted = within(OPERATION, scratch.queue_delete(short(queue), QueueDeleteOptions::default())).await?;
    deleted.map(drop).map_err(|error| convert(OPERATION, error))
}

/// Whether a queue is there.
pub(super) async fn exists(topology: &Topologist, queue: &str) -> Result<bool> {
    Ok(content(topology, queue).await?.is_some())
}

/// How many consumers a queue has; none if it is not there.
pub(super) async fn consumers(topology: &Topologist, queue: &str) -> Result<Option<u32>> {
    Ok(content(topology, queue).await?.map(|(_, consumers)| consumers))
}

/// How many messages wait in a queue, and how many consumers it has; none if it is not there.
pub(super) async fn content(topology: &Topologist, queue: &str) -> Result<Option<(u32, u32)>> {
    let scratch = topology.scratch(OPERATION).await?;
    let look = QueueDeclareOptions { passive: true, durable: true, ..QueueDeclareOptions::default() };
    match within(OPERATION, scratch.queue_declare(short(queue), look, FieldTable::default())).await? {
        Ok(queue) => Ok(Some((queue.message_count(), queue.consumer_count()))),
        Err(error) if is_missing(&error) => Ok(None),
        Err(error) => Err(convert(OPERATION, error)),
    }
}
