//! The rules of the hold, without locks, time or wakers of their own.
//!
//! In each key, what is out lies before what waits. The first that waits is the key's *leader*; when its time has
//! come it is handed out, and the one behind it leads.

use std::{collections::BTreeSet, mem, task::Waker, time::Duration};

use super::{
    settlers::Settlers,
    slots::{Entry, Index, Lane, Slots, State},
};
use crate::{Delivery, Mark, Message, Timestamp, driver::AckToken};

pub(super) struct Table {
    slots: Slots,
    /// Of the source inside.
    pub(super) settlers: Settlers,
    /// Leaders whose time has come, by order of arrival.
    ready: BTreeSet<(u64, Index)>,
    /// What waits for a time.
    due: BTreeSet<(Duration, u64, Index)>,
    window: usize,
    arrivals: u64,
    leases: u64,
    waiting: usize,
    /// Settlements that came too late.
    pub(super) stale: u64,
    /// Nobody polls any more: what fails goes back to the source.
    pub(super) closed: bool,
    /// Whether events from the source wait for being taken in.
    pub(super) pulling: bool,
    /// Keys that were given back since: what waits of them lies behind, and must go back, too.
    given_back: Vec<Lane>,
    /// Of the poll that found nothing to do.
    pub(super) waker: Option<Waker>,
}

impl Table {
    pub(super) fn new(window: usize, total: bool) -> Self {
        Self {
            slots: Slots::new(total),
            settlers: Settlers::default(),
            ready: BTreeSet::new(),
            due: BTreeSet::new(),
            window: window.clamp(1, Index::MAX as usize - 1),
            arrivals: 0,
            leases: 0,
            waiting: 0,
            stale: 0,
            closed: false,
            pulling: false,
            given_back: Vec::new(),
            waker: None,
        }
    }

    /// What an event keeps its order with.
    pub(super) fn lane_of(&self, message: &Message) -> Option<Lane> {
        self.slots.lane_of(message)
    }

    pub(super) fn is_full(&self) -> bool {
        self.slots.len() >= self.window
    }

    pub(super) fn len(&self) -> usize {
        self.slots.len()
    }

    /// How many events are in the process rather than out.
    pub(super) fn waiting(&self) -> usize {
        self.waiting
    }

    /// Since when the oldest event is unsettled.
    pub(super) fn oldest(&self) -> Option<Mark> {
        self.slots.first().and_then(|index| self.slots.get(index)).map(|entry| entry.since)
    }

    pub(super) fn entry(&self, index: Index) -> Option<&Entry> {
        self.slots.get(index)
    }

    /// The event that this token's lease still holds for.
    pub(super) fn find(&self, token: AckToken) -> Option<Index> {
        let index = Index::try_from(token.index).ok()?;
        (self.slots.get(index)?.state == State::Out(token.generation)).then_some(index)
    }

    /// Whether the source inside took the event back.
    pub(super) fn is_lost(&self, index: Index) -> bool {
        self.slots.get(index).is_some_and(|entry| !entry.ack.is_live())
    }

    /// Takes in an event from the source, and hands it out under a lease unless it has to wait.
    pub(super) fn arrive(&mut self, delivery: Delivery, since: Mark, hand_out: bool) -> Option<AckToken> {
        self.arrivals += 1;
        if let Some(settler) = delivery.ack.settler() {
            self.settlers.met(settler);
        }
        let index = self.slots.push(Entry::new(self.arrivals, delivery, since));
        self.waiting += 1;
        if hand_out && self.leads(index) {
            return Some(self.lease(index));
        }
        self.mark_ready(index);
        None
    }

    /// Takes out a key's events if the source took all of them back: it will bring them again, in order, and the old
    /// ones must not stand before them.
    #[must_use]
    pub(super) fn forget_lost(&mut self, key: Option<&Lane>) -> Vec<Entry> {
        let Some(first) = self.slots.first_of_key(key) else { return Vec::new() };
        let mut next = Some(first);
        while let Some(index) = next {
            if !self.is_lost(index) {
                return Vec::new();
            }
            next = self.slots.after_in_key(index);
        }
        self.tail(first)
    }

    /// The next event to hand out; the oldest one first.
    pub(super) fn next_ready(&self) -> Option<Index> {
        self.ready.first().map(|(_, index)| *index)
    }

    /// The next time that something waits for.
    pub(super) fn next_due(&self) -> Option<Duration> {
        self.due.first().map(|(due, ..)| *due)
    }

