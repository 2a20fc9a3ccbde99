//! Taking messages out of a group.

use std::{
    sync::{Arc, atomic::Ordering},
    task::Waker,
};

use pubsub_core::Message;

use super::{Group, Member, State, lanes::NO_LANE, slots::Mark};

/// What a member wants.
#[derive(Clone, Copy, Debug)]
pub(in crate::memory) struct Want {
    /// At most this many.
    pub(in crate::memory) limit: usize,
    /// The time now.
    pub(in crate::memory) now: i64,
    /// How long a lease lasts that runs out by itself.
    pub(in crate::memory) lease_ms: Option<i64>,
    /// The end of the log.
    pub(in crate::memory) end: u64,
    /// The oldest message that retention left.
    pub(in crate::memory) first: u64,
}

/// A message that a member got.
#[derive(Debug)]
pub(in crate::memory) struct Pulled {
    pub(in crate::memory) seq: u64,
    pub(in crate::memory) generation: u64,
    pub(in crate::memory) attempt: u32,
    pub(in crate::memory) first_seen: Option<i64>,
    pub(in crate::memory) message: Arc<Message>,
}

impl Group {
    /// Leases messages to `member` and gives each to `out`. Returns how many, and how many were lost to retention.
    pub(in crate::memory) fn pull(&self, member: &Member, want: Want, out: &mut dyn FnMut(Pulled)) -> (usize, u64) {
        let mut state = self.lock();
        if member.evicted.load(Ordering::Relaxed) {
            return (0, 0);
        }
        state.expire_leases(self, want.now);
        state.reap(self);
        state.skip_lost(self, want.first);
        if state.lost > 0 {
            // Told before the first event after the gap.
            return (0, std::mem::take(&mut state.lost));
        }
        let mut taken = 0;
        // Members share what there is: the first to come must not take what another one is free for.
        // Another member may have gone beyond the end that this one saw.
        let ready = want.end.saturating_sub(state.next) as usize + state.pending.len();
        let share = ready.div_ceil(state.members.len().max(1));
        let limit = want.limit.min(share.max(1));
        state.pulls += 1;
        if !state.pending.is_empty() {
            let expired = state.drop_expired(self, want.now);
            let ripe = state.pending.ripen(want.now);
            if self.dirty.swap(false, Ordering::AcqRel) | expired | ripe {
                taken = state.pull_pending(self, member, want, limit, out);
            }
        }
        while taken < limit && state.next < want.end && state.next - state.base < self.slots.len() {
            let seq = state.next;
            let Some(entry) = state.next_cursor.get(seq) else { break };
            let (message, expires) = (entry.message.clone(), entry.expires);
            state.next += 1;
            if expires <= want.now {
                self.slots.set(seq, 0, Mark::Done);
                continue;
            }
            let lane = self.lanes.as_ref().and_then(|lanes| lanes.of(&message)).unwrap_or(NO_LANE);
            if let Some(lanes) = self.lanes.as_ref().filter(|_| lane != NO_LANE) {
                state.link(seq, lane);
                // A lane that was refused once stays refused in this pull: its owner may have emptied it by now, but
                // an earlier message of it waits in `pending`.
                if state.pending.first_of(lane).is_some() || !lanes.enter(lane, member.id) {
                    self.slots.set_owner(seq, 0, lane);
                    self.slots.set(seq, 0, Mark::Waiting);
                    state.wait(self, seq, 0);
                    continue;
                }
            }
            let pulled = state.lease(self, member, want, seq, lane, message);
            out(pulled);
            taken += 1;
        }
        if taken > 0 {
            member.window.take(taken);
        }
        (taken, 0)
    }

    /// Parks a member until there is something for it. The caller looks once more at the log's end afterwards.
    /// Returns the earliest time at which something becomes ready by itself, and whether it is the only member.
    pub(in crate::memory) fn park(&self, member: &Member, waker: &Waker) -> (Option<i64>, bool) {
        let mut state = self.lock();
        if member.evicted.load(Ordering::Relaxed) {
            return (None, true); // it must not be woken in place of another
        }
        match state.parked.iter_mut().find(|(id, _)| *id == member.id) {
            Some((_, known)) => known.clone_from(waker),
            None => state.parked.push_back((member.id, waker.clone())),
        }
        self.waiting.0.store(state.parked.len(), Ordering::SeqCst);
        (state.next_due(self), state.members.len() == 1)
    }

