//! One member's part in one consumer: events are pulled as there is room, and the consumer is made anew when it is gone.

use std::{
    collections::VecDeque,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use async_nats::jetstream::{consumer, stream::Info};
use pubsub_core::{
    ChannelName, Result, StartPosition,
    driver::{Gap, GapReason, Outcome, Settler, SubscriptionState},
};
use tokio::{
    sync::watch,
    time::{Instant, sleep, sleep_until},
};

use super::{
    gauge::Gauge,
    group::{Origin, begun, told_to},
    handout::deliver,
    history::{From, resolve},
    names,
    puller::{Arrived, Heard, Puller},
    settler::{GroupSub, Item},
    takeover,
    topology::{Route, born},
};
use crate::common::backoff::Backoff;

/// How often the place of the group is written down, to go on from there when its consumer is deleted.
const LOOK: Duration = Duration::from_secs(5);

/// How many events that are missing between two are told of, when a member leaves.
const MOST_HOLES: usize = 65_536;

/// What becomes of a part.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mode {
    /// It pulls.
    Run,
    /// It pulls no more, and ends once everything is settled.
    Leave,
    /// It is somebody else's: what is out is void.
    Abandon,
}

/// One consumer, read by one subscription.
pub(super) struct Part {
    pub(super) sub: Arc<GroupSub>,
    pub(super) route: Arc<Route>,
    pub(super) shard: Option<u16>,
    /// Where a fresh group begins.
    pub(super) start: StartPosition,
    pub(super) gauge: Arc<Gauge>,
    pub(super) mode: watch::Sender<Mode>,
    /// Before this time nothing is pulled: an earlier owner's leases run out first.
    pub(super) not_before: Option<Instant>,
    /// Its task has ended.
    pub(super) done: Arc<AtomicBool>,
    /// Of its deliveries.
    pub(super) settler: Arc<dyn Settler>,
}

/// What is known of the consumer.
pub(super) struct Place {
    pub(super) puller: Puller,
    pub(super) key: Arc<str>,
    pub(super) born: u64,
    pub(super) made: i128,
    ack_wait: Duration,
    /// Everything up to here is settled.
    floor: u64,
    pub(super) moves: u64,
    /// The connection on which it was opened.
    pub(super) epoch: u64,
    /// The round in which it was: what is handed out here is void with all else that was out then.
    pub(super) round: u64,
    /// The numbers of the event that came last, in the consumer and in the stream, if it came for the first time.
    pub(super) last: Option<(u64, u64)>,
}

/// What was known before, for a part that begins anew.
#[derive(Clone, Copy)]
struct Before {
    /// When its stream was made, and the consumer; nothing for one that was somebody else's.
    lives: Option<(u64, i128)>,
    floor: u64,
}

impl Place {
    /// How long the server leaves events with a member.
    pub(super) fn lease(&self) -> Duration {
        self.ack_wait
    }
}

impl Part {
    /// Whether its task has ended.
    pub(super) fn has_ended(&self) -> bool {
        self.done.load(Ordering::Acquire)
    }

    /// Whether nothing of it is out any more.
    pub(super) fn is_done(&self) -> bool {
        self.has_ended() && self.gauge.count() == 0
    }

    pub(super) fn channel(&self) -> &ChannelName {
        &self.route.channel
    }

    pub(super) fn name(&self) -> String {
        names::consumer(&self.sub.group, self.shard)
    }

    /// Finds or makes the consumer. The first time, errors are the subscriber's.
    pub(super) async fn open(&self) -> Result<Place> {
        self.open_after(None).await
    }

    /// As [`Part::open`], for a consumer that was made before, perhaps for somebody else: if it is gone, it begins with what is
    /// there.
    pub(super) async fn open_again(&self) -> Result<Place> {
        self.open_after(Some(Before { lives: None, floor: 0 })).await
    }

