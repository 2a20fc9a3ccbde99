//! Settling, and what it sets free.

use std::sync::atomic::Ordering;

use pubsub_core::driver::RetryPolicy;

use super::{Group, History, State, lanes::NO_LANE, pending::Pending, slots::Mark};
use crate::memory::log::{Cursor, Trail};

/// How a delivery comes back.
#[derive(Clone, Copy, Debug)]
pub(in crate::memory) enum Return {
    /// It failed: after this time, with one more attempt counted.
    Failed { now: i64, due: i64 },
    /// Nobody decided: after the backoff for its attempt, which is counted.
    Dropped { now: i64, retry: RetryPolicy },
    /// It was not worked on: at once, with nothing counted.
    Unused,
}

impl Group {
    /// Settles for good. False if the lease is gone.
    pub(in crate::memory) fn done(&self, seq: u64, generation: u64) -> bool {
        let (_, lane) = self.slots.owner(seq);
        if !self.slots.end_lease(seq, generation, Mark::Done) {
            return false;
        }
        self.leave_lane(lane);
        true
    }

    /// Takes a delivery back. On ordered channels, every later delivery of its lane comes back with it, or it would be
    /// overtaken. Returns the members whose deliveries were taken, or `None` if the lease is gone.
    pub(in crate::memory) fn give_back(&self, seq: u64, generation: u64, how: Return) -> bool {
        let mut state = self.lock();
        let given = state.take_back(self, seq, generation, how);
        drop(state);
        if given {
            self.dirty.store(true, Ordering::SeqCst);
            self.wake(1);
        }
        given
    }

    /// Whether this very lease holds.
    pub(in crate::memory) fn is_leased(&self, seq: u64, generation: u64) -> bool {
        self.slots.is_leased(seq, generation)
    }

    /// Takes back what was kept longer than its lease.
    pub(in crate::memory) fn expire(&self, now: i64) {
        let mut state = self.lock();
        let before = state.pending.len();
        state.expire_leases(self, now);
        let some = state.pending.len() > before;
        drop(state);
        if some {
            self.wake(1);
        }
    }

    /// Lets a lease that runs out by itself run until `deadline`. False if it is gone.
    pub(in crate::memory) fn extend(&self, seq: u64, generation: u64, deadline: i64) -> bool {
        let mut state = self.lock();
        if !self.slots.is_leased(seq, generation) {
            return false;
        }
        state.leases.extend(seq, generation, deadline);
        true
    }

    /// Moves the whole group to `base`: what is leased or waits is forgotten, attempts begin anew.
    pub(in crate::memory) fn seek(&self, base: u64, cursor: Cursor) {
        let mut state = self.lock();
        for seq in state.base..state.next {
            if let Some(generation) = self.slots.lease_of(seq) {
                state.end_lease(self, seq, generation, Mark::Waiting);
            }
        }
        state.pending = Pending::default();
        state.chain.clear();
        state.histories.clear();
        state.leases.clear();
        state.lost = 0;
        (state.base, state.next) = (base, base);
        (state.trail, state.next_cursor) = (Trail::new(cursor.clone()), cursor);
        self.held.store(0, Ordering::Release);
        self.base.store(base, Ordering::Release);
        drop(state);
        self.wake_all();
    }

    /// A message left its lane: those held behind it may be ready.
    fn leave_lane(&self, lane: u16) {
        let Some(lanes) = self.lanes.as_ref().filter(|_| lane != NO_LANE) else { return };
        if lanes.exit(lane) && self.held.load(Ordering::SeqCst) > 0 {
            self.dirty.store(true, Ordering::SeqCst);
            self.wake(1);
        }
    }
}

impl State {
    pub(super) fn take_back(&mut self, group: &Group, seq: u64, generation: u64, how: Return) -> bool {
        let (_, lane) = group.slots.owner(seq);
        if !self.end_lease(group, seq, generation, Mark::Waiting) {
            return false;
        }
        let due = match how {
            Return::Failed { now, due } => {
                self.count_attempt(seq, now);
                due
            }
            Return::Dropped { now, retry } => {
                let attempt = self.count_attempt(seq, now);
                let delay = self.trail.look(seq).map(|entry| retry.delay(entry.message.id(), attempt));
                let millis = delay.map_or(0, |delay| i64::try_from(delay.as_millis()).unwrap_or(i64::MAX));
                if millis == 0 { 0 } else { now.saturating_add(millis) }
            }
            Return::Unused => 0,
        };
        self.wait(group, seq, due);
        let end = self.chain.take_back(seq, lane);
        let mut next = self.chain.after(seq, end);
        while let Some(later) = next {
            if let Some(generation) = group.slots.lease_of(later)
                && self.end_lease(group, later, generation, Mark::Waiting)
            {
                self.wait(group, later, 0);
            }
            next = self.chain.after(later, end);
        }
        true
    }

    /// Counts a delivery that failed, and returns how many there were.
    fn count_attempt(&mut self, seq: u64, now: i64) -> u32 {
        let history = self.histories.entry(seq).or_insert(History { attempts: 0, first_seen: now });
        history.attempts = history.attempts.saturating_add(1);
        history.attempts
    }

    /// Ends a lease under the lock, and gives its member room.
    fn end_lease(&mut self, group: &Group, seq: u64, generation: u64, mark: Mark) -> bool {
        let (member, lane) = group.slots.owner(seq);
        if !group.slots.end_lease(seq, generation, mark) {
            return false;
        }
        self.leases.end(seq);
        if let Some(lanes) = group.lanes.as_ref().filter(|_| lane != NO_LANE) {
            lanes.exit(lane);
        }
        if let Some(member) = self.members.get(&member) {
            member.window.release();
        }
        true
    }

    /// Takes back what was kept longer than its lease.
    pub(super) fn expire_leases(&mut self, group: &Group, now: i64) {
        for (seq, generation) in self.leases.take_over(now) {
            if self.take_back(group, seq, generation, Return::Failed { now, due: 0 }) {
                group.dirty.store(true, Ordering::SeqCst);
            }
        }
    }
}
