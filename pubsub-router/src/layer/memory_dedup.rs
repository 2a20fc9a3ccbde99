//! `MemoryDedup`: what was handled, remembered in this process.

use std::{
    collections::{HashMap, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use pubsub_core::{
    Clock, EventId, GroupName, Mark, Result,
    driver::async_trait,
    store::{DedupClaim, DedupStore},
};

/// Remembers the latest ids in this process, up to a number: for duplicates that come soon after one another. Clones share
/// what they remember.
#[derive(Clone, Debug)]
pub struct MemoryDedup {
    capacity: usize,
    clock: Clock,
    table: Arc<Mutex<Table>>,
}

/// So many claims are kept, whether they are over or not.
const SWEEP: usize = 1_024;

type Id = (GroupName, EventId);

#[derive(Debug, Default)]
struct Table {
    known: HashMap<Id, Known>,
    /// Ids that are done, the oldest first.
    done: VecDeque<Id>,
    /// Beyond so many claims those that are over are forgotten.
    most_claimed: usize,
}

impl Table {
    /// Forgets claims that are over, if there are many: their handlers were cut off, and the events went elsewhere. The others
    /// are as many as are in flight.
    fn sweep(&mut self, clock: &Clock) {
        if self.known.len() - self.done.len() < self.most_claimed.max(SWEEP) {
            return;
        }
        self.known.retain(|_, known| match known {
            Known::Claimed(since, lease) => clock.elapsed(*since) < *lease,
            Known::Done => true,
        });
        self.most_claimed = 2 * (self.known.len() - self.done.len());
    }
}

#[derive(Clone, Copy, Debug)]
enum Known {
    Claimed(Mark, Duration),
    Done,
}

impl MemoryDedup {
    /// Remembers up to `capacity` ids that are done, and forgets the oldest beyond that.
    pub fn new(capacity: usize) -> Self {
        Self { capacity, clock: Clock::system(), table: Arc::default() }
    }

    /// Sets the clock that claims follow.
    #[must_use]
    pub fn clock(mut self, clock: Clock) -> Self {
        self.clock = clock;
        self
    }

    fn lock(&self) -> MutexGuard<'_, Table> {
        // No code panics while it holds this lock.
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl DedupStore for MemoryDedup {
    async fn claim(&self, group: &GroupName, id: &EventId, lease: Duration) -> Result<DedupClaim> {
        let mut table = self.lock();
        let id = (group.clone(), id.clone());
        match table.known.get(&id) {
            Some(Known::Done) => return Ok(DedupClaim::Done),
            Some(Known::Claimed(since, lease)) => {
                let left = lease.saturating_sub(self.clock.elapsed(*since));
                if !left.is_zero() {
                    return Ok(DedupClaim::Busy(left));
                }
            }
            None => {}
        }
        table.sweep(&self.clock);
        table.known.insert(id, Known::Claimed(self.clock.mark(), lease));
        Ok(DedupClaim::Granted)
    }

    async fn confirm(&self, group: &GroupName, id: &EventId) -> Result<()> {
        let mut table = self.lock();
        let id = (group.clone(), id.clone());
        if !matches!(table.known.insert(id.clone(), Known::Done), Some(Known::Done)) {
            table.done.push_back(id);
        }
        while table.done.len() > self.capacity {
            if let Some(oldest) = table.done.pop_front() {
                table.known.remove(&oldest);
            }
        }
        Ok(())
    }

    async fn release(&self, group: &GroupName, id: &EventId) -> Result<()> {
        let mut table = self.lock();
        let id = (group.clone(), id.clone());
        if matches!(table.known.get(&id), Some(Known::Claimed(..))) {
            table.known.remove(&id);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use pubsub_core::{ManualClock, Timestamp};

    use super::*;

    #[tokio::test]
    async fn a_claim_ends_and_the_oldest_are_forgotten() -> Result<()> {
        let manual = ManualClock::new(Timestamp::EPOCH);
        let store = MemoryDedup::new(2).clock(Clock::from(manual.clone()));
        let group = GroupName::parse("g")?;
        let [a, b, c] = ["a", "b", "c"].map(|id| EventId::parse(id).unwrap_or_else(|_| EventId::random()));
        let lease = Duration::from_secs(9);
        assert_eq!(store.claim(&group, &a, lease).await?, DedupClaim::Granted);
        assert_eq!(store.claim(&group, &a, lease).await?, DedupClaim::Busy(lease));
        assert_eq!(store.claim(&GroupName::parse("h")?, &a, lease).await?, DedupClaim::Granted);
        manual.advance(lease);
        assert_eq!(store.claim(&group, &a, lease).await?, DedupClaim::Granted);
        store.release(&group, &a).await?;
        for id in [&a, &b, &a, &c] {
            store.claim(&group, id, lease).await?;
            store.confirm(&group, id).await?;
        }
        assert_eq!(store.claim(&group, &a, lease).await?, DedupClaim::Granted, "the oldest is forgotten");
        assert_eq!(store.claim(&group, &b, lease).await?, DedupClaim::Done);
        assert_eq!(store.claim(&group, &c, lease).await?, DedupClaim::Done);
        Ok(())
    }

    #[tokio::test]
    async fn claims_that_nobody_ends_are_bounded() -> Result<()> {
        let manual = ManualClock::new(Timestamp::EPOCH);
        let store = MemoryDedup::new(2).clock(Clock::from(manual.clone()));
        let group = GroupName::parse("g")?;
        for _ in 0..10 * SWEEP {
            store.claim(&group, &EventId::random(), Duration::from_secs(1)).await?;
            manual.advance(Duration::from_millis(10));
        }
        let known = store.lock().known.len();
        assert!(known <= SWEEP + 100, "{known}");
        Ok(())
    }
}