    async fn open_after(&self, before: Option<Before>) -> Result<Place> {
        let (shared, channel) = (&self.sub.shared, self.channel());
        let (epoch, round) = (shared.link.borrow().epoch, self.gauge.round());
        let moves = self.sub.moves.load(Ordering::Acquire);
        let stream = match before {
            None => shared.must_exist("subscribe", channel).await?,
            Some(_) => shared.restore(&self.route).await?,
        };
        let lives = before.and_then(|before| before.lives);
        let mut lost_data = lives.is_some_and(|(begun, _)| begun != born(&stream));
        let (name, lease) = (self.name(), self.sub.options.lease.duration);
        let info = match shared.consumer("subscribe", channel, &name).await? {
            Some(info) => {
                let again = lives.is_some_and(|(_, made)| made != info.created.unix_timestamp_nanos());
                lost_data |= again && Origin::of(&info) == Origin::Recovered;
                info
            }
            None => {
                let (from, origin) = match before {
                    None => (resolve(channel, &stream, &self.start, false)?, Origin::Fresh),
                    Some(before) if lives.is_some_and(|(begun, _)| begun == born(&stream)) => {
                        (From::Sequence(before.floor + 1), Origin::Recovered)
                    }
                    Some(_) => (From::Sequence(1), Origin::Recovered),
                };
                lost_data |= before.is_some();
                shared.make_consumer(channel, &name, self.shard, from, lease, origin).await?
            }
        };
        let made = info.created.unix_timestamp_nanos();
        if lives.is_some_and(|lives| lives != (born(&stream), made)) {
            self.take_back();
        }
        let ack_wait = shared.shorten_lease(channel, &info, lease).await?;
        let millis = u64::try_from(ack_wait.as_millis()).unwrap_or(u64::MAX);
        self.sub.shortest.fetch_min(millis, Ordering::Relaxed);
        let puller = Puller::open(shared, &stream.config.name, &name).await?;
        let key: Arc<str> = format!("{}/{name}/{made}", stream.config.name).into();
        if lost_data {
            self.sub.feed.gap(Gap::new(channel.clone(), None, GapReason::DataLoss));
        } else {
            // What is removed from among those that are out is told once it is known what still comes to those who leave.
            let removed = info.ack_floor.stream_sequence + 1 < stream.state.first_sequence;
            if self.tell_overtaken(&stream, &info) || removed {
                shared.orphans.have_left(&key).await;
            }
            self.tell_orphans(&stream, &key);
        }
        let last = told_to(&stream, &info).map(|sequence| (info.delivered.consumer_sequence, sequence));
        Ok(Place {
            puller,
            key,
            born: born(&stream),
            made,
            ack_wait,
            floor: info.ack_floor.stream_sequence,
            moves,
            epoch,
            round,
            last,
        })
    }

    /// Tells of events that retention removed before the group came to them. Says whether there are any.
    fn tell_overtaken(&self, stream: &Info, info: &consumer::Info) -> bool {
        let Some(begun) = begun(info) else { return false };
        if self.shard.is_some_and(|shard| shard > 0) {
            return false; // once for all shards, which share the stream's numbers
        }
        let next = info.delivered.stream_sequence.max(begun) + 1;
        let lost = stream.state.first_sequence.saturating_sub(next);
        if lost > 0 {
            self.sub.feed.gap(Gap::new(self.channel().clone(), Some(lost), GapReason::Retention));
        }
        lost > 0
    }

    /// Tells of events that retention removed while they were on their way back from a member that had left.
    pub(super) fn tell_orphans(&self, stream: &Info, key: &Arc<str>) {
        let lost = self.sub.shared.orphans.lost(key, stream.state.first_sequence);
        if lost > 0 {
            self.sub.feed.gap(Gap::new(self.channel().clone(), Some(lost), GapReason::Retention));
        }
    }

    /// Voids what is out of this part's consumer.
    fn take_back(&self) {
        let gauge = &self.gauge;
        let taken = self.sub.desk.take_if(|item| item.slot.as_ref().is_some_and(|slot| slot.is_of(gauge)));
        drop(taken);
    }

    /// How many more events there is room for here, with a fair share for each consumer of the subscription.
    fn room(&self) -> usize {
        self.share().saturating_sub(self.gauge.count())
    }

    pub(super) fn share(&self) -> usize {
        let most = self.sub.options.max_in_flight;
        let parts = self.sub.parts.load(Ordering::Acquire).max(1);
        (most / parts).max(1).min(most)
    }

