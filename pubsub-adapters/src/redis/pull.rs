//! The task that reads for a member of a group, renews its leases, and takes over what others have left.

use std::{
    collections::HashMap,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use ::redis::{RedisError, RedisResult, Value, cmd};
use bytes::Bytes;
use futures_util::{FutureExt, future::BoxFuture};
use pubsub_core::{
    AckHandle, Delivery, Error, ErrorKind, Result, StartPosition,
    driver::{AckToken, Gap, GapReason, Outcome, Settler, SubscriptionState},
};
use tokio::{
    sync::mpsc,
    time::{Instant, sleep, sleep_until, timeout},
};

use super::{
    connect::Conn,
    connection::Link,
    error::is_missing,
    group::{Member, Out, Request, answer},
    history, scripts,
    settler::GroupSettler,
    share::Shards,
    topology,
    wire::{self, Entry, EntryId},
};
use crate::common::{backoff::Backoff, unreadable};

/// How long a read waits at the server, and how much longer its answer may take.
const BLOCK: Duration = Duration::from_secs(2);
/// In a cluster nobody can end a read that waits.
const CLUSTER_BLOCK: Duration = Duration::from_millis(500);
const GRACE: Duration = Duration::from_secs(3);
/// How many entries of a stream one read takes at most.
const COUNT: usize = 512;
/// How many pending entries one call takes over.
pub(super) const TAKEN: usize = 256;

/// The reading task.
pub(super) struct Puller {
    pub(super) member: Arc<Member>,
    settler: Arc<dyn Settler>,
    requests: mpsc::UnboundedReceiver<Request>,
    keys: HashMap<Bytes, usize>,
    /// The last entry that was read of each part.
    last: Vec<EntryId>,
    pub(super) shards: Shards,
    /// Which parts come first when there is not enough room for all.
    turn: usize,
    renewed: Instant,
    tend_at: Instant,
}

/// A connection for reading.
struct Reader {
    conn: Conn,
    /// The client's number, by which a waiting read is ended; none where the server does not tell or allow it.
    number: Option<i64>,
    read: Option<Read>,
}

/// A read on its way.
struct Read {
    answer: BoxFuture<'static, RedisResult<Value>>,
    /// When it was asked for.
    asked: Instant,
    /// How much room it may take.
    room: usize,
}

/// Why reading on a connection ended.
enum End {
    Leaving,
    Lost(RedisError),
}

impl Puller {
    pub(super) fn new(
        member: Arc<Member>,
        settler: Arc<GroupSettler>,
        requests: mpsc::UnboundedReceiver<Request>,
    ) -> Self {
        let key = |(index, stream): (usize, &str)| (Bytes::copy_from_slice(stream.as_bytes()), index);
        Self {
            settler,
            requests,
            keys: member.parts.iter().map(|part| part.stream()).enumerate().map(key).collect(),
            last: vec![EntryId::default(); member.parts.len()],
            shards: Shards::new(&member),
            turn: 0,
            renewed: Instant::now(),
            tend_at: Instant::now(),
            member,
        }
    }

    /// Reads until the subscription is gone or the adapter closes, and stays until all that is out is settled.
    pub(super) async fn pull(mut self) {
        let member = self.member.clone();
        tokio::select! {
            () = member.hub.token.cancelled() => {}
            () = self.work() => {}
        }
        member.feed.end();
        member.done.cancel();
    }

    async fn work(&mut self) {
        let member = self.member.clone();
        let mut backoff = Backoff::default();
        let mut lost = false;
        while !member.is_leaving() {
            let connected = tokio::select! {
                () = member.leaving() => break,
                connected = self.connect() => connected,
            };
            let end = match connected {
                Ok(mut reader) => {
                    if std::mem::take(&mut lost) {
                        member.feed.state(SubscriptionState::Active);
                    }
                    backoff.reset();
                    let end = self.read(&mut reader).await;
                    if matches!(end, End::Leaving) {
                        self.take_last(&mut reader).await;
                    }
                    end
                }
                Err(error) => End::Lost(error),
            };
            let End::Lost(error) = end else { break };
            lost = true;
            member.feed.state(SubscriptionState::Recovering(error.to_string()));
            self.expire();
            tokio::select! {
                () = member.leaving() => break,
                () = sleep(backoff.next()) => {}
            }
        }
        self.linger().await;
    }

    /// Connects, and takes what was read for this member and never arrived.
    async fn connect(&mut self) -> RedisResult<Reader> {
        let member = self.member.clone();
        let mut conn = member.hub.connector.commands().await?;
        conn.load_scripts().await?;
        let number = if member.hub.connector.is_cluster() {
            None
        } else {
            let mut id = cmd("CLIENT");
            id.arg("ID");
            conn.command(&id).await.ok().as_ref().and_then(wire::int)
        };
        self.tend_at = Instant::now();
        if self.last.iter().any(|last| *last != EntryId::default())
            && let Some(link) = member.hub.link()
        {
            for index in 0..member.parts.len() {
                if !member.parts[index].channel.is_ordered() {
                    self.recover(&link, index, &member.name).await?;
                } else {
                    member.parts[index].restart.store(true, Ordering::SeqCst);
                }
            }
        }
        Ok(Reader { conn, number, read: None })
    }

    /// Takes everything pending of a part in order: all of it, or what is one owner's. Says whether there was room for all.
    pub(super) async fn recover(&mut self, conn: &Link, index: usize, owner: &str) -> RedisResult<bool> {
        let member = self.member.clone();
        let part = &member.parts[index];
        let mut after = self.shards.recovered(index).unwrap_or_default();
        loop {
            let room = member.window.saturating_sub(member.desk.len()).min(TAKEN);
            if room == 0 {
                return Ok(false);
            }
            let mut out = Vec::new();
            member.desk.for_each(|_, held| out.extend((held.part == index).then_some(held.entry)));
            let mut call = scripts::RECOVER.call(&[part.stream(), &part.due]);
            call.arg(member.group.as_str()).arg(&member.name).arg(after.to_string()).arg(room).arg(owner);
            for entry in out {
                call.arg(entry.to_string());
            }
            let asked = Instant::now();
            let answer = match conn.command(&call).await {
                Err(error) if is_missing(&error) => return Ok(true),
                answer => answer?,
            };
            let Some([found, lost, last]) = wire::list(answer).and_then(|parts| <[_; 3]>::try_from(parts).ok()) else {
                return Ok(true);
            };
            self.hand_out_claimed(index, found, asked);
            self.tell_lost(index, wire::int(&lost).unwrap_or(0));
            match wire::entry_id(&last) {
                Some(last) => {
                    after = last;
                    self.shards.set_recovered(index, last);
                }
                None => return Ok(true),
            }
        }
    }

    async fn read(&mut self, reader: &mut Reader) -> End {
        let member = self.member.clone();
        loop {
            if member.is_leaving() {
                return End::Leaving;
            }
            if let Err(error) = self.attend(reader).await {
                return End::Lost(error);
            }
            if reader.read.is_none() {
                self.begin(reader, member.window.saturating_sub(member.desk.len()));
            }
            let due = member.peek_due().unwrap_or(self.tend_at).min(self.tend_at);
            let waiting = reader.read.is_none();
            let reading = async {
                match &mut reader.read {
                    Some(read) => (&mut read.answer).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                biased;
                () = member.leaving() => return End::Leaving,
                request = self.requests.recv() => {
                    let Some((to, done)) = request else { continue };
                    match self.seek(reader, &to).await {
                        Ok(outcome) => answer(done, outcome),
                        Err(error) => {
                            answer(done, Err(super::error::from_redis("seek", error.clone())));
                            return End::Lost(error);
                        }
                    }
                }
                answer = reading => {
                    if let Err(error) = self.arrived(reader, answer, true).await {
                        return End::Lost(error);
                    }
                }
                () = member.wake.notified() => {}
                () = sleep_until(due) => self.tend_at = self.tend_at.min(due),
                _ = member.desk.room(member.window), if waiting && member.desk.len() >= member.window => {}
                () = member.feed.resumed(), if waiting && member.feed.is_paused() => {}
                () = member.feed.paused(), if !waiting => {
                    if let Err(error) = self.settle_read(reader).await {
                        return End::Lost(error);
                    }
                }
            }
        }
    }

    /// What is to be done beside reading, if its time has come.
    async fn attend(&mut self, reader: &mut Reader) -> RedisResult<()> {
        let member = self.member.clone();
        let now = Instant::now();
        let restarts = member.parts.iter().any(|part| part.restart.load(Ordering::SeqCst));
        if restarts {
            self.settle_read(reader).await?;
            self.restart_parts();
        }
        // Not the reading connection: what is sent there waits behind a read that waits.
        let Some(link) = member.hub.link() else {
            self.schedule();
            self.expire();
            return Ok(());
        };
        let due = member.next_due(now).is_some_and(|due| due <= now);
        if now >= self.tend_at || due || restarts {
            self.expire();
            if now >= self.tend_at {
                self.schedule();
                self.renew(&link).await?;
                self.share(&link).await?;
            }
            let free = member.window.saturating_sub(member.desk.len());
            let reserved = reader.read.as_ref().map_or(0, |read| read.room);
            let more = self.tend_all(&link, free.saturating_sub(reserved)).await?;
            if more && free > 0 && free <= reserved {
                // What is due goes before what is new.
                self.settle_read(reader).await?;
                let free = member.window.saturating_sub(member.desk.len());
                self.tend_all(&link, free).await?;
            }
        }
        for index in self.shards.to_recover() {
            if self.recover(&link, index, "").await? {
                self.shards.set_ready(index);
            }
        }
        Ok(())
    }

    /// The time at which to look after everything next; members do so at different times.
    fn schedule(&mut self) {
        let every = (self.member.lease.duration / 4).clamp(Duration::from_millis(50), Duration::from_secs(1));
        let jitter = 0.8 + 0.4 * (self.member.hub.next_member() % 16) as f64 / 16.0;
        self.tend_at = Instant::now() + every.mul_f64(jitter);
    }

    /// Takes back what has run out.
    fn expire(&self) {
        let now = Instant::now();
        for out in self.member.desk.take_if(|out| out.until <= now) {
            self.member.expired(out.part);
        }
    }

    /// Sends the next read, if there is room for what it brings.
    fn begin(&mut self, reader: &mut Reader, room: usize) {
        let member = &self.member;
        if room == 0 || member.feed.is_paused() || member.is_leaving() {
            return;
        }
        let parts: Vec<_> = (0..member.parts.len()).filter(|index| self.shards.is_read(*index)).collect();
        if parts.is_empty() {
            return;
        }
        // A read takes at least one entry per stream.
        let count = (room / parts.len()).clamp(1, COUNT);
        let block = if reader.number.is_some() { BLOCK } else { CLUSTER_BLOCK };
        self.turn = self.turn.wrapping_add(1);
        let order = || (0..parts.len()).map(|n| &member.parts[parts[(n + self.turn) % parts.len()]]);
        let mut read = cmd("XREADGROUP");
        read.arg("GROUP").arg(member.group.as_str()).arg(&member.name).arg("COUNT").arg(count);
        read.arg("BLOCK").arg(block.as_millis() as u64).arg("STREAMS");
        for part in order() {
            read.arg(part.stream());
        }
        for _ in &parts {
            read.arg(">");
        }
        let mut conn = reader.conn.clone();
        let mut answer: BoxFuture<'static, RedisResult<Value>> = Box::pin(async move {
            let late = || RedisError::from(std::io::Error::from(std::io::ErrorKind::TimedOut));
            timeout(block + GRACE, conn.command(&read)).await.unwrap_or_else(|_| Err(late()))
        });
        let asked = Instant::now();
        // The first poll sends it.
        if let Some(ready) = (&mut answer).now_or_never() {
            answer = Box::pin(std::future::ready(ready));
        }
        reader.read = Some(Read { answer, asked, room: count * parts.len() });
    }

    /// Takes what a read has brought. The next one is on its way before the events are decoded.
    async fn arrived(&mut self, reader: &mut Reader, answer: RedisResult<Value>, go_on: bool) -> RedisResult<()> {
        let asked = reader.read.take().map_or_else(Instant::now, |read| read.asked);
        let answer = match answer {
            Err(error) if is_missing(&error) => {
                return match self.member.hub.link() {
                    Some(link) => self.repair(&link, &error).await,
                    None => Err(error),
                };
            }
            answer => answer?,
        };
        let member = self.member.clone();
        let mut found = Vec::new();
        let mut count = 0;
        for (key, entries) in wire::streams(answer).unwrap_or_default() {
            let Some(index) = self.keys.get(&key).copied() else { continue };
            count += entries.len();
            if let Some(entry) = entries.last() {
                self.last[index] = self.last[index].max(entry.id);
            }
            found.push((index, entries));
        }
        let drops = member.feed.is_paused() || member.is_leaving();
        let ordered = found.iter().any(|(index, _)| member.parts[*index].restart.load(Ordering::SeqCst));
        let crowded = member.desk.len() + count >= member.window;
        let early = go_on && count > 0 && !drops && !ordered && !crowded && Instant::now() < self.tend_at;
        if early {
            // What has arrived is not on the desk yet.
            let free = member.window.saturating_sub(member.desk.len() + count);
            if free >= self.shards.read_count() {
                self.begin(reader, free);
            }
        }
        for (index, entries) in found {
            if drops {
                self.give_back(index, entries, asked);
                continue;
            }
            let until = member.until(asked);
            let deliveries: Vec<_> = entries.into_iter().map(|entry| self.hand_out(index, entry, 1, until)).collect();
            member.feed.deliver_all(deliveries);
        }
        Ok(())
    }

    /// What arrived too late for anybody goes back at once.
    fn give_back(&self, index: usize, entries: Vec<Entry>, asked: Instant) {
        for entry in entries {
            let id = wire::read(entry_copy(&entry), &self.member.parts[index].channel.name).0.id().clone();
            let out = Out::new(id, 1, index, entry.id, self.member.until(asked));
            self.member.desk.push(out, Outcome::Release);
        }
    }

    fn hand_out(&self, index: usize, entry: Entry, attempt: u32, until: Instant) -> Delivery {
        let part = &self.member.parts[index];
        let id = entry.id;
        let (message, fault) = wire::read(entry, &part.channel.name);
        let token: AckToken = self.member.desk.hand_out(Out::new(message.id().clone(), attempt, index, id, until));
        let delivery = Delivery::new(message, AckHandle::new(self.settler.clone(), token)).attempt(attempt);
        let mut delivery = unreadable::mark(delivery, fault);
        delivery.position = wire::position(id, part.shard, part.channel.streams.len());
        delivery
    }

    /// Hands out what a script has claimed: entries with their counts, in the order of their ids.
    fn hand_out_claimed(&self, index: usize, found: Value, asked: Instant) {
        let claimed = |item: Value| {
            let [id, fields, count] = <[_; 3]>::try_from(wire::list(item)?).ok()?;
            let entry = Entry { id: wire::entry_id(&id)?, fields: wire::fields_of(fields)? };
            Some((entry, u32::try_from(wire::int(&count)?).unwrap_or(u32::MAX)))
        };
        let mut found: Vec<_> = wire::list(found).unwrap_or_default().into_iter().filter_map(claimed).collect();
        found.sort_unstable_by_key(|(entry, _)| entry.id);
        let until = self.member.until(asked);
        let deliveries: Vec<_> =
            found.into_iter().map(|(entry, count)| self.hand_out(index, entry, count.max(1), until)).collect();
        if !deliveries.is_empty() {
            self.member.feed.deliver_all(deliveries);
        }
    }

    fn tell_lost(&self, index: usize, lost: i64) {
        if lost != 0 {
            let channel = self.member.parts[index].channel.name.clone();
            self.member.feed.gap(Gap::new(channel, u64::try_from(lost).ok(), GapReason::Retention));
        }
    }

    /// Ends the read that waits at the server, and takes what it has brought.
    async fn settle_read(&mut self, reader: &mut Reader) -> RedisResult<()> {
        let Some(read) = &mut reader.read else { return Ok(()) };
        let answer = loop {
            let link = self.member.hub.link();
            if let (Some(number), Some(link)) = (reader.number, link) {
                let mut unblock = cmd("CLIENT");
                unblock.arg("UNBLOCK").arg(number);
                let unblocking = async {
                    if link.command(&unblock).await.is_err() {
                        std::future::pending::<()>().await;
                    }
                };
                tokio::select! {
                    biased;
                    answer = &mut read.answer => break answer,
                    () = unblocking => {}
                }
            }
            // It may not have been waiting yet.
            tokio::select! {
                answer = &mut read.answer => break answer,
                () = sleep(Duration::from_millis(5)) => {}
            }
        };
        self.arrived(reader, answer, false).await
    }

    /// The last read of a subscription: what it brings goes back.
    async fn take_last(&mut self, reader: &mut Reader) {
        let taking = async { self.settle_read(reader).await };
        // What is not there by then is found by its age.
        let _ = timeout(Duration::from_secs(1), taking).await;
    }

    /// Looks after every part that is this member's to look after. Says whether more is due than there was room for.
    async fn tend_all(&mut self, conn: &Link, room: usize) -> RedisResult<bool> {
        let member = self.member.clone();
        let (mut room, mut left) = (room, false);
        for index in 0..member.parts.len() {
            if member.parts[index].channel.is_ordered() && !self.shards.is_read(index) {
                continue;
            }
            let before = member.desk.len();
            left |= self.tend(conn, index, room).await?;
            room = room.saturating_sub(member.desk.len().saturating_sub(before));
        }
        Ok(left)
    }

    async fn tend(&mut self, conn: &Link, index: usize, room: usize) -> RedisResult<bool> {
        let member = self.member.clone();
        let part = &member.parts[index];
        let members = part.channel.keys.members(&member.group);
        let room = if member.feed.is_paused() { 0 } else { room.min(TAKEN) };
        let mut tend = scripts::TEND.call(&[part.stream(), &part.due, &members]);
        tend.arg(member.group.as_str()).arg(&member.name).arg(member.lease.duration.as_millis() as u64).arg(room);
        tend.arg(member_ttl(&member).as_millis() as u64);
        tend.arg(u8::from(!part.channel.is_ordered())).arg(u8::from(part.channel.is_bounded()));
        // Who does not take what waits for it already leaves to others what it has let run out.
        tend.arg(u8::from(member.feed.len() == 0));
        let asked = Instant::now();
        let answer = match conn.command(&tend).await {
            Err(error) if is_missing(&error) => {
                self.repair(conn, &error).await?;
                return Ok(false);
            }
            answer => answer?,
        };
        let Some([found, lost, overtaken, more]) = wire::list(answer).and_then(|parts| <[_; 4]>::try_from(parts).ok())
        else {
            return Ok(false);
        };
        self.tell_lost(index, wire::int(&overtaken).unwrap_or(0));
        self.tell_lost(index, wire::int(&lost).unwrap_or(0));
        self.hand_out_claimed(index, found, asked);
        let more = wire::int(&more).and_then(|more| u64::try_from(more).ok());
        if let Some(more) = more.filter(|more| *more > 0) {
            member.note_due(Instant::now() + Duration::from_millis(more + 1));
        }
        Ok(more == Some(0))
    }

    /// Renews the leases of what is out.
    async fn renew(&mut self, conn: &Link) -> RedisResult<()> {
        let member = self.member.clone();
        let lease = member.lease.duration;
        if self.renewed.elapsed() < lease / 4 {
            return Ok(());
        }
        self.renewed = Instant::now();
        let now = self.renewed;
        for (index, part) in member.parts.iter().enumerate().filter(|(_, part)| !part.channel.is_ordered()) {
            let mut held = Vec::new();
            member.desk.for_each(|_, out| {
                let left = out.extended.map_or(Duration::ZERO, |extended| extended.saturating_duration_since(now));
                if out.part == index && (member.renews() || !left.is_zero()) {
                    let idle = if member.renews() { Duration::ZERO } else { lease.saturating_sub(left) };
                    held.push((out.entry, idle));
                }
            });
            for chunk in held.chunks(TAKEN) {
                let mut renew = scripts::RENEW.call(&[part.stream()]);
                renew.arg(member.group.as_str()).arg(&member.name);
                for (entry, idle) in chunk {
                    renew.arg(entry.to_string()).arg(idle.as_millis() as u64);
                }
                let answer = match conn.command(&renew).await {
                    Err(error) if is_missing(&error) => continue,
                    answer => answer?,
                };
                let lost: Vec<_> = wire::list(answer).unwrap_or_default().iter().filter_map(wire::entry_id).collect();
                member.desk.take_if(|out| out.part == index && lost.contains(&out.entry));
                if member.renews() {
                    let until = member.until(now);
                    member.desk.for_each(|_, out| {
                        if out.part == index && chunk.iter().any(|(entry, _)| *entry == out.entry) {
                            out.until = out.until.max(until);
                        }
                    });
                }
            }
        }
        Ok(())
    }

    /// Makes groups again that are gone, at the place that they had come to.
    async fn repair(&mut self, conn: &Link, error: &RedisError) -> RedisResult<()> {
        let member = self.member.clone();
        member.feed.state(SubscriptionState::Recovering(error.to_string()));
        let mut told: Option<&str> = None;
        for (index, part) in member.parts.iter().enumerate() {
            let mut place = self.last[index];
            member.desk.for_each(|_, out| {
                if out.part == index {
                    place = place.min(out.entry.before());
                }
            });
            let mut create = scripts::CREATE.call(&[part.stream()]);
            create.arg(member.group.as_str()).arg(place.to_string());
            let made = wire::list(conn.command(&create).await?).unwrap_or_default();
            if made.first().and_then(wire::int) != Some(1) {
                continue;
            }
            // Nobody's lease on it means anything any more.
            member.desk.take_if(|out| out.part == index);
            self.shards.begin_again(index);
            if told != Some(part.channel.name.as_str()) {
                member.feed.gap(Gap::new(part.channel.name.clone(), None, GapReason::DataLoss));
                told = Some(part.channel.name.as_str());
            }
        }
        topology::declare_again(&member.hub, conn).await?;
        member.feed.state(SubscriptionState::Active);
        Ok(())
    }

    /// Moves the group; the outer result tells of the connection.
    async fn seek(&mut self, reader: &mut Reader, to: &StartPosition) -> RedisResult<Result<()>> {
        let member = self.member.clone();
        let mut channels: Vec<_> = member.parts.iter().map(|part| part.channel.clone()).collect();
        channels.dedup_by(|a, b| a.name == b.name);
        let mut starts = Vec::new();
        for channel in &channels {
            match history::starts(&member.hub, "seek", channel, to).await {
                Ok(found) => starts.extend(found),
                Err(error) => return Ok(Err(error)),
            }
        }
        self.settle_read(reader).await?;
        // What is on its way to the server was settled before.
        if timeout(Duration::from_secs(5), member.desk.flush()).await.is_err() {
            let text = "the server has not answered in time";
            return Ok(Err(Error::new(ErrorKind::Timeout, "seek", text)));
        }
        member.desk.take_if(|_| true);
        for delivery in member.feed.take_deliveries() {
            delivery.forget();
        }
        for (index, (part, start)) in member.parts.iter().zip(&starts).enumerate() {
            let mut seek = scripts::SEEK.call(&[part.stream(), &part.due]);
            seek.arg(member.group.as_str()).arg(start);
            reader.conn.command(&seek).await?;
            self.last[index] = EntryId::parse(start.as_bytes()).unwrap_or(self.last[index]);
        }
        Ok(Ok(()))
    }

    /// Gives back what nobody has seen, and renews what somebody has until it is settled.
    async fn linger(&mut self) {
        let member = self.member.clone();
        loop {
            if member.hub.closing.is_cancelled() {
                member.feed.end();
                for delivery in member.feed.take_deliveries() {
                    delivery.settle_as(Outcome::Release);
                }
                // Whoever still works on an event is told that it is no longer theirs.
                for out in member.desk.take_if(|_| true) {
                    member.desk.push(out, Outcome::Nack(Duration::ZERO));
                }
            }
            if member.desk.len() == 0 {
                return;
            }
            tokio::select! {
                () = member.hub.closing.cancelled() => continue,
                _ = member.desk.room(1) => {}
                () = sleep_until(self.tend_at) => {
                    self.schedule();
                    self.expire();
                    if let Some(link) = member.hub.link() {
                        // What cannot be renewed runs out.
                        let _ = self.keep(&link).await;
                    }
                }
            }
        }
    }

    /// Keeps leases and shards of what is out.
    async fn keep(&mut self, conn: &Link) -> RedisResult<()> {
        self.renew(conn).await?;
        self.share(conn).await
    }
}

/// For how long a member counts as one without a sign of life.
pub(super) fn member_ttl(member: &Member) -> Duration {
    (member.lease.duration / 2).clamp(Duration::from_secs(3), Duration::from_secs(10))
}

fn entry_copy(entry: &Entry) -> Entry {
    Entry { id: entry.id, fields: entry.fields.clone() }
}
