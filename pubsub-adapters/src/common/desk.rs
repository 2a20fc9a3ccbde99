//! The desk of a subscription: which deliveries are out, and what became of them.

#[cfg(test)]
mod tests;

use std::{
    fmt,
    sync::{Mutex, MutexGuard, PoisonError},
};

use pubsub_core::{
    Error, EventId, Result,
    driver::{AckToken, Drain, Outcome, RetryPolicy, stale},
};
use tokio::sync::Notify;

/// Whoever tells the broker of settlements while it has not answered to the last ones yet waits for so many.
#[cfg_attr(not(any(test, feature = "nats")), allow(dead_code, reason = "not every adapter needs it"))]
pub(crate) const BUNDLE: usize = 64;

/// What an adapter remembers of a delivery that is out.
pub(crate) trait Held: Send + 'static {
    /// The event's id.
    fn id(&self) -> &EventId;
    /// Which delivery of it this is.
    fn attempt(&self) -> u32;
}

/// Gives tokens for deliveries, takes each back once, and queues what became of them for the task that tells the broker.
///
/// `settle` and `is_live` of the subscription's `Settler` are calls of this; the task takes batches with
/// [`Desk::next_batch`], tells the broker, and then calls [`Desk::told`].
pub(crate) struct Desk<T> {
    state: Mutex<State<T>>,
    /// Something was settled.
    settled: Notify,
    /// A delivery is no longer out.
    freed: Notify,
    /// The broker was told of a batch.
    told: Notify,
    retry: RetryPolicy,
    drain: Drain,
}

struct State<T> {
    slots: Vec<Slot<T>>,
    free: Vec<usize>,
    generation: u64,
    queue: Vec<(T, Outcome)>,
    /// How many were queued, and of how many the broker was told.
    queued: u64,
    done: u64,
    /// The last batch that the broker could not be told of: its end, and why.
    failed: Option<(u64, Error)>,
    /// Somebody waits until no more than so many deliveries are out. Most settlements wake nobody then.
    wake_at: Option<usize>,
}

/// Of how many settlements the broker had been told, and of how many it has to be.
#[derive(Clone, Copy)]
struct Span {
    begin: u64,
    target: u64,
}

enum Slot<T> {
    Free,
    Out(u64, T),
}

impl<T: Held> Desk<T> {
    /// A desk whose dropped deliveries come again with the backoff of `retry`, and unsettled while draining.
    pub(crate) fn new(retry: RetryPolicy, drain: Drain) -> Self {
        Self {
            state: Mutex::new(State {
                slots: Vec::new(),
                free: Vec::new(),
                generation: 0,
                queue: Vec::new(),
                queued: 0,
                done: 0,
                failed: None,
                wake_at: None,
            }),
            settled: Notify::new(),
            freed: Notify::new(),
            told: Notify::new(),
            retry,
            drain,
        }
    }

    /// Remembers a delivery that goes out.
    pub(crate) fn hand_out(&self, item: T) -> AckToken {
        self.lock().hand_out(item)
    }

    /// Remembers many deliveries that go out, and hands each token over with what `split` has kept of its event.
    #[cfg(any(test, feature = "kafka"))]
    pub(crate) fn hand_out_all<I, R>(
        &self,
        items: impl IntoIterator<Item = I>,
        split: impl Fn(I) -> (T, R),
    ) -> Vec<(AckToken, R)> {
        let items = items.into_iter();
        let mut state = self.lock();
        let mut out = Vec::with_capacity(items.size_hint().0);
        for item in items {
            let (item, rest) = split(item);
            out.push((state.hand_out(item), rest));
        }
        out
    }

    /// Takes a delivery back: whatever is done with its token from now on is stale.
    pub(crate) fn take(&self, token: AckToken) -> Option<T> {
        let mut state = self.lock();
        let item = state.take(token);
        self.release(state);
        item
    }

    /// Takes all deliveries back for which `wanted` holds, in no certain order.
    pub(crate) fn take_if(&self, mut wanted: impl FnMut(&T) -> bool) -> Vec<T> {
        let mut state = self.lock();
        let tokens: Vec<_> = state.out().filter(|(_, item)| wanted(item)).map(|(token, _)| token).collect();
        let items = tokens.into_iter().filter_map(|token| state.take(token)).collect();
        self.release(state);
        items
    }