    /// Waits for the end of what was asked for, and gives back what came.
    async fn withdraw(&self, place: &mut Place) {
        let (orphans, key) = (&self.sub.shared.orphans, place.key.clone());
        let _leaving = orphans.leave(&key);
        let mut last = place.last;
        let arrived = place.puller.withdraw(|event| self.note(&key, event, &mut last)).await;
        arrived.iter().for_each(|event| self.release(place, event));
    }

    /// Notes an event that nobody here takes any more, and what is missing before it.
    fn note(&self, key: &Arc<str>, event: &Arrived, last: &mut Option<(u64, u64)>) {
        let orphans = &self.sub.shared.orphans;
        // What is missing between two was removed before it could be given: nobody else is told of it.
        if let Some((number, sequence)) = *last
            && self.shard.is_none()
            && event.delivered == 1
            && event.consumer_sequence == number + 1
        {
            (sequence + 1..event.sequence).take(MOST_HOLES).for_each(|hole| orphans.note(key, hole));
        }
        *last = (event.delivered == 1).then_some((event.consumer_sequence, event.sequence));
        orphans.note(key, event.sequence);
    }

    /// Gives an event back to the server.
    pub(super) fn release(&self, place: &Place, event: &Arrived) {
        let (key, wait, id) = (place.key.clone(), place.ack_wait, pubsub_core::EventId::random());
        let (sequence, reply, slot) = (event.sequence, event.reply.clone(), self.gauge.take(None));
        let item = Item::new(id, 1, sequence, reply, key, wait, Instant::now(), None, place.moves, slot);
        self.sub.desk.push(item, Outcome::Release);
    }

    /// Gives back what came when the subscription was over already.
    pub(super) fn give_back(&self, place: &mut Place, came: impl Iterator<Item = Arrived>) {
        let mut last = place.last;
        for event in came {
            self.note(&place.key, &event, &mut last);
            self.release(place, &event);
        }
        place.last = last;
    }

    pub(super) fn is_moved(&self, place: &Place) -> bool {
        place.moves != self.sub.moves.load(Ordering::Acquire)
    }

    /// Whether something was lost that was out, so that all has to come again, in its order.
    pub(super) fn has_lost(&self, place: &Place) -> bool {
        place.round != self.gauge.round()
    }

    /// Whether there is no connection, or another one than that on which the place was opened.
    pub(super) fn is_down(&self, place: &Place) -> bool {
        let link = self.sub.shared.link.borrow();
        !link.up || link.epoch != place.epoch
    }
}

/// Counts a part that is being restored, and tells of it.
struct Recovery<'a>(&'a GroupSub);

impl<'a> Recovery<'a> {
    fn begin(sub: &'a GroupSub, why: &str) -> Self {
        sub.recovering.fetch_add(1, Ordering::AcqRel);
        sub.feed.state(SubscriptionState::Recovering(why.to_owned()));
        Self(sub)
    }
}

impl Drop for Recovery<'_> {
    fn drop(&mut self) {
        if self.0.recovering.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.0.feed.state(SubscriptionState::Active);
        }
    }
}

/// Why a part stopped pulling.
pub(super) enum Stop {
    /// The subscription is over, or the part ends.
    End,
    Paused,
    Moved,
    /// Something was lost that keeps its order with what lies behind.
    Lapsed,
    /// There is no connection.
    Down,
    Lost(String),
}

/// The task of a part. `place` was opened before, so that what is published since reaches it.
pub(super) async fn run(part: Arc<Part>, mut place: Place) {
    let sub = part.sub.clone();
    if let Some(time) = part.not_before {
        let mut mode = part.mode.subscribe();
        tokio::select! {
            () = sleep_until(time) => {}
            _ = mode.wait_for(|mode| *mode != Mode::Run) => {}
            () = sub.over() => {}
        }
    }
    loop {
        let stop = match takeover::take_over(&part, &mut place).await {
            Some(stop) => stop,
            None => pull(&part, &mut place).await,
        };
        let (mut recovery, mut why) = (None, None);
        match stop {
            Stop::End => break,
            Stop::Paused => {
                part.withdraw(&mut place).await;
                tokio::select! {
                    () = sub.feed.resumed() => {}
                    () = sub.over() => break,
                    () = sub.moved.notified() => {}
                }
            }
            Stop::Moved => {}
            Stop::Lapsed => part.withdraw(&mut place).await,
            Stop::Down => {
                recovery = Some(Recovery::begin(&sub, "the connection is lost, and is being restored"));
                tokio::select! {
                    up = sub.shared.wait_up() => if !up { break },
                    () = sub.over() => break,
                }
            }
            Stop::Lost(text) => why = Some(text),
        }
        match reopen(&part, &place, why.as_deref()).await {
            Some(again) => place = again,
            None => break,
        }
        drop(recovery);
    }
    if *part.mode.borrow() == Mode::Abandon {
        part.take_back();
    }
    part.withdraw(&mut place).await;
}

