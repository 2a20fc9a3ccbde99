//! The buffer between the task that talks to a broker and the subscription that is polled.

#[cfg(test)]
mod tests;

use std::{
    collections::VecDeque,
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, Waker},
};

use pubsub_core::{
    ChannelName, Delivery, Error, ErrorKind, Result, StartPosition,
    driver::{BoxFuture, Chunk, Gap, GapReason, Item, SlowConsumer, Source, SubscriptionState},
};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

/// The most items that one poll hands over.
const CHUNK: usize = 256;

/// The most errors that wait for a subscription that nobody polls.
const ERRORS: usize = 16;

/// The end into which a client's task puts what it has received.
#[derive(Clone)]
pub(crate) struct Feed(Arc<Shared>);

struct Shared {
    state: Mutex<State>,
    /// The subscription took something out.
    taken: Notify,
    /// The subscription was paused or goes on.
    pace: Notify,
    /// The subscription is gone.
    gone: CancellationToken,
}

#[derive(Default)]
struct State {
    items: VecDeque<Result<Item>>,
    deliveries: usize,
    waker: Option<Waker>,
    ended: bool,
    paused: bool,
}

impl State {
    fn push(&mut self, item: Result<Item>) {
        self.deliveries += usize::from(matches!(item, Ok(Item::Delivery(_))));
        self.items.push_back(item);
    }

    fn pop(&mut self) -> Option<Result<Item>> {
        let item = self.items.pop_front();
        self.deliveries -= usize::from(matches!(item, Some(Ok(Item::Delivery(_)))));
        item
    }

    /// What lies behind the last delivery, the newest first: nobody has seen it, and no event depends on its place.
    fn tail(&mut self) -> impl Iterator<Item = &mut Result<Item>> {
        self.items.iter_mut().rev().take_while(|item| !matches!(item, Ok(Item::Delivery(_))))
    }

    /// Takes the newest item out of the tail of which this holds.
    fn forget_last(&mut self, of: impl Fn(&Result<Item>) -> bool) {
        let back = self.tail().position(|item| of(item));
        if let Some(back) = back {
            self.items.remove(self.items.len() - 1 - back);
        }
    }

    /// Takes out every delivery that can be given back.
    fn take_settleable(&mut self) -> Vec<Delivery> {
        let mut taken = Vec::new();
        for item in std::mem::take(&mut self.items) {
            match item {
                Ok(Item::Delivery(delivery)) if delivery.ack.settler().is_some() => taken.push(delivery),
                other => self.items.push_back(other),
            }
        }
        self.deliveries -= taken.len();
        taken
    }

    /// Takes the oldest delivery out, and counts it into the gap at the front.
    fn drop_oldest(&mut self) {
        let Some(index) = self.items.iter().position(|item| matches!(item, Ok(Item::Delivery(_)))) else { return };
        let Some(Ok(Item::Delivery(delivery))) = self.items.remove(index) else { return };
        self.deliveries -= 1;
        let channel = delivery.message.channel().clone();
        delivery.forget();
        // There is no delivery before it: one gap per channel counts all that are dropped until somebody looks.
        let known = self.items.iter_mut().take(index).find_map(|item| match item {
            Ok(Item::Gap(gap)) if gap.reason == GapReason::SlowConsumer && gap.channel == channel => Some(gap),
            _ => None,
        });
        if let Some(gap) = known {
            gap.lost = gap.lost.map(|lost| lost + 1);
            return;
        }
        self.items.insert(index, Ok(Item::Gap(Gap::new(channel, Some(1), GapReason::SlowConsumer))));
    }
}

impl Feed {
    /// A feed, and the source at its other end. `control` does what only the adapter can.
    pub(crate) fn new(control: impl Control + 'static) -> (Self, FeedSource) {
        let shared = Arc::new(Shared {
            state: Mutex::default(),
            taken: Notify::new(),
            pace: Notify::new(),
            gone: CancellationToken::new(),
        });
        let feed = Self(shared);
        (feed.clone(), FeedSource { feed, control: Box::new(control) })
    }

    /// Puts a delivery in. Its number is bounded by whoever hands it out.
    #[cfg(any(test, feature = "kafka", feature = "nats", feature = "rabbitmq"))]
    pub(crate) fn deliver(&self, delivery: Delivery) {
        self.deliver_all([delivery]);
    }