    /// The earliest time at which a lease runs out by itself.
    pub(in crate::memory) fn next_deadline(&self) -> Option<i64> {
        self.lock().next_deadline(self)
    }

    /// Whether something beside new messages may have become ready.
    pub(in crate::memory) fn is_dirty(&self) -> bool {
        self.dirty.load(Ordering::Relaxed)
    }

    /// Whether there may be something for a member: asked after parking.
    pub(in crate::memory) fn has_more(&self, end: u64) -> bool {
        let state = self.lock();
        let room = state.next - state.base < self.slots.len();
        (state.next < end && room) || (!state.pending.is_empty() && self.dirty.load(Ordering::SeqCst))
    }

    /// Gives up messages before `first` that nobody has read, so that publishers get room.
    pub(in crate::memory) fn forget_before(&self, first: u64) {
        let mut state = self.lock();
        state.skip_lost(self, first);
        state.reap(self);
    }
}

impl State {
    fn next_due(&mut self, group: &Group) -> Option<i64> {
        self.pending.next_due().into_iter().chain(self.next_deadline(group)).min()
    }

    fn next_deadline(&mut self, group: &Group) -> Option<i64> {
        self.leases.next_deadline(|seq, generation| group.slots.is_leased(seq, generation))
    }

    fn link(&mut self, seq: u64, lane: u16) {
        self.chain.link(seq, lane, self.base);
    }

    /// Settles what waited too long. Says whether there was something.
    fn drop_expired(&mut self, group: &Group, now: i64) -> bool {
        let mut some = false;
        while let Some(seq) = self.pending.first_expired(now) {
            self.wait_over(group, seq);
            group.slots.set(seq, 0, Mark::Done);
            some = true;
        }
        some
    }

    /// Delivers what waits. Of each lane only the first may go, so a lane that is refused once stays so in this pull.
    fn pull_pending(
        &mut self,
        group: &Group,
        member: &Member,
        want: Want,
        limit: usize,
        out: &mut dyn FnMut(Pulled),
    ) -> usize {
        let (mut taken, mut from) = (0, 0);
        while let Some((seq, lane)) = self.pending.ready_from(from) {
            if taken == limit {
                // There is more: the next pull must look again.
                group.dirty.store(true, Ordering::Release);
                break;
            }
            from = seq + 1;
            let Some(message) = self.trail.look(seq).map(|entry| entry.message.clone()) else { continue };
            let lanes = group.lanes.as_ref().filter(|_| lane != NO_LANE);
            if lanes.is_some_and(|lanes| !lanes.enter(lane, member.id)) {
                continue;
            }
            self.wait_over(group, seq);
            out(self.lease(group, member, want, seq, lane, message));
            taken += 1;
        }
        taken
    }

    fn lease(
        &mut self,
        group: &Group,
        member: &Member,
        want: Want,
        seq: u64,
        lane: u16,
        message: Arc<Message>,
    ) -> Pulled {
        let generation = self.pulls;
        let history = if self.histories.is_empty() { None } else { self.histories.get(&seq) };
        let (attempt, first_seen) = history.map_or((1, None), |known| (known.attempts + 1, Some(known.first_seen)));
        group.slots.set_owner(seq, member.id, lane);
        self.chain.leased(seq, lane);
        group.slots.set(seq, generation, Mark::Leased);
        if let Some(lease_ms) = want.lease_ms {
            self.leases.begin(seq, generation, want.now.saturating_add(lease_ms));
        }
        Pulled { seq, generation, attempt, first_seen, message }
    }

    /// Counts unread messages before `first` as lost, as far as the window reaches.
    fn skip_lost(&mut self, group: &Group, first: u64) {
        while self.next < first && self.next - self.base < group.slots.len() {
            group.slots.set(self.next, 0, Mark::Done);
            self.next += 1;
            self.lost += 1;
            if self.next - self.base == group.slots.len() {
                self.reap(group);
            }
        }
        self.next_cursor.advance(self.next);
    }
}
