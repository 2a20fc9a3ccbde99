//! One channel: its log, its readers, and the room that is left.

mod groups;

use std::{
    cmp::Reverse,
    collections::BinaryHeap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicI64, AtomicU64, AtomicUsize, Ordering},
    },
};

use pubsub_core::{ChannelName, ChannelPolicy, Message, Position, Retention, StartPosition};
use tokio::sync::Notify;

use super::{
    apart::Apart,
    broadcast::Broadcast,
    dedup::Dedup,
    group::Group,
    log::{self, Cursor, Entry, Log},
    options::MemoryOptions,
};

/// A channel. Lock order: the channel before any of its groups.
#[derive(Debug)]
pub(super) struct Channel {
    pub(super) name: ChannelName,
    state: Apart<Mutex<State>>,
    /// The end of the log, for readers without the lock.
    end: Apart<AtomicU64>,
    /// The oldest message left by retention, likewise.
    first: Apart<AtomicU64>,
    /// When the next scheduled message is due; `i64::MAX` for none.
    pub(super) next_due: AtomicI64,
    /// Whether messages leave by age, so that readers must look.
    has_age: AtomicBool,
    /// How many groups and broadcasts read it.
    pub(super) readers: AtomicUsize,
    pub(super) room: Notify,
    /// Whose turn it is among the publishers that wait for room.
    pub(super) turn: tokio::sync::Mutex<()>,
    pub(super) waiting_for_room: AtomicUsize,
    /// Publishers that wait for settlement.
    pub(super) confirms: super::confirm::Confirms,
    capacity: usize,
    /// The most ids of the dedup window.
    dedup_ids: usize,
    /// The most bytes, if it holds dead letters.
    dead_letter_bytes: Option<u64>,
    origin: Position,
    /// The second number of every position: when the bus was made.
    born: u64,
}

#[derive(Debug)]
pub(super) struct State {
    pub(super) policy: ChannelPolicy,
    pub(super) declared: bool,
    log: Log,
    pub(super) groups: Vec<Arc<Group>>,
    pub(super) broadcasts: Vec<Arc<Broadcast>>,
    scheduled: BinaryHeap<Reverse<Scheduled>>,
    scheduled_count: u64,
    dedup: Option<Dedup>,
    /// Up to this sequence number there is room without asking the readers again.
    room_until: u64,
    after: After,
}

/// What happens once the channel's lock is free: wakers and the last drop of a message may run code of others.
#[derive(Debug, Default)]
struct After {
    groups: Vec<(Arc<Group>, usize)>,
    broadcasts: Vec<Arc<Broadcast>>,
    /// Places whose segments are freed with them.
    freed: Vec<Cursor>,
}

impl After {
    fn run(mut state: MutexGuard<'_, State>) {
        let after = std::mem::take(&mut state.after);
        drop(state);
        after.groups.iter().for_each(|(group, count)| group.wake(*count));
        after.broadcasts.iter().for_each(|broadcast| broadcast.wake());
    }
}

/// A message that waits for its time.
#[derive(Debug)]
struct Scheduled {
    due: i64,
    order: u64,
    ttl_ms: Option<i64>,
    message: Arc<Message>,
}

impl PartialEq for Scheduled {
    fn eq(&self, other: &Self) -> bool {
        (self.due, self.order) == (other.due, other.order)
    }
}
impl Eq for Scheduled {}
impl PartialOrd for Scheduled {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}
impl Ord for Scheduled {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.due, self.order).cmp(&(other.due, other.order))
    }
}

/// What became of a message that was to be appended.
#[derive(Debug)]
pub(super) enum Append {
    /// It is in the log.
    At(u64),
    /// Its id is there already; without a place while the first one waits for its time.
    Duplicate(Option<u64>),
    /// It waits for its time.
    Scheduled,
}

/// What keeps the rest of a batch out, if there is a rest.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Stopped {
    /// The channel is full.
    #[default]
    ByRoom,
    /// The dedup window has no place for another id.
    ByDedup,
}

