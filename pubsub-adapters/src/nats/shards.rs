//! Who reads which shard of an ordered channel: one member of a group at a time.
//!
//! Ownership is a record per shard in a small stream, written with the sequence of the record before it, so that one
//! writer wins. The owner writes it anew at a third of its term. Nobody compares clocks: whoever wants a shard takes it
//! when it is given back, or when its record stayed the same for longer than the term. Then the earlier owner's leases
//! run out first, so that what it had out comes again before what lies behind.
//!
//! Members tell each other that they are there, and each takes its share of the shards. One that has too many stops
//! pulling one of them and gives it back once what it has out is settled.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use async_nats::{
    Client, HeaderMap,
    jetstream::stream::{Config, Info, StorageType},
};
use bytes::Bytes;
use futures_util::{StreamExt, future::join_all};
use pubsub_core::{ErrorKind, EventId, Result, StartPosition};
use tokio::time::{Instant, MissedTickBehavior, interval};

use super::{
    confirm::number,
    connection::Shared,
    member::{self, Mode, Part, Place},
    names::consumer,
    options::NatsStorage,
    settler::{GroupSettler, GroupSub},
    topology::{Route, shards},
};

/// The longest and the shortest term of an owner.
const LONGEST: Duration = Duration::from_secs(3);
const SHORTEST: Duration = Duration::from_secs(1);

/// A shard that is ours.
struct Owned {
    part: Arc<Part>,
    /// The sequence of our record.
    record: u64,
    /// When that was written.
    written: Instant,
    leaving: bool,
}

/// What was seen of a shard that is somebody else's.
struct Seen {
    record: u64,
    since: Instant,
}

struct Keeper {
    sub: Arc<GroupSub>,
    route: Arc<Route>,
    me: String,
    term: Duration,
    owned: BTreeMap<u16, Owned>,
    others: HashMap<u16, Seen>,
    peers: HashMap<String, Instant>,
    stream: String,
    /// On which connection the stream of records was last seen to, if it is not known to be gone.
    prepared: Option<u64>,
    /// When it was, after it may have been lost.
    remade: Option<Instant>,
}

/// Makes the stream of records, if it is not there.
///
/// # Errors
/// What the server says.
pub(super) async fn prepare(shared: &Shared) -> Result<()> {
    let name = shared.names.leases();
    let config = Config {
        name: name.clone(),
        subjects: vec![format!("{}.l.>", shared.names.root())],
        max_messages: -1,
        max_bytes: -1,
        max_consumers: -1,
        max_messages_per_subject: 1,
        storage: match shared.options.storage {
            NatsStorage::File => StorageType::File,
            NatsStorage::Memory => StorageType::Memory,
        },
        num_replicas: shared.options.replicas,
        allow_direct: true,
        ..Config::default()
    };
    let made: Result<Info> = shared.api("subscribe", format!("STREAM.CREATE.{name}"), &config).await;
    match made {
        Err(error) if error.kind() != ErrorKind::Conflict => Err(error),
        _ => Ok(()),
    }
}

/// The task of a member: takes shards, keeps them, gives them back.
pub(super) async fn run(sub: Arc<GroupSub>, route: Arc<Route>) {
    let term = (sub.options.lease.duration / 2).clamp(SHORTEST, LONGEST);
    let begun = sub.shared.link.borrow().epoch;
    let mut keeper = Keeper {
        me: EventId::random().to_string(),
        term,
        owned: BTreeMap::new(),
        others: HashMap::new(),
        peers: HashMap::new(),
        stream: sub.shared.names.leases(),
        prepared: Some(begun),
        remade: None,
        sub: sub.clone(),
        route,
    };
    let shared = sub.shared.clone();
    let names = &shared.names;
    let watched = [names.lease(&sub.group, &keeper.route.channel, "*"), names.beats(&sub.group, &keeper.route.channel)];
    let mut tick = interval(term / 8);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let Ok((client, _)) = shared.connected("subscribe", Duration::from_secs(3600)).await else { return };
    let (Ok(records), Ok(beats)) =
        (client.subscribe(watched[0].clone()).await, client.subscribe(watched[1].clone()).await)
    else {
        return;
    };
    let mut news = futures_util::stream::select(records, beats);
    let mut beat_at = Instant::now();
    keeper.beat(&client, true).await;
    loop {
        if sub.is_over() {
            break;
        }
        keeper.step(&client).await;
        tokio::select! {
            message = news.next() => match message {
                Some(message) => keeper.hear(message.subject.as_str() == watched[1], &message.payload),
                None => break,
            },
            _ = tick.tick() => {}
            () = sub.over() => {}
        }
        if beat_at.elapsed() > term / 3 {
            beat_at = Instant::now();
            keeper.beat(&client, true).await;
        }
    }
    keeper.leave(&client).await;
}

