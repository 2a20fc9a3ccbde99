//! The ids of recent events, so that a second publish of one is noticed.

use std::collections::{HashMap, VecDeque};

use pubsub_core::EventId;

/// A window of ids, bounded in time and number.
#[derive(Debug)]
pub(super) struct Dedup {
    window_ms: i64,
    /// The most ids it holds. One more is refused: forgetting an id within its window would let its event in twice.
    capacity: usize,
    known: HashMap<EventId, Option<u64>>,
    order: VecDeque<(i64, EventId)>,
}

impl Dedup {
    pub(super) fn new(window_ms: i64, capacity: usize) -> Self {
        Self { window_ms, capacity, known: HashMap::new(), order: VecDeque::new() }
    }

    /// The sequence number of the first event with this id, if it is within the window; inside, `None` while that event
    /// waits for its time.
    pub(super) fn find(&mut self, id: &EventId, now: i64) -> Option<Option<u64>> {
        self.forget(now);
        self.known.get(id).copied()
    }

    /// How many more ids it has a place for.
    pub(super) fn free(&mut self, now: i64) -> usize {
        self.forget(now);
        self.capacity.saturating_sub(self.order.len())
    }

    /// Forgets the ids whose window is over.
    fn forget(&mut self, now: i64) {
        while let Some((arrival, _)) = self.order.front() {
            if now.saturating_sub(*arrival) < self.window_ms {
                break;
            }
            if let Some((_, id)) = self.order.pop_front() {
                self.known.remove(&id);
            }
        }
    }

    /// Remembers an event.
    pub(super) fn insert(&mut self, id: EventId, seq: Option<u64>, now: i64) {
        self.known.insert(id.clone(), seq);
        self.order.push_back((now, id));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_known_for_the_whole_window_also_when_it_is_full() {
        let mut dedup = Dedup::new(100, 2);
        let ids: Vec<_> = (0..2).map(|_| EventId::random()).collect();
        for (seq, id) in ids.iter().enumerate() {
            assert!(dedup.free(99) > 0);
            dedup.insert(id.clone(), Some(seq as u64), 10 * seq as i64);
        }
        assert_eq!(dedup.free(99), 0);
        assert_eq!((dedup.find(&ids[0], 99), dedup.find(&ids[1], 99)), (Some(Some(0)), Some(Some(1))));
        assert_eq!((dedup.find(&ids[0], 100), dedup.find(&ids[1], 100)), (None, Some(Some(1))));
        assert_eq!(dedup.free(100), 1);
        assert_eq!(dedup.known.len(), 1);
    }
}
