//! Broadcasts of durable channels: a cursor per shard, which reads on where it stopped.
//!
//! The stream is the buffer: a reader that is slow lags behind, and loses nothing but what retention removes. One that asked
//! for a buffer of its own loses the oldest events beyond it, and is told.

use std::{collections::HashMap, sync::Arc, time::Duration};

use ::redis::{Cmd, RedisError, RedisResult, cmd};
use bytes::Bytes;
use pubsub_core::{
    AckHandle, Delivery, Error, ErrorKind, Result, StartPosition,
    driver::{BoxFuture, Gap, GapReason, SlowConsumer, SubscriptionState},
};
use tokio::{
    sync::{mpsc, oneshot},
    time::{Instant, sleep, timeout},
};

use super::{
    broadcast::{BUFFER, over},
    channel::Channel,
    connect::{Conn, within},
    connection::Hub,
    error::closed,
    history::{self, Look},
    scripts,
    wire::{self, EntryId},
};
use crate::common::{
    backoff::Backoff,
    feed::{Control, Feed},
    unreadable,
};

/// How long a read waits at the server, and how much longer its answer may take.
const BLOCK: Duration = Duration::from_secs(2);
const GRACE: Duration = Duration::from_secs(3);
/// How many entries of a stream one read takes.
const COUNT: usize = 256;
/// How long a reader that asked for a buffer may take nothing before it counts as slow.
const SLOW: Duration = Duration::from_millis(50);
/// How often streams are looked at by a reader that keeps up.
const LOOK: Duration = Duration::from_secs(1);
/// A reader that comes back for more later than that does not keep up.
const AT_ONCE: Duration = Duration::from_millis(1);

/// A request to move.
pub(super) type Move = (StartPosition, oneshot::Sender<Result<()>>);

/// The subscription's end of the requests to move.
pub(super) struct Mover(pub(super) mpsc::UnboundedSender<Move>);

impl Control for Mover {
    fn seek(&mut self, to: StartPosition) -> BoxFuture<'_, Result<()>> {
        Box::pin(async move {
            let (done, outcome) = oneshot::channel();
            self.0.send((to, done)).map_err(|_| closed("seek"))?;
            outcome.await.unwrap_or_else(|_| Err(closed("seek")))
        })
    }
}

/// A shard that is read.
struct Part {
    channel: Arc<Channel>,
    shard: usize,
    cursor: EntryId,
    /// How many entries were ever added up to the cursor, if that is known.
    index: Option<i64>,
    /// How many entries were ever added when last looked.
    added: i64,
    /// Whether the cursor was ever within what the stream holds.
    inside: bool,
}

/// A reader of durable channels.
pub(super) struct Follower {
    hub: Arc<Hub>,
    feed: Feed,
    parts: Vec<Part>,
    moves: mpsc::UnboundedReceiver<Move>,
    slow: Slow,
    /// Whether the last read was full.
    lags: bool,
}

/// What becomes of a reader that is slow; with the size of its buffer.
#[derive(Clone, Copy, Debug)]
pub(super) enum Slow {
    /// It lags behind in the stream, and loses nothing but what retention removes.
    Lags(usize),
    /// It asked for a buffer of this size: beyond it, the oldest events are dropped.
    Loses(usize),
    /// It is disconnected.
    Ends(usize),
}

impl Slow {
    pub(super) fn new(slow: SlowConsumer, buffer: Option<usize>) -> Self {
        match (slow, buffer) {
            (SlowConsumer::Disconnect, buffer) => Self::Ends(buffer.unwrap_or(BUFFER)),
            (SlowConsumer::DropOldest, Some(buffer)) => Self::Loses(buffer),
            (_, buffer) => Self::Lags(buffer.unwrap_or(BUFFER)),
        }
    }
}

enum End {
    Over,
    Lost(RedisError),
    Moved(Move),
}

impl Follower {
    /// Finds where to start on each channel.
    ///
    /// # Errors
    /// As [`history::starts`].
    pub(super) async fn new(
        hub: Arc<Hub>,
        feed: Feed,
        channels: &[Arc<Channel>],
        start: &StartPosition,
        slow: Slow,
        moves: mpsc::UnboundedReceiver<Move>,
    ) -> Result<Self> {
        let mut follower = Self { hub, feed, parts: Vec::new(), moves, slow, lags: true };
        for channel in channels {
            follower.parts.extend(follower.parts_of(channel, start).await?);
        }
        Ok(follower)
    }