impl Channel {
    pub(super) fn new(name: ChannelName, policy: ChannelPolicy, options: &MemoryOptions, origin: Position) -> Self {
        let channel = Self {
            state: Apart(Mutex::new(State {
                policy: ChannelPolicy::default(),
                declared: false,
                log: Log::new(),
                groups: Vec::new(),
                broadcasts: Vec::new(),
                scheduled: BinaryHeap::new(),
                scheduled_count: 0,
                dedup: None,
                room_until: 0,
                after: After::default(),
            })),
            end: Apart(AtomicU64::new(0)),
            first: Apart(AtomicU64::new(0)),
            next_due: AtomicI64::new(i64::MAX),
            has_age: AtomicBool::new(false),
            readers: AtomicUsize::new(0),
            room: Notify::new(),
            turn: tokio::sync::Mutex::new(()),
            waiting_for_room: AtomicUsize::new(0),
            confirms: super::confirm::Confirms::default(),
            capacity: options.capacity,
            dedup_ids: options.dedup_ids,
            dead_letter_bytes: name.is_dead_letter().then_some(options.dead_letter_bytes),
            born: origin.as_pair(super::SCHEME).map_or(0, |(_, born)| born),
            origin,
            name,
        };
        channel.set_policy(policy);
        channel
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing that runs under this lock panics, and no code of others runs under it: see `After`.
        self.state.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn set_policy(&self, policy: ChannelPolicy) {
        let mut state = self.lock();
        let window = policy.dedup_window.map(|window| i64::try_from(window.as_millis()).unwrap_or(i64::MAX));
        if state.policy.dedup_window != policy.dedup_window || state.dedup.is_none() {
            state.dedup = window.map(|window_ms| Dedup::new(window_ms, self.dedup_ids));
        }
        self.has_age.store(policy.retention.age.is_some(), Ordering::Release);
        state.policy = policy;
        let bounded = self.max_bytes(&state.policy.retention).is_some();
        state.log.count_bytes(bounded);
    }

    /// How many bytes retention leaves.
    fn max_bytes(&self, retention: &Retention) -> Option<u64> {
        retention.bytes.into_iter().chain(self.dead_letter_bytes).min()
    }

    pub(super) fn end(&self) -> u64 {
        self.end.0.load(Ordering::SeqCst)
    }

    pub(super) fn first(&self) -> u64 {
        self.first.0.load(Ordering::Acquire)
    }

    /// The position of a message.
    pub(super) fn position(&self, seq: u64) -> Position {
        self.origin.with_pair(seq, self.born)
    }

    pub(super) fn born(&self) -> u64 {
        self.born
    }

    /// Appends messages as far as there is room; the rest is not told of. Wakes whoever waits for them.
    pub(super) fn append(
        &self,
        batch: &mut dyn Iterator<Item = Arc<Message>>,
        count: usize,
        now: i64,
        due: Option<i64>,
        ttl_ms: Option<i64>,
        done: &mut dyn FnMut(Append),
    ) -> Stopped {
        let mut guard = self.lock();
        let state = &mut *guard;
        state.promote(self, now);
        let ttl_ms = ttl_ms.or_else(|| state.policy.ttl.map(|ttl| i64::try_from(ttl.as_millis()).unwrap_or(i64::MAX)));
        // A batch goes in whole, unless it is larger than the channel.
        let due = due.filter(|due| *due > now);
        let room = match state.room(self, count, due.is_some(), now) {
            room if room < count && count <= self.capacity => {
                After::run(guard);
                return Stopped::ByRoom;
            }
            room => room,
        };
        if let Some(dedup) = state.dedup.as_mut().filter(|_| count > 1 && count <= self.dedup_ids)
            && dedup.free(now) < count
        {
            After::run(guard);
            return Stopped::ByDedup;
        }
        let (mut appended, mut stopped) = (0, Stopped::ByRoom);
        for message in batch.take(room) {
            if let Some(dedup) = &mut state.dedup {
                if let Some(first) = dedup.find(message.id(), now) {
                    done(Append::Duplicate(first));
                    continue;
                }
                if dedup.free(now) == 0 {
                    stopped = Stopped::ByDedup;
                    break;
                }
                let seq = due.is_none().then_some(state.log.end);
                dedup.insert(message.id().clone(), seq, now);
            }
            if let Some(due) = due {
                state.schedule(self, Scheduled { due, order: 0, ttl_ms, message });
                done(Append::Scheduled);
                continue;
            }
            let expires = ttl_ms.map_or(i64::MAX, |ttl| now.saturating_add(ttl));
            done(Append::At(state.log.push(Entry { message, arrival: now, expires })));
            appended += 1;
        }
        if state.policy.retention.history {
            state.retain(self, now);
        }
        state.publish_end(self, appended, due.is_some());
        After::run(guard);
        stopped
    }

    /// The most ids of the dedup window.
    pub(super) fn dedup_ids(&self) -> usize {
        self.dedup_ids
    }

    /// Brings in what is due, and lets age take what is over.
    pub(super) fn touch(&self, now: i64) {
        if self.next_due.load(Ordering::Acquire) <= now || self.has_age.load(Ordering::Acquire) {
            let mut state = self.lock();
            state.promote(self, now);
            state.retain(self, now);
            After::run(state);
        }
    }

    pub(super) fn add_broadcast(&self, make: impl FnOnce(&mut State) -> Arc<Broadcast>) -> Arc<Broadcast> {
        let mut state = self.lock();
        let broadcast = make(&mut state);
        let at = broadcast.cursor.load(Ordering::Acquire).max(state.log.first);
        broadcast.cursor.store(at, Ordering::Release);
        state.broadcasts.push(broadcast.clone());
        state.room_until = 0;
        self.readers.fetch_add(1, Ordering::AcqRel);
        broadcast
    }

    pub(super) fn remove_broadcast(&self, broadcast: &Arc<Broadcast>) {
        let mut state = self.lock();
        let Some(index) = state.broadcasts.iter().position(|other| Arc::ptr_eq(other, broadcast)) else { return };
        state.broadcasts.remove(index);
        state.room_until = 0;
        self.readers.fetch_sub(1, Ordering::AcqRel);
        drop(state);
        self.announce_room();
    }

    /// Moves a reader. Under one lock, so that neither retention nor a publisher comes in between.
    pub(super) fn seek(
        &self,
        to: &StartPosition,
        broadcast: bool,
        then: impl FnOnce(u64, Cursor),
    ) -> pubsub_core::Result<()> {
        let mut state = self.lock();
        let base = self.resolve(&state, to, broadcast)?;
        then(base, state.log.reader_at(base));
        // A reader that went back holds more than was known.
        state.room_until = 0;
        drop(state);
        self.announce_room();
        Ok(())
    }

    /// A reader that begins at `seq`.
    pub(super) fn reader_at(&self, seq: u64) -> Cursor {
        self.lock().log.reader_at(seq)
    }

    /// Wakes publishers that wait, once a quarter of the channel is free: waking them for each place would cost more than
    /// the places are worth. They also look by themselves, and whoever runs out of events wakes them.
    pub(super) fn announce_much_room(&self, base: u64) {
        if self.end().saturating_sub(base) * 4 <= self.capacity as u64 * 3 {
            self.announce_room();
        }
    }

    /// Wakes publishers, if any wait.
    pub(super) fn announce_room(&self) {
        if self.waiting_for_room.load(Ordering::SeqCst) > 0 {
            self.room.notify_waiters();
        }
    }

    /// Where a start position lies.
    pub(super) fn resolve(&self, state: &State, start: &StartPosition, broadcast: bool) -> pubsub_core::Result<u64> {
        super::history::resolve(self, state, start, broadcast)
    }
}

impl State {
    pub(super) fn first(&self) -> u64 {
        self.log.first
    }

