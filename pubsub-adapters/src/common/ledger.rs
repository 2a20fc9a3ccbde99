//! Which tickets are open: a flush waits for those given out before it.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use pubsub_core::{Error, Result};
use tokio::sync::Notify;

/// Counts open tickets by the flush that waits for them.
#[derive(Clone, Debug, Default)]
pub(crate) struct Ledger(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    state: Mutex<State>,
    closed: Notify,
}

#[derive(Debug, Default)]
struct State {
    /// Open tickets per epoch, the oldest first; a flush begins a new epoch.
    open: VecDeque<u64>,
    /// A flush waits. Most tickets close while none does, and wake nobody.
    awaited: bool,
    first: u64,
    /// The first error that no flush has told yet.
    error: Option<Error>,
    /// How many such errors flushes have told.
    told: u64,
    /// The last one that was told, for flushes that began before that.
    last: Option<Error>,
}

impl State {
    /// The epoch of tickets that are given out now.
    fn epoch(&mut self) -> u64 {
        if self.open.is_empty() {
            self.open.push_back(0);
        }
        self.first + self.open.len() as u64 - 1
    }

    fn shrink(&mut self) {
        while self.open.len() > 1 && self.open.front() == Some(&0) {
            self.open.pop_front();
            self.first += 1;
        }
    }
}

impl Ledger {
    /// Opens tickets that stay open as long as the guard lives.
    pub(crate) fn open(&self, tickets: usize) -> OpenTickets {
        let mut state = self.lock();
        let epoch = state.epoch();
        if let Some(open) = state.open.back_mut() {
            *open += tickets as u64;
        }
        drop(state);
        OpenTickets { ledger: self.clone(), epoch, tickets: tickets as u64 }
    }

    /// Remembers that a message was refused.
    pub(crate) fn fail(&self, error: &Error) {
        self.lock().error.get_or_insert_with(|| error.clone());
    }

    /// How many tickets are open.
    #[cfg_attr(
        not(any(feature = "kafka", feature = "rabbitmq")),
        allow(dead_code, reason = "not every adapter needs it")
    )]
    pub(crate) fn len(&self) -> u64 {
        self.lock().open.iter().sum()
    }

    /// Waits until every ticket given out before is resolved.
    ///
    /// # Errors
    /// The first error among these tickets.
    pub(crate) async fn flush(&self) -> Result<()> {
        let (epoch, told) = {
            let mut state = self.lock();
            let epoch = state.epoch();
            state.open.push_back(0);
            (epoch, state.told)
        };
        loop {
            let closed = self.0.closed.notified();
            tokio::pin!(closed);
            closed.as_mut().enable();
            {
                let mut state = self.lock();
                state.shrink();
                if state.first > epoch {
                    if let Some(error) = state.error.take() {
                        state.told += 1;
                        state.last = Some(error);
                    }
                    // Another flush may have taken the error meanwhile, which is this one's as well.
                    return if state.told > told { state.last.clone().map_or(Ok(()), Err) } else { Ok(()) };
                }
                state.awaited = true;
            }
            closed.await;
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // The state is whole at every point where a panic could come from.
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Tickets that are open.
#[derive(Debug)]
pub(crate) struct OpenTickets {
    ledger: Ledger,
    epoch: u64,
    tickets: u64,
}

impl OpenTickets {
    /// Tells the next flush of a refusal.
    pub(crate) fn fail(&self, error: &Error) {
        self.ledger.fail(error);
    }
}

impl Drop for OpenTickets {
    fn drop(&mut self) {
        let mut state = self.ledger.lock();
        let index = (self.epoch - state.first) as usize;
        if let Some(open) = state.open.get_mut(index) {
            *open -= self.tickets;
        }
        if std::mem::take(&mut state.awaited) {
            drop(state);
            self.ledger.0.closed.notify_waiters();
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;
    use pubsub_core::ErrorKind;

    use super::*;

    #[tokio::test]
    async fn a_flush_waits_for_earlier_tickets_and_tells_their_first_error() {
        let ledger = Ledger::default();
        let early = ledger.open(2);
        let flush = ledger.flush();
        tokio::pin!(flush);
        assert!(flush.as_mut().now_or_never().is_none());
        let late = ledger.open(1);
        early.fail(&Error::new(ErrorKind::TooLarge, "publish", "too large"));
        early.fail(&Error::new(ErrorKind::Timeout, "publish", "late"));
        drop(early);
        assert_eq!(flush.await.unwrap_err().kind(), ErrorKind::TooLarge);
        assert_eq!(ledger.len(), 1);
        late.fail(&Error::new(ErrorKind::Timeout, "publish", "late"));
        let (one, other) = (ledger.flush(), ledger.flush());
        tokio::pin!(one, other);
        assert!(one.as_mut().now_or_never().is_none() && other.as_mut().now_or_never().is_none());
        drop(late);
        for flush in [one, other] {
            assert_eq!(flush.await.unwrap_err().kind(), ErrorKind::Timeout);
        }
        assert!(ledger.flush().now_or_never().unwrap().is_ok());
    }
}
