//! Events that came to a member which had left, and go back to the server.
//!
//! A request for events cannot be taken back; what still comes in answer to it is given back. Retention may remove such
//! an event before it comes again, and the server says nothing of that. So members of this process look for them.

use std::{
    collections::{BTreeSet, HashMap},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tokio::time::{Instant, sleep};

/// After so long an event has come again to somebody else, or will.
const KEPT: Duration = Duration::from_secs(10);
const MOST: usize = 65_536;
/// How long a member may take to leave.
const LEAVE: Duration = Duration::from_millis(1_200);

/// The events that have gone back, by consumer, with when one last did.
type ByConsumer = HashMap<Arc<str>, (Instant, BTreeSet<u64>)>;

/// The events that have gone back.
#[derive(Debug, Default)]
pub(super) struct Orphans(Mutex<ByConsumer>, Mutex<Vec<Arc<str>>>);

/// A member that waits for the last events that it has asked for.
pub(super) struct Leaving<'a>(&'a Orphans, Arc<str>);

impl Drop for Leaving<'_> {
    fn drop(&mut self) {
        let mut leaving = self.0.1.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(index) = leaving.iter().position(|consumer| *consumer == self.1) {
            leaving.swap_remove(index);
        }
    }
}

impl Orphans {
    /// Begins to note the events of a member that leaves.
    pub(super) fn leave(&self, consumer: &Arc<str>) -> Leaving<'_> {
        self.1.lock().unwrap_or_else(PoisonError::into_inner).push(consumer.clone());
        Leaving(self, consumer.clone())
    }

    /// Waits until nobody leaves this consumer, as long as that may take.
    pub(super) async fn have_left(&self, consumer: &Arc<str>) {
        let end = Instant::now() + LEAVE;
        while Instant::now() < end && self.1.lock().unwrap_or_else(PoisonError::into_inner).contains(consumer) {
            sleep(Duration::from_millis(5)).await;
        }
    }

    pub(super) fn note(&self, consumer: &Arc<str>, sequence: u64) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (since, events) = all.entry(consumer.clone()).or_insert_with(|| (Instant::now(), BTreeSet::new()));
        *since = Instant::now();
        if events.len() < MOST {
            events.insert(sequence);
        }
    }

    /// The event has come again.
    pub(super) fn came(&self, consumer: &Arc<str>, sequence: u64) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((since, events)) = all.get_mut(consumer) {
            events.remove(&sequence);
            if events.is_empty() || since.elapsed() > KEPT {
                all.remove(consumer);
            }
        }
    }

    /// Whether events of a consumer are looked for.
    pub(super) fn any(&self, consumer: &Arc<str>) -> bool {
        let all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.get(consumer).is_some_and(|(since, _)| since.elapsed() <= KEPT)
    }

    /// How many of them are gone from a stream that begins with this event. They are told of once.
    pub(super) fn lost(&self, consumer: &Arc<str>, first: u64) -> u64 {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let Some((_, events)) = all.get_mut(consumer) else { return 0 };
        let there = events.split_off(&first);
        let lost = std::mem::replace(events, there).len();
        lost as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_is_gone_is_counted_once_and_what_came_is_not() {
        let (orphans, consumer) = (Orphans::default(), Arc::from("c"));
        (1..=5).for_each(|sequence| orphans.note(&consumer, sequence));
        orphans.came(&consumer, 2);
        assert!(orphans.any(&consumer) && !orphans.any(&Arc::from("d")));
        assert_eq!((orphans.lost(&consumer, 4), orphans.lost(&consumer, 4)), (2, 0));
        (4..=5).for_each(|sequence| orphans.came(&consumer, sequence));
        assert!(!orphans.any(&consumer));
    }
}