    async fn parts_of(&self, channel: &Arc<Channel>, start: &StartPosition) -> Result<Vec<Part>> {
        // A broadcast has no place of its own that it could go on from.
        let start = if *start == StartPosition::Stored { &StartPosition::Latest } else { start };
        let starts = history::starts(&self.hub, "subscribe", channel, start).await?;
        let mut parts = Vec::with_capacity(starts.len());
        for (shard, start) in starts.iter().enumerate() {
            let look = history::look(&self.hub, "subscribe", &channel.streams[shard]).await?;
            let (cursor, index) = match start.as_str() {
                "$" => (look.last, Some(look.added)),
                "0" => (EntryId::default(), Some(look.dropped())),
                id => {
                    let cursor = EntryId::parse(id.as_bytes()).unwrap_or_default();
                    // All that is there comes after it.
                    (cursor, is_before(cursor, &look).then(|| look.dropped()))
                }
            };
            let inside = index.is_none() && cursor <= look.last;
            parts.push(Part { channel: channel.clone(), shard, cursor, index, added: look.added, inside });
        }
        Ok(parts)
    }

    /// Reads until the subscription is gone or the adapter closes; connects again by itself.
    pub(super) async fn follow(mut self) {
        let mut backoff = Backoff::default();
        let mut lost = false;
        loop {
            let connecting = async {
                let mut conn = self.hub.connector.commands().await?;
                // The client waits for answers without end.
                within(GRACE, conn.load_scripts()).await?;
                Ok(conn)
            };
            let connected = tokio::select! {
                () = over(&self.hub, &self.feed) => return,
                connected = connecting => connected,
            };
            let end = match connected {
                Ok(conn) => {
                    if std::mem::take(&mut lost) {
                        self.feed.state(SubscriptionState::Active);
                    }
                    backoff.reset();
                    self.read(conn).await
                }
                Err(error) => End::Lost(error),
            };
            match end {
                End::Over => return,
                End::Moved((to, done)) => {
                    let moved = self.seek(&to).await;
                    let _ = done.send(moved);
                }
                End::Lost(error) => {
                    lost = true;
                    self.feed.state(SubscriptionState::Recovering(error.to_string()));
                    tokio::select! {
                        () = over(&self.hub, &self.feed) => return,
                        () = sleep(backoff.next()) => {}
                    }
                }
            }
        }
    }

    async fn seek(&mut self, to: &StartPosition) -> Result<()> {
        let mut channels: Vec<_> = self.parts.iter().map(|part| part.channel.clone()).collect();
        channels.dedup_by(|a, b| a.name == b.name);
        let mut parts = Vec::new();
        for channel in &channels {
            parts.extend(self.parts_of(channel, to).await?);
        }
        self.parts = parts;
        Ok(())
    }

    async fn read(&mut self, mut conn: Conn) -> End {
        let keys: HashMap<Bytes, usize> =
            self.parts.iter().enumerate().map(|(index, part)| (part.key(), index)).collect();
        let bounded = self.parts.iter().any(|part| part.channel.may_overtake());
        let mut looked: Option<Instant> = None;
        let mut answered: Option<Instant> = None;
        loop {
            let (hub, feed, slow, count) = (&self.hub, &self.feed, self.slow, self.count());
            let room = async {
                feed.resumed().await;
                match slow {
                    Slow::Lags(buffer) => feed.room(buffer).await,
                    Slow::Loses(buffer) => {
                        let most = (buffer + 1).saturating_sub(count);
                        // Who takes nothing for a while is slow: reading goes on, and the oldest events are lost.
                        let _ = timeout(SLOW, feed.room(most)).await;
                    }
                    Slow::Ends(_) => {}
                }
            };
            tokio::select! {
                biased;
                () = over(hub, feed) => return End::Over,
                Some(request) = self.moves.recv() => return End::Moved(request),
                () = room => {}
            }
            let mut cmds: Vec<Cmd> = Vec::new();
            let since = |time: Option<Instant>| time.map_or(Duration::MAX, |time| time.elapsed());
            // What lies behind its end can be removed before it is read, though nobody bounds the channel but by hand.
            let looks = bounded || self.lags || since(answered) > AT_ONCE || since(looked) > LOOK;
            if looks {
                looked = Some(Instant::now());
                cmds.extend(self.parts.iter().map(|part| scripts::LOOK.call(&[part.stream()])));
            }
            cmds.push(self.command());
            let answers = tokio::select! {
                biased;
                () = over(&self.hub, &self.feed) => return End::Over,
                Some(request) = self.moves.recv() => return End::Moved(request),
                answers = timeout(BLOCK + GRACE, conn.commands(cmds)) => answers,
            };
            answered = Some(Instant::now());
            let late = || RedisError::from(std::io::Error::from(std::io::ErrorKind::TimedOut));
            let taken = answers.unwrap_or_else(|_| Err(late())).and_then(|answers| self.take(answers, looks, &keys));
            if let Err(error) = taken {
                return End::Lost(error);
            }
        }
    }

