//! The ids of recent events, so that a second publish of one is noticed.

use std::collections::{HashMap, VecDeque};

use pubsub_core::EventId;

/// A window of ids, bounded in time and number.
#[derive(Debug)]
pub(super) struct Dedup {
    window_ms: i64,
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
        while let Some((arrival, _)) = self.order.front() {
            if now - arrival < self.window_ms && self.order.len() <= self.capacity {
                break;
            }
            if let Some((_, id)) = self.order.pop_front() {
                self.known.remove(&id);
            }
        }
        self.known.get(id).copied()
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
    fn ids_are_known_for_the_window_and_within_the_bound() {
        let mut dedup = Dedup::new(100, 2);
        let ids: Vec<_> = (0..4).map(|_| EventId::random()).collect();
        dedup.insert(ids[0].clone(), Some(7), 0);
        assert_eq!(dedup.find(&ids[0], 99), Some(Some(7)));
        assert_eq!(dedup.find(&ids[0], 100), None);
        for (seq, id) in ids.iter().enumerate() {
            dedup.insert(id.clone(), Some(seq as u64), 200);
        }
        assert_eq!(dedup.find(&ids[0], 201), None);
        assert_eq!(dedup.find(&ids[3], 201), Some(Some(3)));
        assert_eq!(dedup.known.len(), 2);
    }
}
