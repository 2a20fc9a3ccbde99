//! Reads on their way.
//!
//! A stream that anybody may read is read with XREADGROUP, which waits at the server. Shards of ordered channels are read
//! by a script that asks first whether they are still this member's: a read that is late, because its process or the
//! network stood still, must not take what the next owner is to have. A script cannot wait; a plain XREAD does, which
//! takes nothing.

use std::time::Duration;

use ::redis::{Cmd, RedisError, RedisResult, Value, cmd};
use bytes::Bytes;
use futures_util::{FutureExt, future::BoxFuture};
use tokio::time::{Instant, timeout};

use super::{
    connect::Conn,
    error::is_unknown_script,
    pull::{BLOCK, GRACE, Puller},
    scripts,
    share::Shards,
    wire,
};

/// In a cluster nobody can end a read that waits.
const CLUSTER_BLOCK: Duration = Duration::from_millis(500);
/// How many entries of a stream one read takes at most.
const COUNT: usize = 512;

/// A connection for reading.
pub(super) struct Reader {
    pub(super) conn: Conn,
    /// The client's number, by which a waiting read is ended; none where the server does not tell or allow it.
    pub(super) number: Option<i64>,
    pub(super) read: Option<Read>,
}

/// A read on its way.
pub(super) struct Read {
    pub(super) kind: Kind,
    pub(super) answer: BoxFuture<'static, RedisResult<Value>>,
    /// When it was asked for.
    pub(super) asked: Instant,
    /// How much room it may take.
    pub(super) room: usize,
    /// What it reads; empty where it is all there is.
    pub(super) parts: Vec<usize>,
    /// The losses of all parts when it was asked for; empty where no part is ordered.
    losses: Vec<u64>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// XREADGROUP, which waits.
    Plain,
    /// The script, which takes only from what is this member's.
    Fenced,
    /// Takes nothing, and waits until there is something.
    Wait,
}

/// What the script has answered.
pub(super) enum Fenced {
    Found(Value),
    /// The place of each part, after which something new lies.
    Nothing(Vec<Bytes>),
    /// Nothing that makes sense.
    Odd,
}

impl Reader {
    pub(super) fn new(conn: Conn, number: Option<i64>) -> Self {
        Self { conn, number, read: None }
    }

    /// Whether it waits for other parts than are to be read.
    pub(super) fn waits_elsewhere(&self, shards: &Shards) -> bool {
        let wait = self.read.as_ref().filter(|read| read.kind == Kind::Wait);
        wait.is_some_and(|wait| !wait.parts.iter().copied().eq(shards.readable()))
    }

    fn send(&mut self, kind: Kind, cmd: Cmd, block: Duration, room: usize, parts: Vec<usize>, losses: Vec<u64>) {
        let mut conn = self.conn.clone();
        let mut answer: BoxFuture<'static, RedisResult<Value>> = Box::pin(async move {
            let late = || RedisError::from(std::io::Error::from(std::io::ErrorKind::TimedOut));
            let asking = async {
                match conn.command(&cmd).await {
                    Err(error) if is_unknown_script(&error) => {
                        conn.load_scripts().await?;
                        conn.command(&cmd).await
                    }
                    answer => answer,
                }
            };
            timeout(block + GRACE, asking).await.unwrap_or_else(|_| Err(late()))
        });
        let asked = Instant::now();
        // The first poll sends it.
        if let Some(ready) = (&mut answer).now_or_never() {
            answer = Box::pin(std::future::ready(ready));
        }
        self.read = Some(Read { kind, answer, asked, room, parts, losses });
    }
}

impl Puller {
    /// How much room makes the next read worth its while.
    pub(super) fn enough(&self) -> usize {
        self.shards.readable().count().max(self.member.window / 4).min(self.member.window).max(1)
    }

