//! The task that reads for a member of a group.

use std::{collections::HashMap, sync::Arc, time::Duration};

use ::redis::{RedisError, RedisResult, Value, cmd};
use bytes::Bytes;
use pubsub_core::{
    AckHandle, Delivery, Error, ErrorKind, Result, StartPosition,
    driver::{AckToken, Outcome, Settler, SubscriptionState},
};
use tokio::{
    sync::mpsc,
    time::{Instant, sleep, sleep_until, timeout},
};

use super::{
    connect::within,
    error::is_missing,
    group::{Member, Out, Request, answer},
    history,
    reader::{Fenced, Kind, Reader},
    scripts,
    settler::GroupSettler,
    share::Shards,
    wire::{self, Entry, EntryId},
};
use crate::common::{backoff::Backoff, unreadable};

/// How long a read waits at the server, and how much longer its answer may take.
pub(super) const BLOCK: Duration = Duration::from_secs(2);
/// How long a little room may wait for more.
const PATIENCE: Duration = Duration::from_millis(1);
pub(super) const GRACE: Duration = Duration::from_secs(3);

/// The reading task.
pub(super) struct Puller {
    pub(super) member: Arc<Member>,
    settler: Arc<dyn Settler>,
    requests: mpsc::UnboundedReceiver<Request>,
    keys: HashMap<Bytes, usize>,
    /// The last entry that was read of each part.
    pub(super) last: Vec<EntryId>,
    pub(super) shards: Shards,
    /// Of each part, after how many losses it was read anew.
    pub(super) losses: Vec<u64>,
    /// Which parts come first when there is not enough room for all.
    pub(super) turn: usize,
    pub(super) renewed: Instant,
    pub(super) tend_at: Instant,
    /// When to look for what a lost connection may have read late.
    pub(super) orphans_at: Option<Instant>,
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
            losses: vec![0; member.parts.len()],
            turn: 0,
            renewed: Instant::now(),
            tend_at: Instant::now(),
            orphans_at: None,
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
        // The client waits for answers without end.
        let number = within(GRACE, async {
            conn.load_scripts().await?;
            if member.hub.connector.is_cluster() {
                return Ok(None);
            }
            let mut id = cmd("CLIENT");
            id.arg("ID");
            Ok(conn.command(&id).await.ok().as_ref().and_then(wire::int))
        })
        .await?;
        self.tend_at = Instant::now();
        self.forget_fences();
        if self.last.iter().any(|last| *last != EntryId::default()) {
            self.take_unseen().await?;
        }
        Ok(Reader::new(conn, number))
    }

    async fn read(&mut self, reader: &mut Reader) -> End {
        let member = self.member.clone();
        let mut patient = false;
        loop {
            if member.is_leaving() {
                return End::Leaving;
            }
            if let Err(error) = self.attend(reader).await {
                return End::Lost(error);
            }
            if reader.waits_elsewhere(&self.shards)
                && let Err(error) = self.settle_read(reader).await
            {
                return End::Lost(error);
            }
            let enough = self.enough();
            if reader.read.is_none() {
                let room = member.window.saturating_sub(member.desk.len());
                // Reading a few at a time costs as much as reading many.
                if room >= enough || std::mem::take(&mut patient) {
                    self.begin(reader, room);
                }
            }
            // What is due waits for the connection it is looked after on.
            let linked = member.hub.link().is_some();
            let due = member.peek_due().filter(|_| linked).unwrap_or(self.tend_at).min(self.tend_at);
            let waiting = reader.read.is_none();
            let room = if waiting { member.window.saturating_sub(member.desk.len()) } else { 0 };
            let few = room > 0 && room < enough && !member.feed.is_paused() && self.shards.readable().next().is_some();
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
                () = member.hub.linked(), if !linked => {}
                () = sleep_until(due) => self.tend_at = self.tend_at.min(due),
                _ = member.desk.room_for(member.window, if few { enough } else { 1 }), if waiting && room < enough => {}
                () = sleep(PATIENCE), if few => patient = true,
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
        self.expire();
        let restarts = self.is_behind();
        if restarts {
            self.settle_read(reader).await?;
            self.restart_parts();
        }
        // Not the reading connection: what is sent there waits behind a read that waits.
        let Some(link) = member.hub.link() else {
            self.schedule();
            return Ok(());
        };
        let due = member.next_due(now).is_some_and(|due| due <= now);
        if now >= self.tend_at || due || restarts {
            if self.orphans_at.is_some_and(|time| time <= now) {
                self.settle_read(reader).await?;
                self.find_orphans(&link).await?;
            }
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
    pub(super) fn schedule(&mut self) {
        let every = (self.member.lease.duration / 4).clamp(Duration::from_millis(50), Duration::from_secs(1));
        let jitter = 0.8 + 0.4 * (self.member.hub.next_member() % 16) as f64 / 16.0;
        self.tend_at = Instant::now() + every.mul_f64(jitter);
    }

    /// Takes back what has run out.
    pub(super) fn expire(&mut self) {
        let now = Instant::now();
        self.lapse_parts(now);
        for out in self.member.desk.take_if(|out| out.until <= now) {
            self.member.expired(&out);
        }
    }

    /// Takes what a read has brought. The next one is on its way before the events are decoded.
    async fn arrived(&mut self, reader: &mut Reader, answer: RedisResult<Value>, go_on: bool) -> RedisResult<()> {
        let Some(read) = reader.read.take() else { return Ok(()) };
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
        let drops = member.feed.is_paused() || member.is_leaving();
        let streams = match read.kind {
            Kind::Plain => answer,
            Kind::Wait => return Ok(()),
            Kind::Fenced => match self.parse_fenced(&read, answer) {
                Fenced::Nothing(places) => {
                    if go_on && !drops {
                        self.begin_wait(reader, read.parts, &places);
                    }
                    return Ok(());
                }
                Fenced::Odd => return Ok(()),
                Fenced::Found(streams) => streams,
            },
        };
        let mut found = Vec::new();
        let mut count = 0;
        for (key, entries) in wire::streams(streams).unwrap_or_default() {
            let Some(index) = self.keys.get(&key).copied() else { continue };
            count += entries.len();
            if let Some(entry) = entries.last() {
                self.last[index] = self.last[index].max(entry.id);
            }
            found.push((index, entries));
        }
        let early = go_on && count > 0 && !drops && !self.is_behind() && Instant::now() < self.tend_at;
        if early {
            // What has arrived is not on the desk yet.
            let free = member.window.saturating_sub(member.desk.len() + count);
            if free >= self.enough() {
                self.begin(reader, free);
            }
        }
        for (index, entries) in found {
            if drops {
                self.give_back(index, entries, read.asked);
                continue;
            }
            if !self.is_current(index, &read) {
                // It is pending, and comes with all that is, here or elsewhere.
                member.parts[index].lose(self.losses[index]);
                continue;
            }
            let until = member.until(read.asked);
            let deliveries: Vec<_> = entries.into_iter().map(|entry| self.hand_out(index, entry, 1, until)).collect();
            member.feed.deliver_all(deliveries);
        }
        Ok(())
    }

    /// What arrived too late for anybody goes back at once.
    fn give_back(&self, index: usize, entries: Vec<Entry>, asked: Instant) {
        for entry in entries {
            let entry_id = entry.id;
            let id = wire::read(entry, &self.member.parts[index].channel.name).0.id().clone();
            let out = Out::new(id, 1, index, entry_id, self.member.until(asked));
            self.member.desk.push(out, Outcome::Release);
        }
    }

    pub(super) fn hand_out(&self, index: usize, entry: Entry, attempt: u32, until: Instant) -> Delivery {
        let part = &self.member.parts[index];
        let id = entry.id;
        let (message, fault) = wire::read(entry, &part.channel.name);
        let mut out = Out::new(message.id().clone(), attempt, index, id, until);
        // What was lost since is known to the part alone: this one is taken back with it.
        out.losses = self.losses[index];
        let token: AckToken = self.member.desk.hand_out(out);
        let delivery = Delivery::new(message, AckHandle::new(self.settler.clone(), token)).attempt(attempt);
        let mut delivery = unreadable::mark(delivery, fault);
        delivery.position = wire::position(id, part.shard, part.channel.streams.len());
        delivery
    }

    /// Ends the read that waits at the server, and takes what it has brought.
    pub(super) async fn settle_read(&mut self, reader: &mut Reader) -> RedisResult<()> {
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
            let mut seek = scripts::SEEK.call(&[part.stream(), &part.due, &part.failed]);
            seek.arg(member.group.as_str()).arg(start);
            within(GRACE, reader.conn.command(&seek)).await?;
            self.last[index] = EntryId::parse(start.as_bytes()).unwrap_or(self.last[index]);
        }
        Ok(Ok(()))
    }
}
