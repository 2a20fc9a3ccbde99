//! How many deliveries a subscription may have unsettled, over all its channels.

use std::{
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    task::Waker,
};

/// Counts unsettled deliveries, and wakes the subscription when it was full.
#[derive(Debug)]
pub(in crate::memory) struct Window {
    max: usize,
    in_flight: AtomicUsize,
    blocked: AtomicBool,
    waker: Mutex<Option<Waker>>,
}

impl Window {
    pub(in crate::memory) fn new(max: usize) -> Self {
        Self { max, in_flight: AtomicUsize::new(0), blocked: AtomicBool::new(false), waker: Mutex::new(None) }
    }

    /// How many more may be taken.
    pub(in crate::memory) fn room(&self) -> usize {
        self.max.saturating_sub(self.in_flight.load(Ordering::SeqCst))
    }

    pub(super) fn take(&self, count: usize) {
        self.in_flight.fetch_add(count, Ordering::SeqCst);
    }

    /// One delivery was settled or taken back.
    pub(in crate::memory) fn release(&self) {
        self.in_flight.fetch_sub(1, Ordering::SeqCst);
        if self.blocked.load(Ordering::SeqCst) && self.blocked.swap(false, Ordering::SeqCst) {
            let waker = self.waker.lock().unwrap_or_else(PoisonError::into_inner).take();
            if let Some(waker) = waker {
                waker.wake();
            }
        }
    }

    /// Waits for room. The caller asks for room once more afterwards.
    pub(in crate::memory) fn park(&self, waker: &Waker) {
        *self.waker.lock().unwrap_or_else(PoisonError::into_inner) = Some(waker.clone());
        self.blocked.store(true, Ordering::SeqCst);
    }
}