    /// Sends the next read, if there is room for what it brings.
    pub(super) fn begin(&mut self, reader: &mut Reader, room: usize) {
        let member = self.member.clone();
        if room == 0 || member.feed.is_paused() || member.is_leaving() {
            return;
        }
        let parts: Vec<_> = self.shards.readable().collect();
        if parts.is_empty() {
            return;
        }
        // A read takes at least one entry per stream. It leaves room for the next one to be on its way meanwhile.
        let count = (room.min(member.window / 2) / parts.len()).clamp(1, COUNT);
        let room = count * parts.len();
        self.turn = self.turn.wrapping_add(1);
        let order = || (0..parts.len()).map(|n| &member.parts[parts[(n + self.turn) % parts.len()]]);
        if member.parts.iter().any(|part| part.ordered) {
            let locks: Vec<_> = order().map(|part| part.channel.keys.lock(&member.group, part.shard)).collect();
            let keys: Vec<_> = order().map(|part| part.stream()).chain(locks.iter().map(String::as_str)).collect();
            let mut read = scripts::READ.call(&keys);
            read.arg(member.group.as_str()).arg(&member.name).arg(count);
            for part in order() {
                read.arg(part.lock_text(&member.name));
            }
            // In the order of the question, as its answer is.
            let parts = (0..parts.len()).map(|n| parts[(n + self.turn) % parts.len()]).collect();
            reader.send(Kind::Fenced, read, Duration::ZERO, room, parts, self.losses.clone());
            return;
        }
        let block = if reader.number.is_some() { BLOCK } else { CLUSTER_BLOCK };
        let mut read = cmd("XREADGROUP");
        read.arg("GROUP").arg(member.group.as_str()).arg(&member.name).arg("COUNT").arg(count);
        read.arg("BLOCK").arg(block.as_millis() as u64).arg("STREAMS");
        for part in order() {
            read.arg(part.stream());
        }
        for _ in &parts {
            read.arg(">");
        }
        reader.send(Kind::Plain, read, block, room, Vec::new(), Vec::new());
    }

    /// Waits for something new in these parts, after their places.
    pub(super) fn begin_wait(&mut self, reader: &mut Reader, mut parts: Vec<usize>, places: &[Bytes]) {
        let block = if reader.number.is_some() { BLOCK } else { CLUSTER_BLOCK };
        let mut wait = cmd("XREAD");
        wait.arg("COUNT").arg(1).arg("BLOCK").arg(block.as_millis() as u64).arg("STREAMS");
        for part in &parts {
            wait.arg(self.member.parts[*part].stream());
        }
        for place in places {
            wait.arg(place.as_ref());
        }
        parts.sort_unstable();
        reader.send(Kind::Wait, wait, block, 0, parts, Vec::new());
    }

    /// Reads the script's answer. What was refused is no longer this member's.
    pub(super) fn parse_fenced(&mut self, read: &Read, answer: Value) -> Fenced {
        let parts = wire::list(answer).and_then(|parts| <[_; 3]>::try_from(parts).ok());
        let Some([found, refused, places]) = parts else { return Fenced::Odd };
        let mut any = false;
        for (index, refused) in read.parts.iter().zip(wire::list(refused).unwrap_or_default()) {
            if wire::int(&refused) == Some(1) {
                any = true;
                if self.is_current(*index, read) {
                    self.lapse(*index);
                }
            }
        }
        if any {
            self.tend_at = Instant::now();
        }
        let places: Vec<_> = wire::list(places).unwrap_or_default().into_iter().filter_map(wire::text).collect();
        if !any && places.len() == read.parts.len() { Fenced::Nothing(places) } else { Fenced::Found(found) }
    }

    /// Whether nothing of a part was lost since a read was asked for, and it is still this member's.
    pub(super) fn is_current(&self, index: usize, read: &Read) -> bool {
        let part = &self.member.parts[index];
        !part.ordered || self.shards.is_held(index) && read.losses.get(index) == Some(&part.losses())
    }
}
