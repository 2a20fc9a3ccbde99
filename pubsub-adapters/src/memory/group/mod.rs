//! A consumer group on one channel: who has what, what comes again, and how far all is done.

mod chain;
mod lanes;
mod leases;
mod pending;
mod pull;
mod settle;
mod slots;
mod window;

use std::{
    collections::{BTreeMap, HashMap, VecDeque},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    },
    task::Waker,
};

use pubsub_core::{ChannelName, ChannelPattern, GroupName, NamePattern, Result, driver::SubscribeOptions};

use self::{chain::Chain, lanes::Lanes, leases::Leases, pending::Pending, slots::Slots};
use super::{
    apart::Apart,
    log::{Cursor, Trail},
};

pub(super) use pull::{Pulled, Want};
pub(super) use settle::Return;
pub(super) use window::Window;

/// A group. Acknowledging is one compare-exchange on a slot; everything else happens under the group's lock.
#[derive(Debug)]
pub(super) struct Group {
    pub(super) name: GroupName,
    slots: Slots,
    lanes: Option<Lanes>,
    state: Apart<Mutex<State>>,
    /// Everything before it is settled.
    base: AtomicU64,
    /// How many members are parked, so that publishers need not lock the group to find nobody.
    waiting: Apart<AtomicUsize>,
    /// Whether something beside new messages may have become ready.
    dirty: AtomicBool,
    /// Messages in `pending`: acknowledging one of their lane may make them ready.
    held: AtomicUsize,
    /// Whether it was deleted: then it settles nothing any more, and nobody waits for it.
    gone: AtomicBool,
}

#[derive(Debug)]
struct State {
    /// Everything before it is settled.
    base: u64,
    /// The messages from the base on.
    trail: Trail,
    /// The next message that nobody had yet.
    next: u64,
    next_cursor: Cursor,
    /// Messages before `next` that wait to be delivered: failed, given back, or held behind their lane.
    pending: Pending,
    /// The messages of each lane.
    chain: Chain,
    /// Attempt and first delivery of messages that were delivered before.
    histories: BTreeMap<u64, History>,
    /// How many pulls there were: the generation of the leases of one.
    pulls: u64,
    /// Leases that run out by themselves.
    leases: Leases,
    members: HashMap<u32, Arc<Member>>,
    next_member: u32,
    parked: VecDeque<(u32, Waker)>,
    /// Messages that retention took before they were read, not told yet.
    lost: u64,
}

/// What is known of a message that was delivered before.
#[derive(Clone, Copy, Debug)]
struct History {
    /// How many deliveries count so far.
    attempts: u32,
    first_seen: i64,
}

/// A subscription's part in the group.
#[derive(Debug)]
pub(super) struct Member {
    pub(super) id: u32,
    pub(super) window: Arc<Window>,
    /// The event names that it takes.
    names: Vec<NamePattern>,
    /// Whether it was put out of the group; written under the group's lock.
    evicted: AtomicBool,
}

