//! Messages that wait to be delivered, in the orders in which they are asked for.

use std::collections::{BTreeSet, HashMap};

use super::lanes::NO_LANE;

/// Messages before the group's end that failed, were given back, or are held behind their lane. Every operation costs
/// the logarithm of their number, however many wait.
#[derive(Debug, Default)]
pub(super) struct Pending {
    entries: HashMap<u64, Entry>,
    /// All that have a lane, by it: the first of each lane is the only one that may be delivered.
    lanes: BTreeSet<(u16, u64)>,
    /// Those whose time has not come.
    delayed: BTreeSet<(i64, u64)>,
    /// Those that expire.
    expiring: BTreeSet<(i64, u64)>,
    /// Those whose time has come and that are the first of their lane, if they have one.
    ready: BTreeSet<u64>,
    /// How many had a time that has come: they are looked for without anybody's word.
    ripe: usize,
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    lane: u16,
    due: Due,
    expires: i64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Due {
    AtOnce,
    At(i64),
    /// Its time has come.
    Ripe,
}

impl Pending {
    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Lets a message wait until `due`; 0 for at once, `i64::MAX` of `expires` for never. It must not wait already.
    pub(super) fn insert(&mut self, seq: u64, lane: u16, due: i64, expires: i64) {
        let due = if due > 0 { Due::At(due) } else { Due::AtOnce };
        self.entries.insert(seq, Entry { lane, due, expires });
        if let Due::At(due) = due {
            self.delayed.insert((due, seq));
        }
        if expires != i64::MAX {
            self.expiring.insert((expires, seq));
        }
        if lane != NO_LANE {
            let before = self.first_of(lane);
            self.lanes.insert((lane, seq));
            // The former first waits behind it now.
            match before {
                Some(first) if first > seq => drop(self.ready.remove(&first)),
                _ => {}
            }
        }
        self.offer(seq);
    }

    /// Takes a message out; false if it did not wait.
    pub(super) fn remove(&mut self, seq: u64) -> bool {
        let Some(entry) = self.entries.remove(&seq) else { return false };
        match entry.due {
            Due::At(due) => drop(self.delayed.remove(&(due, seq))),
            Due::Ripe => self.ripe -= 1,
            Due::AtOnce => {}
        }
        self.expiring.remove(&(entry.expires, seq));
        self.ready.remove(&seq);
        self.lanes.remove(&(entry.lane, seq));
        if let Some(next) = self.first_of(entry.lane) {
            self.offer(next);
        }
        true
    }

    /// Makes ready whose time has come. Says whether some wait whose time came, now or before.
    pub(super) fn ripen(&mut self, now: i64) -> bool {
        while let Some((due, seq)) = self.delayed.first().copied()
            && due <= now
        {
            self.delayed.pop_first();
            if let Some(entry) = self.entries.get_mut(&seq) {
                entry.due = Due::Ripe;
                self.ripe += 1;
            }
            self.offer(seq);
        }
        self.ripe > 0
    }

    /// A message that is over by now, still to be removed.
    pub(super) fn first_expired(&self, now: i64) -> Option<u64> {
        self.expiring.first().filter(|(expires, _)| *expires <= now).map(|(_, seq)| *seq)
    }

    /// The first message from `seq` on that may be delivered, and its lane.
    pub(super) fn ready_from(&self, seq: u64) -> Option<(u64, u16)> {
        let seq = *self.ready.range(seq..).next()?;
        self.entries.get(&seq).map(|entry| (seq, entry.lane))
    }

    /// The next time that something waits for.
    pub(super) fn next_due(&self) -> Option<i64> {
        self.delayed.first().map(|(due, _)| *due)
    }

    /// The first message of a lane that waits.
    pub(super) fn first_of(&self, lane: u16) -> Option<u64> {
        if lane == NO_LANE || self.lanes.is_empty() {
            return None;
        }
        self.lanes.range((lane, 0)..=(lane, u64::MAX)).next().map(|(_, seq)| *seq)
    }

    /// Marks a message as ready, if it is.
    fn offer(&mut self, seq: u64) {
        if let Some(entry) = self.entries.get(&seq)
            && !matches!(entry.due, Due::At(_))
            && (entry.lane == NO_LANE || self.first_of(entry.lane) == Some(seq))
        {
            self.ready.insert(seq);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ready(pending: &Pending) -> Vec<u64> {
        pending.ready.iter().copied().collect()
    }

    #[test]
    fn only_the_first_of_a_lane_is_ready() {
        let mut pending = Pending::default();
        for (seq, lane, due) in [(9, 1, 0), (5, 1, 100), (7, 2, 0), (8, NO_LANE, 0), (6, NO_LANE, 50)] {
            pending.insert(seq, lane, due, i64::MAX);
        }
        assert_eq!((ready(&pending), pending.next_due()), (vec![7, 8], Some(50)));
        assert!(!pending.ripen(49) && pending.ripen(50));
        assert_eq!((ready(&pending), pending.next_due()), (vec![6, 7, 8], Some(100)));
        assert!(pending.remove(5) && !pending.remove(5));
        assert_eq!((ready(&pending), pending.next_due()), (vec![6, 7, 8, 9], None));
        assert_eq!((pending.ready_from(8), pending.ready_from(10)), (Some((8, NO_LANE)), None));
        assert!(pending.ripen(50));
        pending.remove(6);
        assert!(!pending.ripen(200));
        assert_eq!((pending.len(), pending.first_of(1), pending.first_of(NO_LANE)), (3, Some(9), None));
    }

    #[test]
    fn what_expires_is_found_by_its_time() {
        let mut pending = Pending::default();
        pending.insert(1, 0, 500, 30);
        pending.insert(2, 0, 0, 20);
        assert_eq!((pending.first_expired(19), pending.first_expired(40)), (None, Some(2)));
        pending.remove(2);
        assert_eq!(pending.first_expired(40), Some(1));
        pending.remove(1);
        assert!(pending.first_expired(i64::MAX).is_none() && pending.is_empty() && pending.next_due().is_none());
    }
}