impl Keeper {
    fn count(&self) -> u16 {
        shards(&self.route.policy)
    }

    fn subject(&self, shard: u16) -> String {
        self.sub.shared.names.lease(&self.sub.group, &self.route.channel, &shard.to_string())
    }

    async fn beat(&self, client: &Client, here: bool) {
        if self.sub.shared.link.borrow().up {
            let text = format!("{}{}", if here { '+' } else { '-' }, self.me);
            let subject = self.sub.shared.names.beats(&self.sub.group, &self.route.channel);
            client.publish(subject, text.into()).await.ok();
        }
    }

    fn hear(&mut self, beat: bool, payload: &Bytes) {
        let text = String::from_utf8_lossy(payload);
        if !beat {
            return; // a record: the next step looks
        }
        match text.split_at_checked(1) {
            Some(("+", peer)) if peer != self.me => drop(self.peers.insert(peer.to_owned(), Instant::now())),
            Some(("-", peer)) => drop(self.peers.remove(peer)),
            _ => {}
        }
    }

    /// How many shards are our share.
    fn share(&mut self) -> usize {
        let term = self.term;
        self.peers.retain(|_, heard| heard.elapsed() < term);
        usize::from(self.count()).div_ceil(self.peers.len() + 1)
    }

    /// Looks at what is ours, and at what could be.
    async fn step(&mut self, client: &Client) {
        self.keep(client).await;
        if !self.sub.shared.link.borrow().up || !self.see_to_records().await {
            return;
        }
        self.give_back(client).await;
        let share = self.share();
        let mine = self.owned.values().filter(|owned| !owned.leaving).count();
        if mine > share {
            // The last one first, so that members do not take turns with the same.
            if let Some(owned) = self.owned.values_mut().rev().find(|owned| !owned.leaving) {
                owned.leaving = true;
                owned.part.mode.send_replace(Mode::Leave);
            }
            return;
        }
        let mut left = share - mine;
        // Each begins elsewhere, so that not all want the same.
        let begin = self.me.bytes().fold(0_u16, |sum, byte| sum.wrapping_mul(31).wrapping_add(u16::from(byte)));
        for offset in 0..self.count() {
            let shard = begin.wrapping_add(offset) % self.count();
            if left == 0 || self.sub.is_over() {
                break;
            }
            if !self.owned.contains_key(&shard) && self.take(client, shard).await {
                left -= 1;
            }
            if self.prepared.is_none() {
                break; // the others' records are not there either
            }
        }
    }

    /// Makes the stream of records again, if it may be gone. False if that is not known.
    async fn see_to_records(&mut self) -> bool {
        let epoch = self.sub.shared.link.borrow().epoch;
        if self.prepared == Some(epoch) {
            return true;
        }
        // What is ours must be written in time, whatever becomes of this.
        let made = tokio::time::timeout(self.term / 3, prepare(&self.sub.shared)).await;
        if !matches!(made, Ok(Ok(()))) {
            return false;
        }
        (self.prepared, self.remade) = (Some(epoch), Some(Instant::now()));
        true
    }