    /// Puts many deliveries in, with one wake-up.
    pub(crate) fn deliver_all(&self, deliveries: impl IntoIterator<Item = Delivery>) {
        let mut deliveries: Vec<_> = deliveries.into_iter().collect();
        let mut returned = Vec::new();
        self.put(|state| {
            for delivery in deliveries.drain(..) {
                // It was paused while these were on their way here: they go where those went that were here by then.
                if state.paused && delivery.ack.settler().is_some() {
                    returned.push(delivery);
                } else {
                    state.push(Ok(Item::Delivery(delivery)));
                }
            }
        });
        give_back(returned);
        // Where the subscription is gone already, nobody has seen them.
        give_back(deliveries);
    }

    /// Puts a delivery of a broadcast in, whose reader may lag `buffer` events behind before `slow` says what happens.
    pub(crate) fn broadcast(&self, delivery: Delivery, slow: SlowConsumer, buffer: usize) {
        self.put(|state| {
            if state.deliveries >= buffer.max(1) {
                match slow {
                    SlowConsumer::Disconnect => {
                        let text = format!("the subscriber was {buffer} events behind, and is disconnected");
                        let channel = delivery.message.channel().clone();
                        delivery.forget();
                        if !state.ended {
                            state.push(Err(Error::new(ErrorKind::Backpressure, "receive", text).on(&channel)));
                        }
                        state.ended = true;
                        return;
                    }
                    _ => state.drop_oldest(),
                }
            }
            state.push(Ok(Item::Delivery(delivery)));
        });
    }

    /// Tells of lost events. Gaps of one channel for one reason that nobody has seen yet, with no event between, are one.
    pub(crate) fn gap(&self, gap: Gap) {
        self.put(|state| {
            let unseen = state.tail().find_map(|item| match item {
                Ok(Item::Gap(seen)) if seen.channel == gap.channel && seen.reason == gap.reason => Some(seen),
                _ => None,
            });
            match unseen {
                Some(seen) => seen.lost = seen.lost.zip(gap.lost).map(|(one, other)| one + other),
                None => state.push(Ok(Item::Gap(gap))),
            }
        });
    }

    /// Tells of lost events on each of these channels.
    pub(crate) fn gaps<'a>(&self, channels: impl IntoIterator<Item = &'a ChannelName>, reason: GapReason) {
        for channel in channels {
            self.gap(Gap::new(channel.clone(), None, reason));
        }
    }

    /// Tells of a change of the subscription's connection. Changes that nobody has seen yet, with no event between,
    /// become one.
    pub(crate) fn state(&self, new: SubscriptionState) {
        self.put(|state| {
            state.forget_last(|item| matches!(item, Ok(Item::State(_))));
            state.push(Ok(Item::State(new)));
        });
    }

    /// Tells of an error; the subscription goes on. The same error again, unseen, is one, and so many stay unseen.
    #[cfg_attr(not(any(feature = "kafka", feature = "nats")), allow(dead_code, reason = "not every adapter needs it"))]
    pub(crate) fn error(&self, error: Error) {
        self.put(|state| {
            let text = error.to_string();
            if state.tail().any(|item| item.as_ref().is_err_and(|known| known.to_string() == text)) {
                return;
            }
            if state.tail().filter(|item| item.is_err()).count() >= ERRORS {
                state.forget_last(Result::is_err);
            }
            state.push(Err(error));
        });
    }

    /// Ends the subscription once its reader has seen what is in here.
    pub(crate) fn end(&self) {
        let mut state = self.lock();
        state.ended = true;
        let waker = state.waker.take();
        drop(state);
        waker.into_iter().for_each(Waker::wake);
    }

    /// How many deliveries wait here.
    pub(crate) fn len(&self) -> usize {
        self.lock().deliveries
    }

    /// Waits until fewer than `most` deliveries wait here. Cancel safe.
    pub(crate) async fn room(&self, most: usize) {
        loop {
            let taken = self.0.taken.notified();
            tokio::pin!(taken);
            taken.as_mut().enable();
            if self.len() < most.max(1) {
                return;
            }
            taken.await;
        }
    }

    /// Whether the subscription is paused.
    pub(crate) fn is_paused(&self) -> bool {
        self.lock().paused
    }

    /// Waits while the subscription is paused. Cancel safe.
    pub(crate) async fn resumed(&self) {
        loop {
            let pace = self.0.pace.notified();
            tokio::pin!(pace);
            pace.as_mut().enable();
            if !self.is_paused() {
                return;
            }
            pace.await;
        }
    }

    /// Waits until the subscription is paused. Cancel safe.
    pub(crate) async fn paused(&self) {
        loop {
            let pace = self.0.pace.notified();
            tokio::pin!(pace);
            pace.as_mut().enable();
            if self.is_paused() {
                return;
            }
            pace.await;
        }
    }

    /// Is cancelled when the subscription is dropped: its task ends then.
    pub(crate) fn gone(&self) -> &CancellationToken {
        &self.0.gone
    }

    /// Takes out every delivery, as before a seek.
    pub(crate) fn take_deliveries(&self) -> Vec<Delivery> {
        let mut state = self.lock();
        let mut deliveries = Vec::new();
        let items = std::mem::take(&mut state.items);
        for item in items {
            match item {
                Ok(Item::Delivery(delivery)) => deliveries.push(delivery),
                other => state.items.push_back(other),
            }
        }
        state.deliveries = 0;
        drop(state);
        self.0.taken.notify_waiters();
        deliveries
    }

    fn put(&self, change: impl FnOnce(&mut State)) {
        let mut state = self.lock();
        if state.ended {
            drop(state); // what is not put in is dropped outside of the lock, with `change`
            return;
        }
        change(&mut state);
        let waker = state.waker.take();
        drop(state);
        waker.into_iter().for_each(Waker::wake);
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // The state is whole at every point where a panic could come from.
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Feed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Feed").field("deliveries", &self.len()).finish_non_exhaustive()
    }
}

