//! How much one consumer has out here.

use std::sync::{
    Arc,
    atomic::{AtomicU64, AtomicUsize, Ordering},
};

use tokio::sync::Notify;

/// How many deliveries of one consumer are out here.
#[derive(Default)]
pub(super) struct Gauge {
    count: AtomicUsize,
    /// Only when no more places than these are taken is there something to do.
    wake_at: AtomicUsize,
    /// Grows with each loss that voids all that is out.
    round: AtomicU64,
    pub(super) freed: Notify,
}

impl Gauge {
    pub(super) fn count(&self) -> usize {
        self.count.load(Ordering::SeqCst)
    }

    /// Wakes whoever waits once no more than so many places are taken.
    pub(super) fn wake_at(&self, count: usize) {
        self.wake_at.store(count, Ordering::SeqCst);
    }

    /// A place for a delivery. One that keeps its order with others is of a round.
    pub(super) fn take(self: &Arc<Self>, round: Option<u64>) -> Slot {
        self.count.fetch_add(1, Ordering::AcqRel);
        Slot(self.clone(), round)
    }

    /// The present round.
    pub(super) fn round(&self) -> u64 {
        self.round.load(Ordering::SeqCst)
    }

    /// Ends this round, unless it is over: what is lost comes again behind what is out, so that must come again, too.
    pub(super) fn lose(&self, round: u64) {
        if self.round.compare_exchange(round, round + 1, Ordering::SeqCst, Ordering::SeqCst).is_ok() {
            self.freed.notify_one();
        }
    }
}

/// The place of one delivery.
pub(super) struct Slot(Arc<Gauge>, Option<u64>);

impl Slot {
    pub(super) fn is_of(&self, gauge: &Arc<Gauge>) -> bool {
        Arc::ptr_eq(&self.0, gauge)
    }

    /// Whether its round is over.
    pub(super) fn is_void(&self) -> bool {
        self.1.is_some_and(|round| round != self.0.round())
    }

    /// The delivery is lost, and with it those of its round.
    pub(super) fn lose(&self) {
        if let Some(round) = self.1 {
            self.0.lose(round);
        }
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        let left = self.0.count.fetch_sub(1, Ordering::SeqCst) - 1;
        if left <= self.0.wake_at.load(Ordering::SeqCst) {
            self.0.freed.notify_one();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_loss_voids_its_round_once_and_nothing_else() {
        let gauge = Arc::new(Gauge::default());
        let (first, second, free) = (gauge.take(Some(0)), gauge.take(Some(0)), gauge.take(None));
        free.lose();
        assert!(!first.is_void() && gauge.round() == 0, "what keeps no order voids nothing");
        first.lose();
        second.lose();
        assert_eq!(gauge.round(), 1, "both were of one round");
        let (late, next) = (gauge.take(Some(0)), gauge.take(Some(1)));
        assert!(first.is_void() && second.is_void() && late.is_void() && !next.is_void() && !free.is_void());
    }
}