    /// Makes ready whose time has come.
    pub(super) fn ripen(&mut self, now: Duration) {
        while let Some((due, _, index)) = self.due.first().copied()
            && due <= now
        {
            self.set(index, State::Waiting(None));
            self.mark_ready(index);
        }
    }

    /// Hands an event out under a new lease.
    pub(super) fn lease(&mut self, index: Index) -> AckToken {
        self.leases += 1;
        self.set(index, State::Out(self.leases));
        if let Some(next) = self.slots.after_in_key(index) {
            self.mark_ready(next);
        }
        AckToken { index: u64::from(index), generation: self.leases }
    }

    /// Keeps an event that was out, until `due`, and takes back all later ones of its key.
    pub(super) fn hold(&mut self, index: Index, due: Option<Duration>, failed: Option<Timestamp>) {
        if let (Some(entry), Some(now)) = (self.slots.get_mut(index), failed) {
            entry.attempt = entry.attempt.saturating_add(1);
            entry.first_seen.get_or_insert(now);
        }
        self.set(index, State::Waiting(due));
        self.mark_ready(index);
        let mut next = self.slots.after_in_key(index);
        while let Some(later) = next {
            match self.slots.get(later).map(|entry| (entry.state, entry.order)) {
                Some((State::Out(_), _)) => self.set(later, State::Waiting(None)),
                // The former leader. All behind it wait already.
                Some((State::Waiting(_), order)) => {
                    self.ready.remove(&(order, later));
                    return;
                }
                None => return,
            }
            next = self.slots.after_in_key(later);
        }
    }

    /// Takes out a settled event.
    pub(super) fn remove(&mut self, index: Index) -> Option<Entry> {
        let entry = self.slots.remove(index)?;
        self.unmark(index, entry.order, entry.state);
        Some(entry)
    }

    /// Takes out an event and all later ones of its key.
    #[must_use]
    pub(super) fn give_back(&mut self, index: Index) -> Vec<Entry> {
        let key = self.slots.get(index).filter(|_| self.pulling).and_then(|entry| self.lane_of(&entry.message));
        self.given_back.extend(key.filter(|key| !self.given_back.contains(key)));
        self.tail(index)
    }

    fn tail(&mut self, index: Index) -> Vec<Entry> {
        let mut gone = Vec::new();
        let mut next = Some(index);
        while let Some(index) = next {
            next = self.slots.after_in_key(index);
            gone.extend(self.remove(index));
        }
        gone
    }

    /// Whether a key was given back while events waited for being taken in.
    pub(super) fn was_given_back(&self, key: Option<&Lane>) -> bool {
        key.is_some_and(|key| self.given_back.contains(key))
    }

    /// Ends the memory of what was given back, once all that waited is taken in.
    pub(super) fn pulled(&mut self) {
        self.pulling = false;
        self.given_back.clear();
    }

    /// Takes out everything, or everything that waits.
    #[must_use]
    pub(super) fn give_back_all(&mut self, also_out: bool) -> Vec<Entry> {
        let mut gone = Vec::new();
        let mut next = self.slots.first();
        while let Some(index) = next {
            next = self.slots.next(index);
            let waits = self.slots.get(index).is_some_and(|entry| matches!(entry.state, State::Waiting(_)));
            if waits || also_out {
                gone.extend(self.remove(index));
            }
        }
        gone
    }

    fn leads(&self, index: Index) -> bool {
        let before = self.slots.before_in_key(index).and_then(|before| self.slots.get(before));
        before.is_none_or(|before| matches!(before.state, State::Out(_)))
    }

    fn mark_ready(&mut self, index: Index) {
        if let Some(Entry { state: State::Waiting(None), order, .. }) = self.slots.get(index)
            && self.leads(index)
        {
            self.ready.insert((*order, index));
        }
    }

    fn set(&mut self, index: Index, state: State) {
        let Some(entry) = self.slots.get_mut(index) else { return };
        let (order, before) = (entry.order, mem::replace(&mut entry.state, state));
        self.unmark(index, order, before);
        if let State::Waiting(due) = state {
            self.waiting += 1;
            self.due.extend(due.map(|due| (due, order, index)));
        }
    }

    fn unmark(&mut self, index: Index, order: u64, state: State) {
        match state {
            State::Out(_) => return,
            State::Waiting(Some(due)) => self.due.remove(&(due, order, index)),
            State::Waiting(None) => self.ready.remove(&(order, index)),
        };
        self.waiting -= 1;
    }
}
