//! Leases that run out by themselves.

use std::collections::{BTreeMap, BTreeSet};

/// The leases that have a deadline, by message and by deadline. Acknowledging does not touch them: those that ended so
/// are forgotten when they are met, or when the group's base has passed them, so that the window bounds their number.
#[derive(Debug, Default)]
pub(super) struct Leases {
    running: BTreeMap<u64, Lease>,
    deadlines: BTreeSet<(i64, u64)>,
}

#[derive(Clone, Copy, Debug)]
struct Lease {
    generation: u64,
    deadline: i64,
}

impl Leases {
    /// Begins a lease, in place of an earlier one of the message.
    pub(super) fn begin(&mut self, seq: u64, generation: u64, deadline: i64) {
        if let Some(before) = self.running.insert(seq, Lease { generation, deadline }) {
            self.deadlines.remove(&(before.deadline, seq));
        }
        self.deadlines.insert((deadline, seq));
    }

    /// Lets a lease run until another time; nothing if it has no deadline.
    pub(super) fn extend(&mut self, seq: u64, generation: u64, deadline: i64) {
        if self.running.get(&seq).is_some_and(|lease| lease.generation == generation) {
            self.begin(seq, generation, deadline);
        }
    }

    /// Forgets a lease that ended.
    pub(super) fn end(&mut self, seq: u64) {
        if let Some(lease) = self.running.remove(&seq) {
            self.deadlines.remove(&(lease.deadline, seq));
        }
    }

    /// Forgets the leases of messages before `base`.
    pub(super) fn end_before(&mut self, base: u64) {
        while let Some((&seq, _)) = self.running.first_key_value()
            && seq < base
        {
            self.end(seq);
        }
    }

    /// Takes out the leases that are over, by message.
    pub(super) fn take_over(&mut self, now: i64) -> Vec<(u64, u64)> {
        let mut over = Vec::new();
        while let Some(&(deadline, seq)) = self.deadlines.first()
            && deadline <= now
        {
            self.deadlines.pop_first();
            over.extend(self.running.remove(&seq).map(|lease| (seq, lease.generation)));
        }
        // In a lane the first comes first: it takes the later ones back with nothing counted.
        over.sort_unstable();
        over
    }

    /// The next deadline of a lease that still holds.
    pub(super) fn next_deadline(&mut self, holds: impl Fn(u64, u64) -> bool) -> Option<i64> {
        while let Some(&(deadline, seq)) = self.deadlines.first() {
            if self.running.get(&seq).is_some_and(|lease| holds(seq, lease.generation)) {
                return Some(deadline);
            }
            self.deadlines.pop_first();
            self.running.remove(&seq);
        }
        None
    }

    pub(super) fn clear(&mut self) {
        self.running.clear();
        self.deadlines.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn leases_end_at_their_latest_deadline_and_in_order() {
        let mut leases = Leases::default();
        (0..6).for_each(|seq| leases.begin(seq, 1, 100 - seq as i64));
        leases.extend(5, 1, 300);
        leases.extend(4, 9, 300); // of another lease
        leases.begin(3, 2, 98);
        leases.end(0);
        leases.end_before(2);
        assert_eq!(leases.next_deadline(|_, _| true), Some(96));
        assert_eq!(leases.next_deadline(|seq, _| seq != 4), Some(98));
        assert_eq!(leases.take_over(97), []);
        assert_eq!(leases.take_over(100), [(2, 1), (3, 2)]);
        assert_eq!(leases.next_deadline(|_, _| true), Some(300));
        assert_eq!(leases.take_over(300), [(5, 1)]);
        assert!(leases.running.is_empty() && leases.deadlines.is_empty());
    }
}