    /// Writes the records of what is ours anew, and gives up what could not be written for too long.
    async fn keep(&mut self, client: &Client) {
        let due = |owned: &Owned| owned.written.elapsed() >= self.term / 3;
        let shards: Vec<_> =
            self.owned.iter().filter(|(_, owned)| due(owned)).map(|(shard, owned)| (*shard, owned.record)).collect();
        if shards.is_empty() {
            return;
        }
        let begun = Instant::now();
        // All at once, so that a server that says nothing costs the time of one answer, whatever is owned.
        let written = if self.sub.shared.link.borrow().up {
            let me = &self.me;
            join_all(shards.iter().map(|(shard, record)| self.write(client, *shard, *record, me))).await
        } else {
            vec![None; shards.len()]
        };
        for ((shard, _), written) in shards.into_iter().zip(written) {
            let Some(owned) = self.owned.get_mut(&shard) else { continue };
            if written.is_none() {
                self.prepared = None;
            }
            match written {
                Some(Ok(record)) => (owned.record, owned.written) = (record, begun),
                // Somebody else has it.
                Some(Err(())) => self.abandon(shard),
                None if owned.written.elapsed() > self.term * 3 / 5 => self.abandon(shard),
                None => {}
            }
        }
    }

    fn abandon(&mut self, shard: u16) {
        if let Some(owned) = self.owned.remove(&shard) {
            owned.part.mode.send_replace(Mode::Abandon);
        }
    }

    /// Gives back what is settled.
    async fn give_back(&mut self, client: &Client) {
        let done: Vec<_> = self
            .owned
            .iter()
            .filter(|(_, owned)| owned.leaving && owned.part.is_done())
            .map(|(shard, owned)| (*shard, owned.record))
            .collect();
        for (shard, record) in done {
            self.write(client, shard, record, "").await;
            self.owned.remove(&shard);
        }
    }

    /// Takes a shard that is free, or whose owner is gone.
    async fn take(&mut self, client: &Client, shard: u16) -> bool {
        let Some((record, owner)) = self.look(client, shard).await else {
            self.prepared = None;
            return false;
        };
        // A record may have been lost, and its owner gives up what it cannot write within its term.
        if record == 0 && self.others.remove(&shard).is_some_and(|seen| seen.record > 0) {
            self.remade = Some(Instant::now()); // by somebody else
        }
        if record == 0 && self.remade.is_some_and(|remade| remade.elapsed() < LONGEST) {
            return false;
        }
        let seen = self.others.entry(shard).or_insert_with(|| Seen { record, since: Instant::now() });
        if seen.record != record {
            *seen = Seen { record, since: Instant::now() };
        }
        let (free, since) = (owner.is_empty(), seen.since);
        if !free && since.elapsed() < self.term.max(LONGEST) + SHORTEST {
            return false;
        }
        let begun = Instant::now();
        let Some(Ok(record)) = self.write(client, shard, record, &self.me).await else { return false };
        self.others.remove(&shard);
        let mut part = Part {
            sub: self.sub.clone(),
            route: self.route.clone(),
            shard: Some(shard),
            start: self.sub.options.start.clone(),
            gauge: Arc::default(),
            mode: tokio::sync::watch::Sender::new(Mode::Run),
            not_before: None,
            done: Arc::default(),
            settler: Arc::new(GroupSettler(self.sub.clone())),
        };
        // All consumers were made when the subscription began.
        let opened = {
            let opening = part.open_again();
            tokio::pin!(opening);
            loop {
                tokio::select! {
                    opened = &mut opening => break opened,
                    // A server that says nothing for long must not let us keep what we cannot write.
                    () = tokio::time::sleep(self.term / 8) => self.keep(client).await,
                }
            }
        };
        let Ok(place) = opened else {
            self.write(client, shard, record, "").await;
            return false;
        };
        if !free {
            // The owner has renewed no lease since its term was over.
            part.not_before = Some(since + LONGEST + place.lease() + Duration::from_millis(100));
        }
        let part = Arc::new(part);
        start(&self.sub, part.clone(), place);
        self.owned.insert(shard, Owned { part, record, written: begun, leaving: false });
        true
    }