    pub(super) fn end(&self) -> u64 {
        self.log.end
    }

    pub(super) fn seek_time(&self, time: i64) -> u64 {
        self.log.seek_time(time)
    }

    pub(super) fn reader(&self) -> Cursor {
        self.log.reader()
    }

    /// How many of `wanted` messages may be appended now.
    fn room(&mut self, channel: &Channel, wanted: usize, scheduled: bool, now: i64) -> usize {
        let wanted = if scheduled { wanted.min(channel.capacity.saturating_sub(self.scheduled.len())) } else { wanted };
        let end = self.log.end + self.scheduled.len() as u64;
        if end + wanted as u64 <= self.room_until {
            return wanted;
        }
        self.retain(channel, now);
        let explicit = self.policy.retention;
        if explicit.age.is_some() || explicit.count.is_some() || channel.max_bytes(&explicit).is_some() {
            // Retention may take what nobody has read: then it takes no room either.
            let first = self.log.first;
            self.groups.iter().for_each(|group| group.forget_before(first));
            channel.confirms.check();
        }
        let capacity = channel.capacity as u64;
        let held_by_groups = self.groups.iter().map(|group| group.reap() + capacity);
        let held_by_broadcasts = self.broadcasts.iter().filter_map(|broadcast| broadcast.holds_until(capacity));
        self.room_until = held_by_groups.chain(held_by_broadcasts).min().unwrap_or(self.log.end + capacity);
        usize::try_from(self.room_until.saturating_sub(end)).unwrap_or(usize::MAX).min(wanted)
    }