    /// Looks at every delivery that is out.
    pub(crate) fn for_each(&self, mut look: impl FnMut(AckToken, &mut T)) {
        let mut state = self.lock();
        for (index, slot) in state.slots.iter_mut().enumerate() {
            if let Slot::Out(generation, item) = slot {
                look(AckToken { index: index as u64, generation: *generation }, item);
            }
        }
    }

    /// Looks at one delivery, if it is still out.
    pub(crate) fn with<R>(&self, token: AckToken, look: impl FnOnce(&mut T) -> R) -> Option<R> {
        self.lock().get_mut(token).map(look)
    }

    /// How many deliveries are out; those whose settlement the broker does not know yet are not counted.
    pub(crate) fn len(&self) -> usize {
        self.lock().len()
    }

    /// Waits until fewer than `most` deliveries are out, and says how many more may go out. Cancel safe.
    pub(crate) async fn room(&self, most: usize) -> usize {
        self.room_for(most, 1).await
    }

    /// Waits until at least `least` more deliveries may go out of `most`, and says how many. Cancel safe.
    ///
    /// Who fetches many at a time asks for many: it is woken once for them, and not by each settlement.
    pub(crate) async fn room_for(&self, most: usize, least: usize) -> usize {
        let enough = most.saturating_sub(least.clamp(1, most.max(1)));
        loop {
            let freed = self.freed.notified();
            tokio::pin!(freed);
            freed.as_mut().enable();
            {
                let mut state = self.lock();
                let out = state.len();
                if out <= enough && out < most {
                    return most - out;
                }
                state.wake_at = Some(state.wake_at.map_or(enough, |other| other.max(enough)));
            }
            freed.await;
        }
    }

    /// As [`Settler::settle`](pubsub_core::driver::Settler::settle).
    pub(crate) fn settle(&self, token: AckToken, outcome: Outcome) -> bool {
        self.settled_at(token, outcome).is_some()
    }

    /// As [`Desk::settle`], if this holds of the delivery; nothing if the token is stale.
    #[cfg(any(test, feature = "nats"))]
    pub(crate) fn settle_if(&self, token: AckToken, outcome: Outcome, holds: impl FnOnce(&T) -> bool) -> Option<bool> {
        let mut state = self.lock();
        if !holds(state.get_mut(token)?) {
            return Some(false);
        }
        self.settle_in(state, token, outcome).map(|_| true)
    }

    /// Settles, and says what was told by then and what has to be told; none if the token is stale.
    fn settled_at(&self, token: AckToken, outcome: Outcome) -> Option<Span> {
        self.settle_in(self.lock(), token, outcome)
    }

    fn settle_in(&self, mut state: MutexGuard<'_, State<T>>, token: AckToken, outcome: Outcome) -> Option<Span> {
        let item = state.take(token)?;
        let outcome = match outcome {
            Outcome::Dropped if self.drain.is_draining() => Outcome::Release,
            Outcome::Dropped => Outcome::Nack(self.retry.delay(item.id(), item.attempt())),
            outcome => outcome,
        };
        let wakes = state.push(item, outcome);
        let span = state.span();
        self.release(state);
        if wakes {
            self.settled.notify_one();
        }
        Some(span)
    }

    /// As [`Settler::is_live`](pubsub_core::driver::Settler::is_live).
    pub(crate) fn is_live(&self, token: AckToken) -> bool {
        self.lock().get_mut(token).is_some()
    }

    /// As [`Settler::confirm`](pubsub_core::driver::Settler::confirm).
    pub(crate) async fn confirm(&self, token: AckToken, outcome: Outcome) -> Result<()> {
        // From the moment of the settlement on: a refusal may be told before this is polled again.
        let span = self.settled_at(token, outcome).ok_or_else(|| stale("settle"))?;
        self.until_told(span).await
    }

    /// As [`Settler::flush`](pubsub_core::driver::Settler::flush). Cancel safe.
    pub(crate) async fn flush(&self) -> Result<()> {
        let span = self.lock().span();
        self.until_told(span).await
    }

