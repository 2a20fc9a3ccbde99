//! Taking messages out of a group.

use std::{
    sync::{Arc, atomic::Ordering},
    task::Waker,
};

use pubsub_core::Message;

use super::{Group, Lease, Member, State, slots::Mark};

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
        state.leases += 1;
        let mut refused = Vec::new();
        if !state.pending.is_empty() && self.dirty.swap(false, Ordering::AcqRel) | state.is_due(want.now) {
            taken = state.pull_pending(self, member, want, limit, &mut refused, out);
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
            let lane = self.lanes.as_ref().and_then(|lanes| lanes.of(&message));
            if let (Some(lanes), Some(lane)) = (&self.lanes, lane) {
                // A lane that was refused once stays refused in this pull: its owner may have emptied it by now, but
                // an earlier message of it waits in `pending`.
                if state.lane_waits(lane, &refused) || !lanes.enter(lane, member.id) {
                    refused.push(lane);
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
        match state.parked.iter_mut().find(|(id, _)| *id == member.id) {
            Some((_, known)) => known.clone_from(waker),
            None => state.parked.push_back((member.id, waker.clone())),
        }
        self.waiting.0.store(state.parked.len(), Ordering::SeqCst);
        (state.next_due(), state.members.len() == 1)
    }

    /// The earliest time at which something becomes ready by itself.
    pub(in crate::memory) fn next_due(&self) -> Option<i64> {
        self.lock().next_due()
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
    fn next_due(&self) -> Option<i64> {
        let delayed = self.pending.values().map(|pending| pending.due).filter(|due| *due > 0).min();
        let expiring = self.expiring.iter().map(|lease| lease.deadline).min();
        delayed.into_iter().chain(expiring).min()
    }

    fn is_due(&self, now: i64) -> bool {
        self.pending.values().any(|pending| pending.due > 0 && pending.due <= now)
    }

    /// Whether an earlier message of the lane waits.
    fn lane_waits(&self, lane: u16, refused: &[u16]) -> bool {
        refused.contains(&lane) || self.pending_in_lane.get(usize::from(lane)).is_some_and(|count| *count > 0)
    }

    fn pull_pending(
        &mut self,
        group: &Group,
        member: &Member,
        want: Want,
        limit: usize,
        refused: &mut Vec<u16>,
        out: &mut dyn FnMut(Pulled),
    ) -> usize {
        let mut ready = Vec::new();
        let waiting: Vec<_> = self.pending.iter().map(|(seq, pending)| (*seq, *pending)).collect();
        for (seq, pending) in waiting {
            if ready.len() == limit {
                // There is more: the next pull must look again.
                group.dirty.store(true, Ordering::Release);
                break;
            }
            let Some(entry) = self.base_cursor.look(seq) else { continue };
            if entry.expires <= want.now {
                self.wait_over(group, seq);
                group.slots.set(seq, 0, Mark::Done);
                continue;
            }
            let message = entry.message.clone();
            let lane = group.lanes.as_ref().and_then(|lanes| lanes.of(&message));
            let due = pending.due <= want.now;
            if let (Some(lanes), Some(lane)) = (&group.lanes, lane) {
                if refused.contains(&lane) || !due || !lanes.enter(lane, member.id) {
                    refused.push(lane);
                    continue;
                }
            } else if !due {
                continue;
            }
            ready.push((seq, lane, message));
        }
        let taken = ready.len();
        for (seq, lane, message) in ready {
            self.wait_over(group, seq);
            let pulled = self.lease(group, member, want, seq, lane, message);
            out(pulled);
        }
        taken
    }

    fn lease(
        &mut self,
        group: &Group,
        member: &Member,
        want: Want,
        seq: u64,
        lane: Option<u16>,
        message: Arc<Message>,
    ) -> Pulled {
        let generation = self.leases;
        let history = if self.histories.is_empty() { None } else { self.histories.get(&seq) };
        let (attempt, first_seen) = history.map_or((1, None), |known| (known.attempts + 1, Some(known.first_seen)));
        group.slots.set_owner(seq, member.id, lane.unwrap_or(u16::MAX));
        group.slots.set(seq, generation, Mark::Leased);
        if let Some(lease_ms) = want.lease_ms {
            self.expiring.push_back(Lease { seq, generation, deadline: want.now.saturating_add(lease_ms) });
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
