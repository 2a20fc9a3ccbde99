//! How much one consumer has out here.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use tokio::sync::Notify;

/// How many deliveries of one consumer are out here.
#[derive(Default)]
pub(super) struct Gauge {
    count: AtomicUsize,
    /// Only when no more places than these are taken is there something to do.
    wake_at: AtomicUsize,
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

    pub(super) fn take(self: &Arc<Self>) -> Slot {
        self.count.fetch_add(1, Ordering::AcqRel);
        Slot(self.clone())
    }
}

/// The place of one delivery.
pub(super) struct Slot(Arc<Gauge>);

impl Slot {
    pub(super) fn is_of(&self, gauge: &Arc<Gauge>) -> bool {
        Arc::ptr_eq(&self.0, gauge)
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
