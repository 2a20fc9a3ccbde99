//! The backlog of a fresh group: a copy of what the channel retains.

use std::{
    collections::{HashSet, VecDeque},
    time::Duration,
};

use futures_util::StreamExt;
use lapin::{
    Channel, Consumer,
    options::{BasicAckOptions, BasicConsumeOptions},
    types::{AMQPValue, FieldTable, ShortString},
};
use pubsub_core::{ChannelName, Error, ErrorKind, EventId, Result, StartPosition};
use tokio::{sync::oneshot, time::sleep};

use super::{
    super::{
        error::{closed, convert, late},
        lane::Unrouted,
        names::short,
        stream::{Bounds, From, Reader, bounds, resolve},
        topology::{quorum, within},
        wire::{BORN, OFFSET, Raw},
    },
    Founder, OPERATION, Scope, arguments, mark,
};

/// Events that were routed before the group's queue was bound are in the stream after this time.
const GRACE: Duration = Duration::from_millis(30);
/// How many copies of the history are on their way at a time.
const COPIES: usize = 512;

impl Founder<'_> {
    /// Whether there is history for a fresh group to read.
    pub(super) async fn history(&self, scope: &Scope, start: &StartPosition) -> Result<bool> {
        if *start == StartPosition::Latest {
            return Ok(false);
        }
        let Some(channel) = &scope.channel else {
            return match start {
                // What a wildcard's channels retain is spread over streams that nobody can list.
                StartPosition::Stored => Ok(false),
                _ => {
                    let text = "a group over wildcards starts with what is published from now on";
                    Err(Error::new(ErrorKind::Unsupported, OPERATION, text))
                }
            };
        };
        match bounds(self.topology, channel, OPERATION).await {
            Ok(bounds) => resolve(start, bounds, OPERATION).map(|_| true).map_err(|error| error.on(channel)),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Copies the history into the backlog. What was published meanwhile lies in the queue already; what lies in both is
    /// taken out of the queue again.
    pub(super) async fn backlog(
        &self,
        scope: &Scope,
        channel: &ChannelName,
        indices: &[usize],
        start: &StartPosition,
    ) -> Result<()> {
        sleep(GRACE).await;
        let bounds = bounds(self.topology, channel, OPERATION).await?;
        let Bounds { first, next, born } = bounds;
        let from = resolve(start, bounds, OPERATION)?;
        if first >= next || matches!(from, From::Offset(offset) if offset >= next) {
            return Ok(());
        }
        let names = &self.topology.names;
        let scratch = self.topology.scratch(OPERATION).await?;
        // What they take beside goes back, in its order, when their channel is closed.
        let held = self.topology.scratch(OPERATION).await?;
        let (mut early, mut consumers) = (Vec::new(), Vec::new());
        for &index in indices {
            let (found, consumer) = self.early(&held, &scope.queue(names, index), channel).await?;
            early.extend(found);
            consumers.push(consumer);
        }
        let mut doubles: HashSet<_> = early.iter().filter_map(|(id, _)| id.clone()).collect();
        let mut seen = HashSet::new();
        let mut made = vec![None; scope.len()];
        let mut words = VecDeque::new();
        let mut reader = Reader::of(self.topology, channel, from, OPERATION).await?;
        loop {
            let Some(raw) = reader.next_stored(from).await? else { break };
            let Some(offset) = raw.offset() else { continue };
            if offset >= next {
                break;
            }
            if let Some(id) = raw.id().filter(|id| doubles.contains(*id)) {
                seen.insert(id.to_owned());
            }
            let index = scope.shard_index(&raw);
            if let (false, Some(index)) =
                (raw.is_expired() || raw.mark().is_some(), index.filter(|index| indices.contains(index)))
            {
                let queue = match &made[index] {
                    Some(queue) => queue,
                    None => {
                        let queue = scope.backlog(names, index);
                        quorum(&scratch, OPERATION, &queue, arguments(true)).await?;
                        made[index].insert(queue)
                    }
                };
                let offset = i64::try_from(offset).unwrap_or(i64::MAX);
                let born = AMQPValue::LongLongInt(i64::try_from(born).unwrap_or(0));
                let copy = raw.copy().with(OFFSET, AMQPValue::LongLongInt(offset)).with(BORN, born);
                words.push_back(self.sender.post(
                    copy,
                    ShortString::default(),
                    short(queue),
                    Unrouted::Refuse,
                    channel,
                )?);
                if words.len() >= COPIES {
                    confirmed(words.pop_front()).await?;
                }
            }
            if offset + 1 >= next {
                break;
            }
        }
        for queue in made.iter().flatten() {
            let end = mark("end");
            words.push_back(self.sender.post(end, ShortString::default(), short(queue), Unrouted::Refuse, channel)?);
        }
        while !words.is_empty() {
            confirmed(words.pop_front()).await?;
        }
        doubles.retain(|id| seen.contains(id));
        for (id, tag) in early {
            if id.is_none_or(|id| doubles.contains(&id)) {
                let told = within(OPERATION, held.basic_ack(tag, BasicAckOptions::default())).await?;
                told.map_err(|error| convert(OPERATION, error))?;
            }
        }
        drop(consumers);
        let _ = within(OPERATION, held.close(200, short("done"))).await;
        Ok(())
    }

    /// What is in a fresh queue by now: ids and tags, the last one that of a mark, which has no id. A consumer reads it,
    /// for nothing is fetched from a queue with a single active one.
    async fn early(
        &self,
        scratch: &Channel,
        queue: &str,
        channel: &ChannelName,
    ) -> Result<(Vec<(Option<String>, u64)>, Consumer)> {
        let token = EventId::random().to_string();
        self.sender.put(mark(&token), ShortString::default(), short(queue), Unrouted::Refuse, channel).await?;
        let options = BasicConsumeOptions::default();
        let consume = scratch.basic_consume(short(queue), short(""), options, FieldTable::default());
        let mut consumer = within(OPERATION, consume).await?.map_err(|error| convert(OPERATION, error))?;
        let mut early = Vec::new();
        while let Some(delivery) = within(OPERATION, consumer.next()).await? {
            let delivery = delivery.map_err(|error| convert(OPERATION, error))?;
            let tag = delivery.delivery_tag;
            let raw = Raw::of(delivery);
            if raw.mark() == Some(token.as_bytes()) {
                early.push((None, tag));
                return Ok((early, consumer));
            }
            early.push((Some(raw.id().unwrap_or_default().to_owned()), tag));
        }
        Err(late(OPERATION))
    }
}

async fn confirmed(word: Option<oneshot::Receiver<Result<()>>>) -> Result<()> {
    match word {
        Some(word) => word.await.unwrap_or_else(|_| Err(closed(OPERATION))),
        None => Ok(()),
    }
}