    /// Removes what retention does not keep.
    fn retain(&mut self, channel: &Channel, now: i64) {
        let (retention, before) = (self.policy.retention, self.log.first);
        // Without a limit of its own a channel keeps twice its capacity: freeing messages here, on the side that
        // allocated them, also spares the consumers the allocator's lock.
        let kept = if retention.history {
            retention.count.unwrap_or(channel.capacity as u64 * 2)
        } else {
            retention.count.unwrap_or(u64::MAX).min(self.unsettled(channel.capacity as u64))
        };
        // The newest dead letter was confirmed by its being here, however large it is.
        let least = u64::from(channel.dead_letter_bytes.is_some());
        let bytes = channel.max_bytes(&retention).unwrap_or(u64::MAX);
        while self.log.end - self.log.first > kept
            || (self.log.bytes() > bytes && self.log.end - self.log.first > least)
        {
            self.after.freed.extend(self.log.pop());
        }
        if let Some(age) = retention.age {
            let oldest = now.saturating_sub(i64::try_from(age.as_millis()).unwrap_or(i64::MAX));
            while self.log.oldest_arrival().is_some_and(|arrival| arrival < oldest) {
                self.after.freed.extend(self.log.pop());
            }
        }
        if self.log.first == before {
            return;
        }
        channel.first.0.store(self.log.first, Ordering::Release);
        if log::crosses_segment(before, self.log.first) {
            self.broadcasts.iter().for_each(|broadcast| broadcast.give_up_before(self.log.first));
        }
    }

    /// How many messages some reader still needs.
    fn unsettled(&self, capacity: u64) -> u64 {
        let groups = self.groups.iter().map(|group| group.reap());
        let broadcasts = self.broadcasts.iter().map(|broadcast| broadcast.needs_from(self.log.end, capacity));
        self.log.end - groups.chain(broadcasts).min().unwrap_or(self.log.end).min(self.log.end)
    }

    fn schedule(&mut self, channel: &Channel, mut scheduled: Scheduled) {
        scheduled.order = self.scheduled_count;
        self.scheduled_count += 1;
        self.scheduled.push(Reverse(scheduled));
        self.announce_due(channel);
    }

    fn announce_due(&self, channel: &Channel) {
        let due = self.scheduled.peek().map_or(i64::MAX, |Reverse(next)| next.due);
        channel.next_due.store(due, Ordering::SeqCst);
    }

    /// Moves scheduled messages that are due into the log. They took their room when they were published.
    fn promote(&mut self, channel: &Channel, now: i64) {
        let mut promoted = 0;
        while self.scheduled.peek().is_some_and(|Reverse(next)| next.due <= now) {
            let Some(Reverse(next)) = self.scheduled.pop() else { break };
            let expires = next.ttl_ms.map_or(i64::MAX, |ttl| next.due.saturating_add(ttl));
            self.log.push(Entry { message: next.message, arrival: now, expires });
            promoted += 1;
        }
        if promoted > 0 {
            self.announce_due(channel);
            self.publish_end(channel, promoted, false);
        }
    }

    /// Shows new messages to readers, and wakes as many as may be needed.
    ///
    /// Whoever schedules or appends looks for the parked only after showing it, and the parked look once more after
    /// parking: one of the two sees the other.
    fn publish_end(&mut self, channel: &Channel, appended: usize, rearm: bool) {
        if appended > 0 {
            channel.end.0.store(self.log.end, Ordering::SeqCst);
        }
        let wake = if rearm { appended.max(1) } else { appended };
        if wake == 0 {
            return;
        }
        let parked = self.groups.iter().filter(|group| group.has_parked());
        self.after.groups.extend(parked.map(|group| (group.clone(), wake)));
        let parked = self.broadcasts.iter().filter(|broadcast| broadcast.is_parked());
        self.after.broadcasts.extend(parked.cloned());
    }
}