    fn count(&self) -> usize {
        match self.slow {
            Slow::Loses(buffer) => buffer.clamp(1, COUNT),
            _ => COUNT,
        }
    }

    fn command(&self) -> Cmd {
        let mut read = cmd("XREAD");
        read.arg("COUNT").arg(self.count()).arg("BLOCK").arg(BLOCK.as_millis() as u64).arg("STREAMS");
        for part in &self.parts {
            read.arg(part.stream());
        }
        for part in &self.parts {
            read.arg(part.cursor.to_string());
        }
        read
    }

    fn take(
        &mut self,
        answers: Vec<RedisResult<::redis::Value>>,
        looks: bool,
        keys: &HashMap<Bytes, usize>,
    ) -> RedisResult<()> {
        let mut answers = answers.into_iter();
        let mut ends = Vec::new();
        if looks {
            for part in &mut self.parts {
                let answer = answers.next().unwrap_or(Ok(::redis::Value::Nil))?;
                let look = history::parse_look(wire::list(answer).unwrap_or_default()).unwrap_or_default();
                if let Some(gap) = part.compare(&look) {
                    self.feed.gap(gap);
                }
                ends.push((look.last, look.added));
            }
        }
        let answer = answers.next().unwrap_or(Ok(::redis::Value::Nil))?;
        let (mut found, count) = (Vec::new(), self.count());
        self.lags = false;
        for (key, entries) in wire::streams(answer).unwrap_or_default() {
            let Some(index) = keys.get(&key).copied() else { continue };
            self.lags |= entries.len() >= count;
            let part = &mut self.parts[index];
            part.index = part.index.map(|index| index + entries.len() as i64);
            if let Some(last) = entries.last() {
                part.cursor = part.cursor.max(last.id);
                part.inside = true;
            }
            found.extend(entries.into_iter().map(|entry| (entry.id, index, entry)));
        }
        // Who stands at the end knows how many there were.
        for (part, (last, added)) in self.parts.iter_mut().zip(ends) {
            if part.index.is_none() && part.cursor == last {
                part.index = Some(added);
            }
        }
        found.sort_unstable_by_key(|(id, index, _)| (*id, *index));
        for (id, index, entry) in found {
            let part = &self.parts[index];
            let (message, fault) = wire::read(entry, &part.channel.name);
            let mut delivery = unreadable::mark(Delivery::new(message, AckHandle::none()), fault);
            delivery.position = wire::position(id, part.shard, part.channel.streams.len());
            match self.slow {
                // Reads stop before its buffer is full.
                Slow::Lags(_) => self.feed.broadcast(delivery, SlowConsumer::DropOldest, usize::MAX),
                Slow::Loses(buffer) => self.feed.broadcast(delivery, SlowConsumer::DropOldest, buffer),
                Slow::Ends(buffer) => self.feed.broadcast(delivery, SlowConsumer::Disconnect, buffer),
            }
        }
        Ok(())
    }
}

impl Part {
    fn stream(&self) -> &str {
        &self.channel.streams[self.shard]
    }

    fn key(&self) -> Bytes {
        Bytes::copy_from_slice(self.stream().as_bytes())
    }

    /// What of the stream this reader will not see.
    fn compare(&mut self, look: &Look) -> Option<Gap> {
        let gap = |lost, reason| Some(Gap::new(self.channel.name.clone(), lost, reason));
        if look.added < self.added {
            // Another life of the stream: all of it is new.
            let gap = gap(None, GapReason::DataLoss);
            (self.cursor, self.index, self.added) = (EntryId::default(), Some(look.dropped()), look.added);
            return gap;
        }
        self.added = look.added;
        let dropped = look.dropped();
        let is_lost = match self.index {
            Some(index) => dropped > index,
            // How many entries there were up to the cursor is not known: only that it stood among those that are gone.
            None => self.inside,
        };
        if !is_lost || !is_before(self.cursor, look) {
            return None;
        }
        let lost = self.index.and_then(|index| u64::try_from(dropped - index).ok());
        let gap = gap(lost, GapReason::Retention);
        (self.cursor, self.index) = (look.first.map_or(look.last, EntryId::before), Some(dropped));
        gap
    }
}

/// Whether this entry lies before everything that the stream holds.
fn is_before(id: EntryId, look: &Look) -> bool {
    look.first.map_or(id < look.last, |first| id < first)
}

/// A subscription without durable channels has nowhere to go.
pub(super) struct Unmoved;

impl Control for Unmoved {
    fn seek(&mut self, _: StartPosition) -> BoxFuture<'_, Result<()>> {
        let text = "an ephemeral channel has no history to move in";
        Box::pin(async move { Err(Error::new(ErrorKind::Unsupported, "seek", text)) })
    }
}