/// What a subscription asks of its adapter.
pub(crate) trait Control: Send {
    /// As [`Source::seek`]. What waits in the feed was given back before.
    fn seek(&mut self, to: StartPosition) -> BoxFuture<'_, Result<()>> {
        let _ = to;
        Box::pin(async { Err(Error::new(ErrorKind::Unsupported, "seek", "this subscription cannot seek")) })
    }
}

/// The source at the end of a feed. Dropping it gives back what waits, and ends the task behind it.
pub(crate) struct FeedSource {
    feed: Feed,
    control: Box<dyn Control>,
}

impl Source for FeedSource {
    /// Cancel safe.
    fn poll_chunk(&mut self, cx: &mut Context<'_>, chunk: &mut Chunk) -> Poll<Option<Result<()>>> {
        let mut state = self.feed.lock();
        let mut count = 0;
        while count < CHUNK {
            match state.items.front() {
                Some(Ok(_)) => {
                    let Some(Ok(item)) = state.pop() else { break };
                    chunk.push_item(item);
                    count += 1;
                }
                Some(Err(_)) if count > 0 => break,
                Some(Err(_)) => {
                    let Some(Err(error)) = state.pop() else { break };
                    return Poll::Ready(Some(Err(error)));
                }
                None => break,
            }
        }
        if count > 0 {
            drop(state);
            self.feed.0.taken.notify_waiters();
            return Poll::Ready(Some(Ok(())));
        }
        if state.ended {
            return Poll::Ready(None);
        }
        state.waker = Some(cx.waker().clone());
        Poll::Pending
    }

    fn seek(&mut self, to: StartPosition) -> BoxFuture<'_, Result<()>> {
        give_back(self.feed.take_deliveries());
        self.control.seek(to)
    }

    fn set_paused(&mut self, paused: bool) {
        let mut state = self.feed.lock();
        state.paused = paused;
        // What has no settlement cannot come again: it waits here.
        let returned = if paused { state.take_settleable() } else { Vec::new() };
        drop(state);
        self.feed.0.pace.notify_waiters();
        self.feed.0.taken.notify_waiters();
        give_back(returned);
    }
}

/// Releases deliveries that nobody has seen, in their order.
fn give_back(deliveries: Vec<Delivery>) {
    for delivery in deliveries {
        if delivery.is_live() {
            delivery.settle_as(pubsub_core::driver::Outcome::Release);
        } else {
            delivery.forget();
        }
    }
}

impl Drop for FeedSource {
    fn drop(&mut self) {
        self.feed.end();
        give_back(self.feed.take_deliveries());
        self.feed.0.gone.cancel();
    }
}

impl fmt::Debug for FeedSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FeedSource").field("feed", &self.feed).finish_non_exhaustive()
    }
}
