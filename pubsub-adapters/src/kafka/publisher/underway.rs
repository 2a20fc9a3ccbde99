//! Batches that the client has in hand, and who waits for them.

use std::{
    mem::take,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, Waker},
};

use pubsub_core::{ChannelName, Error};
use rdkafka::error::KafkaError;
use smallvec::SmallVec;
use tokio::sync::{Semaphore, SemaphorePermit};

use super::outlet::WINDOW;
use crate::common::ledger::Ledger;

/// What all batches of an adapter take from: the window of unconfirmed records, and the tickets that flushes wait for.
pub(super) struct Books {
    pub(super) window: Semaphore,
    pub(super) ledger: Ledger,
}

impl Books {
    pub(super) fn new() -> Self {
        Self { window: Semaphore::new(WINDOW as usize), ledger: Ledger::default() }
    }

    /// Gives back what batches held.
    pub(super) fn give_back(&self, held: Held) {
        self.ledger.close(held.epoch, held.tickets);
        self.window.add_permits(held.room);
    }
}

/// What a batch, or several of them, hold of the books. Whoever has this gives it back.
#[must_use]
pub(super) struct Held {
    epoch: u64,
    tickets: u64,
    room: usize,
}

impl Held {
    /// Both together, if that makes one.
    pub(super) fn join(&mut self, other: Self) -> Result<(), Self> {
        if other.epoch != self.epoch {
            return Err(other);
        }
        self.tickets += other.tickets;
        self.room += other.room;
        Ok(())
    }
}

/// Why a record was not confirmed.
#[derive(Debug)]
pub(super) enum Fault {
    /// It never went out.
    Refused(Error),
    /// The client reported this.
    Reported(KafkaError),
    /// The client is gone, and has said nothing.
    Silent,
}

/// Where a record lies.
pub(super) type Confirmed = Result<(i32, i64), Fault>;

/// One for each record of a batch. One record needs no allocation.
pub(super) type Confirmations = SmallVec<[Confirmed; 1]>;

/// A batch underway. What it holds is given back when the client is done with it, whoever still waits.
pub(super) struct Underway {
    state: Mutex<State>,
    pub(super) books: Arc<Books>,
    pub(super) channel: ChannelName,
}

struct State {
    results: Confirmations,
    left: usize,
    waits: Option<Waker>,
    held: Option<Held>,
}

impl Underway {
    pub(super) fn new(
        records: usize,
        channel: ChannelName,
        books: &Arc<Books>,
        room: SemaphorePermit<'_>,
    ) -> Arc<Self> {
        let mut results = Confirmations::with_capacity(records);
        results.resize_with(records, || Err(Fault::Silent));
        let tickets = records as u64;
        let held = Held { epoch: books.ledger.enter(tickets), tickets, room: room.num_permits() };
        room.forget();
        let state = State { results, left: records, waits: None, held: Some(held) };
        Arc::new(Self { state: Mutex::new(state), books: books.clone(), channel })
    }

    /// A record is done with. Those who wait are woken once, for all of the batch, and what it held is the caller's to
    /// give back.
    fn end(&self, index: usize, result: Confirmed) -> Option<Held> {
        let mut state = self.lock();
        if let Some(known) = state.results.get_mut(index) {
            *known = result;
        }
        state.left = state.left.saturating_sub(1);
        if state.left > 0 {
            return None;
        }
        let (held, waits) = (state.held.take(), state.waits.take());
        drop(state);
        if let Some(waker) = waits {
            waker.wake();
        }
        held
    }

    /// Tells the next flush of a refusal.
    pub(super) fn fail(&self, error: &Error) {
        self.books.ledger.fail(error);
    }

    /// What became of the whole batch, once it is done.
    pub(super) fn poll(&self, context: &mut Context<'_>) -> Poll<Confirmations> {
        let mut state = self.lock();
        if state.left == 0 {
            return Poll::Ready(take(&mut state.results));
        }
        match &mut state.waits {
            Some(waker) => waker.clone_from(context.waker()),
            none => *none = Some(context.waker().clone()),
        }
        Poll::Pending
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // The state is whole at every point where a panic could come from.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A record underway.
pub(super) struct Pending {
    batch: Arc<Underway>,
    index: usize,
    ended: bool,
}

impl Pending {
    pub(super) fn new(batch: Arc<Underway>, index: usize) -> Self {
        Self { batch, index, ended: false }
    }

    pub(super) fn batch(&self) -> &Underway {
        &self.batch
    }

    /// It never went out.
    pub(super) fn refuse(&mut self, why: Error) {
        self.batch.fail(&why);
        if let Some(held) = self.end(Err(Fault::Refused(why))) {
            self.batch.books.give_back(held);
        }
    }

    /// It is done with. If that is so of the whole batch, what that held is the caller's to give back.
    pub(super) fn end(&mut self, result: Confirmed) -> Option<Held> {
        self.ended = true;
        self.batch.end(self.index, result)
    }
}

impl Drop for Pending {
    fn drop(&mut self) {
        if !self.ended
            && let Some(held) = self.batch.end(self.index, Err(Fault::Silent))
        {
            self.batch.books.give_back(held);
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;
    use pubsub_core::ErrorKind;

    use super::*;

    #[tokio::test]
    async fn a_batch_ends_with_its_last_record_and_then_gives_back_its_room() {
        let books = Arc::new(Books::new());
        let taken = |books: &Books| WINDOW as usize - books.window.available_permits();
        let room = books.window.try_acquire_many(3).unwrap();
        let batch = Underway::new(3, ChannelName::parse("a").unwrap(), &books, room);
        let mut records: Vec<_> = (0..3).map(|index| Pending::new(batch.clone(), index)).collect();
        let wait = std::future::poll_fn(|context| batch.poll(context));
        tokio::pin!(wait);
        assert!(records.pop().unwrap().end(Ok((1, 9))).is_none());
        drop(records.pop());
        assert!(wait.as_mut().now_or_never().is_none());
        assert_eq!((books.ledger.len(), taken(&books)), (3, 3));
        let refused = Error::new(ErrorKind::TooLarge, "publish", "too large");
        records.pop().unwrap().end(Err(Fault::Refused(refused)));
        assert_eq!((books.ledger.len(), taken(&books)), (0, 0));
        let results = wait.await;
        assert!(matches!(results[..], [Err(Fault::Refused(_)), Err(Fault::Silent), Ok((1, 9))]), "{results:?}");
    }
}
