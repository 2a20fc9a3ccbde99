//! A broadcast reader: its own cursor, and what happens when it is slow.

use std::{
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    task::Waker,
};

use pubsub_core::driver::SlowConsumer;

use super::log::Cursor;

/// The part of a broadcast subscription that publishers see.
#[derive(Debug)]
pub(super) struct Broadcast {
    /// The next message it reads.
    pub(super) cursor: AtomicU64,
    pub(super) slow: SlowConsumer,
    /// How far it may lag behind.
    pub(super) buffer: u64,
    /// Its place in the log. Given up when retention takes it, or a stalled reader would keep every segment since.
    place: Mutex<Option<Cursor>>,
    waiting: AtomicBool,
    waker: Mutex<Option<Waker>>,
}

impl Broadcast {
    pub(super) fn new(cursor: u64, slow: SlowConsumer, buffer: u64) -> Self {
        Self {
            cursor: AtomicU64::new(cursor),
            slow,
            buffer,
            place: Mutex::new(None),
            waiting: AtomicBool::new(false),
            waker: Mutex::new(None),
        }
    }

    /// Its place in the log; none before the first read, and after retention has taken it. Held for an instant only:
    /// the channel locks it too, under its own lock.
    pub(super) fn place(&self) -> MutexGuard<'_, Option<Cursor>> {
        self.place.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Gives up its place if that lies before `first`.
    pub(super) fn give_up_before(&self, first: u64) {
        if self.cursor.load(Ordering::Acquire) < first {
            *self.place() = None;
        }
    }

    /// Up to where publishers may write, if this reader holds them back.
    pub(super) fn holds_until(&self, capacity: u64) -> Option<u64> {
        let room = self.buffer.min(capacity);
        (self.slow == SlowConsumer::Block).then(|| self.cursor.load(Ordering::Acquire) + room)
    }

    /// The oldest message that is kept for this reader on a channel without history.
    pub(super) fn needs_from(&self, end: u64, capacity: u64) -> u64 {
        self.cursor.load(Ordering::Acquire).max(end.saturating_sub(self.buffer.min(capacity)))
    }

    /// Remembers whom to wake. The caller looks once more at the log's end afterwards.
    pub(super) fn park(&self, waker: &Waker) {
        *self.waker.lock().unwrap_or_else(PoisonError::into_inner) = Some(waker.clone());
        self.waiting.store(true, Ordering::SeqCst);
    }

    pub(super) fn is_parked(&self) -> bool {
        self.waiting.load(Ordering::SeqCst)
    }

    pub(super) fn wake(&self) {
        if self.waiting.swap(false, Ordering::SeqCst) {
            let waker = self.waker.lock().unwrap_or_else(PoisonError::into_inner).take();
            if let Some(waker) = waker {
                waker.wake();
            }
        }
    }
}