impl Group {
    /// A group that begins at `base`.
    pub(super) fn new(name: GroupName, ordered: Option<bool>, window: usize, base: u64, cursor: Cursor) -> Self {
        let slots = Slots::new(window);
        let state = State {
            base,
            trail: Trail::new(cursor.clone()),
            next: base,
            next_cursor: cursor,
            pending: Pending::default(),
            chain: Chain::new(slots.len(), ordered.map_or(0, lanes::count)),
            histories: BTreeMap::new(),
            pulls: 0,
            leases: Leases::default(),
            members: HashMap::new(),
            next_member: 0,
            parked: VecDeque::new(),
            lost: 0,
        };
        Self {
            name,
            slots,
            lanes: ordered.map(Lanes::new),
            state: Apart(Mutex::new(state)),
            base: AtomicU64::new(base),
            waiting: Apart(AtomicUsize::new(0)),
            dirty: AtomicBool::new(false),
            held: AtomicUsize::new(0),
            gone: AtomicBool::new(false),
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing that runs under this lock panics: it holds no user code but `Waker::wake`, which runs after it.
        self.state.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Everything before it is settled, as far as was looked.
    pub(super) fn base(&self) -> u64 {
        self.base.load(Ordering::Acquire)
    }

    /// Looks how far everything is settled now.
    pub(super) fn reap(&self) -> u64 {
        self.lock().reap(self);
        self.base()
    }

    /// How many messages of a channel from `first` to `end` no member has in hand.
    pub(super) fn lag(&self, first: u64, end: u64) -> u64 {
        let state = self.lock();
        state.pending.len() as u64 + end.saturating_sub(state.next.max(first))
    }

    /// Whether this message is settled.
    pub(super) fn is_settled(&self, seq: u64) -> bool {
        seq < self.base() || self.gone.load(Ordering::Acquire) || self.slots.is_done(seq)
    }

    /// Ends the group, unless it has members.
    pub(super) fn end(&self) -> bool {
        let state = self.lock();
        let idle = state.members.is_empty();
        self.gone.store(idle, Ordering::Release);
        idle
    }

    /// Checks that a new member takes the same event names as those that are there.
    pub(super) fn check_names(&self, channel: &ChannelName, options: &SubscribeOptions) -> Result<()> {
        self.lock().check_names(channel, options)
    }

    /// Adds a member. Under the lock of the channel, or the group might be deleted in between.
    pub(super) fn join(
        &self,
        channel: &ChannelName,
        options: &SubscribeOptions,
        window: Arc<Window>,
    ) -> Result<Arc<Member>> {
        let mut state = self.lock();
        state.check_names(channel, options)?;
        state.next_member += 1;
        let member = Arc::new(Member {
            id: state.next_member,
            window,
            names: options.names.clone(),
            evicted: AtomicBool::new(false),
        });
        state.members.insert(member.id, member.clone());
        Ok(member)
    }

    /// Removes a member. What it has in its hands stays leased until it is settled or dropped.
    pub(super) fn leave(&self, member: &Member) {
        let mut state = self.lock();
        state.members.remove(&member.id);
        state.parked.retain(|(id, _)| *id != member.id);
        self.waiting.0.store(state.parked.len(), Ordering::SeqCst);
        drop(state);
        // It may have been woken for work that it will not take.
        self.wake(1);
    }

    /// Puts a member out, and takes back all that it has in its hands, with nothing counted: late settlements find their
    /// leases gone.
    pub(super) fn evict(&self, member: &Member) {
        let mut state = self.lock();
        member.evicted.store(true, Ordering::Relaxed);
        for seq in state.base..state.next {
            if let Some(generation) = self.slots.lease_of(seq)
                && self.slots.owner(seq).0 == member.id
            {
                state.take_back(self, seq, generation, Return::Unused);
            }
        }
        drop(state);
        self.dirty.store(true, Ordering::SeqCst);
        self.leave(member);
        self.wake_all();
    }

    /// Whether a member is parked.
    pub(super) fn has_parked(&self) -> bool {
        self.waiting.0.load(Ordering::SeqCst) > 0
    }

    /// Wakes up to `count` parked members.
    pub(super) fn wake(&self, count: usize) {
        if !self.has_parked() {
            return;
        }
        for _ in 0..count {
            let woken = {
                let mut state = self.lock();
                let woken = state.parked.pop_front();
                self.waiting.0.store(state.parked.len(), Ordering::SeqCst);
                woken
            };
            match woken {
                Some((_, waker)) => waker.wake(),
                None => return,
            }
        }
    }

    /// Wakes everyone.
    pub(super) fn wake_all(&self) {
        self.wake(usize::MAX);
    }
}

impl State {
    fn check_names(&self, channel: &ChannelName, options: &SubscribeOptions) -> Result<()> {
        let pattern = ChannelPattern::Exact(channel.clone());
        self.members.values().try_for_each(|member| options.check_names(&pattern, &member.names))
    }

    /// Lets a message wait. Whoever empties its lane afterwards sees that somebody waits, or is seen here.
    fn wait(&mut self, group: &Group, seq: u64, due: i64) {
        let lane = group.slots.owner(seq).1;
        let expires = self.trail.look(seq).map_or(i64::MAX, |entry| entry.expires);
        self.pending.insert(seq, lane, due, expires);
        group.held.store(self.pending.len(), Ordering::SeqCst);
        if group.lanes.as_ref().is_some_and(|lanes| lanes.is_empty(lane)) {
            group.dirty.store(true, Ordering::SeqCst);
        }
    }

    /// The message waits no longer.
    fn wait_over(&mut self, group: &Group, seq: u64) {
        if self.pending.remove(seq) {
            group.held.store(self.pending.len(), Ordering::SeqCst);
        }
    }

    /// Moves the base over everything that is settled.
    fn reap(&mut self, group: &Group) {
        let before = self.base;
        while self.base < self.next && group.slots.is_done(self.base) {
            self.base += 1;
        }
        if self.base == before {
            return;
        }
        self.trail.advance(self.base);
        while self.histories.first_key_value().is_some_and(|(seq, _)| *seq < self.base) {
            self.histories.pop_first();
        }
        self.leases.end_before(self.base);
        group.base.store(self.base, Ordering::Release);
    }
}