    /// The record of a shard: its sequence, and the owner; nobody where there is none.
    async fn look(&self, client: &Client, shard: u16) -> Option<(u64, String)> {
        let subject = format!("$JS.API.DIRECT.GET.{}.{}", self.stream, self.subject(shard));
        let request = client.request(subject, Bytes::new());
        let answer = tokio::time::timeout(self.term / 3, request).await.ok()?.ok()?;
        if let Some(status) = answer.status {
            return (status.as_u16() == 404).then(|| (0, String::new()));
        }
        let sequence = answer.headers.as_ref()?.get("Nats-Sequence")?.as_str().parse().ok()?;
        Some((sequence, String::from_utf8_lossy(&answer.payload).into_owned()))
    }

    /// Writes a record after the one with this sequence. `Err` if there is another one, nothing if nobody answered.
    async fn write(&self, client: &Client, shard: u16, after: u64, owner: &str) -> Option<Result<u64, ()>> {
        let mut headers = HeaderMap::new();
        headers.insert("Nats-Expected-Last-Subject-Sequence", after.to_string());
        let request = client.request_with_headers(self.subject(shard), headers, owner.to_owned().into());
        let answer = tokio::time::timeout(self.term / 3, request).await.ok()?.ok()?;
        let text = String::from_utf8_lossy(&answer.payload);
        if text.contains("\"error\"") {
            return text.contains("10071").then_some(Err(())).or_else(|| text.contains("10164").then_some(Err(())));
        }
        number(&text, "\"seq\":").map(Ok)
    }

    /// The end of the subscription: what is settled is given back, and what is in hand is kept until it is.
    async fn leave(mut self, client: &Client) {
        self.beat(client, false).await;
        for owned in self.owned.values_mut() {
            owned.leaving = true;
            owned.part.mode.send_replace(Mode::Leave);
        }
        while !self.owned.is_empty() {
            self.keep(client).await;
            if self.sub.shared.link.borrow().up {
                self.give_back(client).await;
            }
            let closing = self.sub.shared.closing.is_cancelled();
            if closing && self.owned.values().all(|owned| owned.part.has_ended()) {
                break; // what is in hand comes again when its lease is over, and the record's term
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}

/// Starts the task of a part.
pub(super) fn start(sub: &Arc<GroupSub>, part: Arc<Part>, place: Place) {
    sub.parts.fetch_add(1, Ordering::AcqRel);
    let counted = CountedPart(sub.clone(), part.clone());
    let task = part;
    sub.shared.readers.spawn(async move {
        let counted = counted;
        let kill = counted.0.shared.kill.clone();
        tokio::select! {
            () = kill.cancelled() => {}
            () = member::run(task, place) => {}
        }
    });
}

struct CountedPart(Arc<GroupSub>, Arc<Part>);

impl Drop for CountedPart {
    fn drop(&mut self) {
        self.0.parts.fetch_sub(1, Ordering::AcqRel);
        self.1.done.store(true, Ordering::Release);
    }
}

/// Makes the consumers of all shards, so that what is published from now on reaches the group.
///
/// # Errors
/// As [`Part::open`].
pub(super) async fn prepare_consumers(sub: &Arc<GroupSub>, route: &Arc<Route>, start: &StartPosition) -> Result<()> {
    for shard in 0..shards(&route.policy) {
        let name = consumer(&sub.group, Some(shard));
        if sub.shared.consumer("subscribe", &route.channel, &name).await?.is_none() {
            let info = sub.shared.must_exist("subscribe", &route.channel).await?;
            let from = super::history::resolve(&route.channel, &info, start, false)?;
            let lease = sub.options.lease.duration;
            let origin = super::group::Origin::Fresh;
            sub.shared.make_consumer(&route.channel, &name, Some(shard), from, lease, origin).await?;
        }
    }
    Ok(())
}
