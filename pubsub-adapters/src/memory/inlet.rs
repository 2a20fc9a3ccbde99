//! What the bus tells a subscription beside events: new channels, and the end of its adapter.

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    task::Waker,
};

use super::channel::Channel;

/// Where new channels and the end of the adapter are announced to a subscription.
#[derive(Debug, Default)]
pub(super) struct Inlet {
    offered: Mutex<Vec<Arc<Channel>>>,
    has_offers: AtomicBool,
    ended: AtomicBool,
    waker: Mutex<Option<Waker>>,
}

impl Inlet {
    pub(super) fn offer(&self, channel: Arc<Channel>) {
        self.offered.lock().unwrap_or_else(PoisonError::into_inner).push(channel);
        self.has_offers.store(true, Ordering::SeqCst);
        self.wake();
    }

    pub(super) fn has_offers(&self) -> bool {
        self.has_offers.load(Ordering::SeqCst)
    }

    /// The adapter is closed: the subscription takes part in nothing more.
    pub(super) fn end(&self) {
        self.ended.store(true, Ordering::SeqCst);
        self.wake();
    }

    /// Whether the adapter was closed.
    pub(super) fn is_ended(&self) -> bool {
        self.ended.load(Ordering::SeqCst)
    }

    pub(super) fn take(&self) -> Vec<Arc<Channel>> {
        self.has_offers.store(false, Ordering::SeqCst);
        std::mem::take(&mut *self.offered.lock().unwrap_or_else(PoisonError::into_inner))
    }

    pub(super) fn park(&self, waker: &Waker) {
        let mut known = self.waker.lock().unwrap_or_else(PoisonError::into_inner);
        if !known.as_ref().is_some_and(|known| known.will_wake(waker)) {
            *known = Some(waker.clone());
        }
    }

    fn wake(&self) {
        let waker = self.waker.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}