    async fn until_told(&self, span: Span) -> Result<()> {
        loop {
            let told = self.told.notified();
            tokio::pin!(told);
            told.as_mut().enable();
            {
                let state = self.lock();
                if state.done >= span.target {
                    return match &state.failed {
                        Some((end, error)) if *end > span.begin => Err(error.clone()),
                        _ => Ok(()),
                    };
                }
            }
            told.await;
        }
    }

    /// Waits for settlements and takes all that there are, in their order. Cancel safe.
    pub(crate) async fn next_batch(&self) -> Vec<(T, Outcome)> {
        loop {
            let batch = self.take_batch();
            if !batch.is_empty() {
                return batch;
            }
            self.settled.notified().await;
        }
    }

    /// As [`Desk::next_batch`], once there are [`BUNDLE`] settlements. Cancel safe.
    #[cfg(any(test, feature = "nats"))]
    pub(crate) async fn next_bundle(&self) -> Vec<(T, Outcome)> {
        loop {
            {
                let mut state = self.lock();
                if state.queue.len() >= BUNDLE {
                    return std::mem::take(&mut state.queue);
                }
            }
            self.settled.notified().await;
        }
    }

    /// Takes all settlements that there are.
    pub(crate) fn take_batch(&self) -> Vec<(T, Outcome)> {
        std::mem::take(&mut self.lock().queue)
    }

    /// Queues a settlement that needs no token, as for events that never went out.
    pub(crate) fn push(&self, item: T, outcome: Outcome) {
        if self.lock().push(item, outcome) {
            self.settled.notify_one();
        }
    }

    /// Says that the broker was told of so many settlements, those taken first, or why it could not be.
    pub(crate) fn told(&self, settlements: usize, outcome: Result<()>) {
        let mut state = self.lock();
        state.done += settlements as u64;
        if let Err(error) = outcome {
            state.failed = Some((state.done, error));
        }
        drop(state);
        self.told.notify_waiters();
    }

    /// Lets the lock go, and wakes who waits for the room that there is now.
    fn release(&self, mut state: MutexGuard<'_, State<T>>) {
        let out = state.len();
        let wakes = state.wake_at.is_some_and(|enough| out <= enough);
        if wakes {
            state.wake_at = None;
        }
        drop(state);
        if wakes {
            self.freed.notify_waiters();
        }
    }

    fn lock(&self) -> MutexGuard<'_, State<T>> {
        // The state is whole at every point where a panic could come from.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T> State<T> {
    fn hand_out(&mut self, item: T) -> AckToken {
        self.generation += 1;
        let generation = self.generation;
        let slot = Slot::Out(generation, item);
        let index = match self.free.pop() {
            Some(index) => {
                self.slots[index] = slot;
                index
            }
            None => {
                self.slots.push(slot);
                self.slots.len() - 1
            }
        };
        AckToken { index: index as u64, generation }
    }

    fn span(&self) -> Span {
        Span { begin: self.done, target: self.queued }
    }

    fn len(&self) -> usize {
        self.slots.len() - self.free.len()
    }

    fn get_mut(&mut self, token: AckToken) -> Option<&mut T> {
        match self.slots.get_mut(usize::try_from(token.index).ok()?) {
            Some(Slot::Out(generation, item)) if *generation == token.generation => Some(item),
            _ => None,
        }
    }

    fn take(&mut self, token: AckToken) -> Option<T> {
        self.get_mut(token)?;
        let index = usize::try_from(token.index).ok()?;
        let Slot::Out(_, item) = std::mem::replace(&mut self.slots[index], Slot::Free) else { return None };
        self.free.push(index);
        Some(item)
    }

    fn out(&self) -> impl Iterator<Item = (AckToken, &T)> {
        self.slots.iter().enumerate().filter_map(|(index, slot)| match slot {
            Slot::Out(generation, item) => Some((AckToken { index: index as u64, generation: *generation }, item)),
            Slot::Free => None,
        })
    }

    /// Whether it is the first of a batch, or fills a bundle: who takes batches takes all that there is, and need not be
    /// woken for the rest.
    fn push(&mut self, item: T, outcome: Outcome) -> bool {
        self.queue.push((item, outcome));
        self.queued += 1;
        matches!(self.queue.len(), 1 | BUNDLE)
    }
}

impl<T> fmt::Debug for Desk<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Desk").finish_non_exhaustive()
    }
}