/// Opens the consumer again, as long as it takes; `None` if the part ends before.
async fn reopen(part: &Part, place: &Place, why: Option<&str>) -> Option<Place> {
    let sub = &part.sub;
    let mut recovery = why.map(|why| Recovery::begin(sub, why));
    let before = Before { lives: Some((place.born, place.made)), floor: place.floor };
    let mut backoff = Backoff::default();
    loop {
        if sub.is_over() || *part.mode.borrow() != Mode::Run {
            return None;
        }
        if sub.place() % 2 == 1 {
            sleep(Duration::from_millis(2)).await; // the group is being moved
            continue;
        }
        let opened: Result<Place> = tokio::select! {
            opened = part.open_after(Some(before)) => opened,
            () = sub.over() => return None,
        };
        match opened {
            Ok(place) => return Some(place),
            Err(error) => {
                let text = error.to_string();
                match &recovery {
                    Some(_) => sub.feed.state(SubscriptionState::Recovering(text)),
                    None => recovery = Some(Recovery::begin(sub, &text)),
                }
            }
        }
        tokio::select! {
            () = sleep(backoff.next()) => {}
            () = sub.over() => return None,
        }
    }
}

/// Pulls until something stops it.
async fn pull(part: &Part, place: &mut Place) -> Stop {
    let sub = &part.sub;
    let mut link = sub.shared.link.subscribe();
    let mut mode = part.mode.subscribe();
    let mut looked = Instant::now();
    let mut batch = VecDeque::new();
    loop {
        if let Some(stop) = part.stop(place, &mut link, &mut mode) {
            return stop;
        }
        let held_back = sub.waits_for_reader();
        let room = if held_back { 0 } else { part.room() };
        if room > 0
            && let Err(error) = place.puller.want(room).await
        {
            return Stop::Lost(error.to_string());
        }
        part.gauge.wake_at(place.puller.wakes_at(part.share()));
        if !held_back && place.puller.is_worth(part.room()) {
            continue; // became so in between
        }
        let silence = place.puller.silence();
        let wake = silence.unwrap_or_else(|| Instant::now() + LOOK);
        let heard = tokio::select! {
            heard = place.puller.hear() => Some(heard),
            () = part.gauge.freed.notified(), if room < sub.options.max_in_flight => None,
            () = sub.feed.room(1), if held_back => None,
            () = sub.feed.paused() => None,
            () = sub.moved.notified() => None,
            _ = link.changed() => None,
            _ = mode.changed() => None,
            () = sub.over() => None,
            () = sleep_until(wake) => {
                if silence.is_some() && place.puller.silence().is_some_and(|end| end <= Instant::now()) {
                    return Stop::Lost("the server sends no signs of life for this group".to_owned());
                }
                None
            }
        };
        let mut next = heard;
        while let Some(heard) = next.take() {
            match heard {
                Heard::Event(arrived) => batch.push_back(arrived),
                Heard::Nothing | Heard::Less => {}
                Heard::Gone(why) => {
                    deliver(part, place, &mut batch).await;
                    return Stop::Lost(why);
                }
            }
            if batch.len() < 256 {
                next = place.puller.hear_now();
            }
        }
        deliver(part, place, &mut batch).await;
        if looked.elapsed() > LOOK {
            looked = Instant::now();
            if let Ok(Some(info)) = sub.shared.consumer("receive", part.channel(), &part.name()).await
                && info.created.unix_timestamp_nanos() == place.made
            {
                place.floor = info.ack_floor.stream_sequence;
                place.ack_wait = info.config.ack_wait;
                let millis = u64::try_from(place.ack_wait.as_millis()).unwrap_or(u64::MAX);
                sub.shortest.fetch_min(millis, Ordering::Relaxed);
            }
        }
    }
}
