//! Batches that the client has in hand, and who waits for them.

use std::{
    mem::take,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, Waker},
};

use pubsub_core::{ChannelName, Error};
use rdkafka::error::KafkaError;
use smallvec::SmallVec;
use tokio::sync::OwnedSemaphorePermit;

use super::lane::Lane;
use crate::common::ledger::OpenTickets;

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
    pub(super) channel: ChannelName,
    /// What its records go through, if it is told when they are done with.
    pub(super) lane: Option<Arc<Lane>>,
}

struct State {
    results: Confirmations,
    left: usize,
    waits: Option<Waker>,
    held: Option<(OpenTickets, OwnedSemaphorePermit)>,
}

impl Underway {
    pub(super) fn new(
        records: usize,
        channel: ChannelName,
        lane: Option<Arc<Lane>>,
        open: OpenTickets,
        room: OwnedSemaphorePermit,
    ) -> Arc<Self> {
        let mut results = Confirmations::with_capacity(records);
        results.resize_with(records, || Err(Fault::Silent));
        let state = State { results, left: records, waits: None, held: Some((open, room)) };
        Arc::new(Self { state: Mutex::new(state), channel, lane })
    }

    /// A record is done with. Those who wait are woken once, for all of the batch.
    pub(super) fn end(&self, index: usize, result: Confirmed) {
        let mut state = self.lock();
        if let Some(known) = state.results.get_mut(index) {
            *known = result;
        }
        state.left = state.left.saturating_sub(1);
        if state.left > 0 {
            return;
        }
        let (held, waits) = (state.held.take(), state.waits.take());
        drop(state);
        drop(held);
        if let Some(waker) = waits {
            waker.wake();
        }
    }

    /// Tells the next flush of a refusal.
    pub(super) fn fail(&self, error: &Error) {
        if let Some((open, _)) = &self.lock().held {
            open.fail(error);
        }
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
    /// Its lane counts it, with so many bytes.
    counted: Option<usize>,
}

impl Pending {
    pub(super) fn new(batch: Arc<Underway>, index: usize) -> Self {
        Self { batch, index, ended: false, counted: None }
    }

    pub(super) fn batch(&self) -> &Underway {
        &self.batch
    }

    /// Its lane counts it from now on, until it ends.
    pub(super) fn enter(&mut self, bytes: usize) {
        self.counted = Some(bytes);
    }

    /// It never went out.
    pub(super) fn refuse(self, why: Error) {
        self.batch.fail(&why);
        self.end(Err(Fault::Refused(why)));
    }

    pub(super) fn end(mut self, result: Confirmed) {
        self.ended = true;
        self.batch.end(self.index, result);
    }
}

impl Drop for Pending {
    fn drop(&mut self) {
        if !self.ended {
            self.batch.end(self.index, Err(Fault::Silent));
        }
        if let (Some(bytes), Some(lane)) = (self.counted, &self.batch.lane) {
            lane.leave(bytes);
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;
    use pubsub_core::ErrorKind;
    use tokio::sync::Semaphore;

    use super::*;
    use crate::common::ledger::Ledger;

    #[tokio::test]
    async fn a_batch_ends_with_its_last_record_and_then_gives_back_its_room() {
        let (ledger, room) = (Ledger::default(), Arc::new(Semaphore::new(3)));
        let permit = room.clone().try_acquire_many_owned(3).unwrap();
        let batch = Underway::new(3, ChannelName::parse("a").unwrap(), None, ledger.open(3), permit);
        let mut records: Vec<_> = (0..3).map(|index| Pending::new(batch.clone(), index)).collect();
        let wait = std::future::poll_fn(|context| batch.poll(context));
        tokio::pin!(wait);
        records.pop().unwrap().end(Ok((1, 9)));
        drop(records.pop());
        assert!(wait.as_mut().now_or_never().is_none());
        assert_eq!((ledger.len(), room.available_permits()), (3, 0));
        let refused = Error::new(ErrorKind::TooLarge, "publish", "too large");
        records.pop().unwrap().end(Err(Fault::Refused(refused)));
        assert_eq!((ledger.len(), room.available_permits()), (0, 3));
        let results = wait.await;
        assert!(matches!(results[..], [Err(Fault::Refused(_)), Err(Fault::Silent), Ok((1, 9))]), "{results:?}");
    }
}
