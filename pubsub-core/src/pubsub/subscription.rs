//! An open subscription as users hold it.

use std::{
    fmt,
    marker::PhantomData,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use futures_core::Stream;

use super::{
    PubSub,
    consumer::Consumer,
    letters::is_for_another,
    received::{Ack, Read, Received},
    registry::Entry,
    subscribe::{Unknown, claims},
};
use crate::{
    Clock, Delivery, Error, ErrorKind, HoldGauge, NamePattern, Result, StartPosition,
    driver::{Gap, Item, Outcome, SubscribeOptions, Subscription, SubscriptionState},
    observe::Observer,
};

/// What a subscription has to tell.
#[non_exhaustive]
pub enum EventItem<T: Read> {
    /// An event.
    Event(Received<T>),
    /// Events that this subscription will not see.
    Gap(Gap),
    /// A change of the subscription's connection.
    State(SubscriptionState),
}

impl<T: Read> fmt::Debug for EventItem<T>
where
    T::Target: fmt::Debug,
{
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Event(event) => f.debug_tuple("Event").field(event).finish(),
            Self::Gap(gap) => f.debug_tuple("Gap").field(gap).finish(),
            Self::State(state) => f.debug_tuple("State").field(state).finish(),
        }
    }
}

/// How many of what, since the subscription began.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Stats {
    /// Events handed out, redeliveries included.
    pub delivered: u64,
    /// Settlements that came too late and changed nothing: the lease was gone, and the event may be with another consumer.
    pub refused: u64,
    /// Events of names that the group does not take.
    pub unclaimed: u64,
    /// Events that could not be decoded.
    pub undecodable: u64,
    /// Deliveries that were nacked, rejected or could not be read.
    pub failed: u64,
    /// Failed deliveries whose events come again.
    pub retried: u64,
    /// Events given to the writer of dead letters.
    pub dead_lettered: u64,
    /// Gap events.
    pub gaps: u64,
    /// Events that gap events told of, where the number is known.
    pub lost: u64,
    /// How often the subscription was disconnected as too slow: once at most, since it ends with that.
    pub disconnected: u64,
    /// Events handed out and not settled yet.
    pub outstanding: usize,
    /// Events that the library holds in the process, behind a failure of their key; 0 where the adapter keeps order.
    pub held: usize,
    /// For how long the oldest unsettled event has been in that hold: the metric `ack_window_age`.
    pub ack_window_age: Option<Duration>,
}

/// An open subscription: a stream of events, and of what happens to it.
///
/// Events that cannot be decoded, and versions that nobody taught this process to read, become dead letters in a
/// group, with their original bytes; a broadcast returns the error and goes on.
pub struct Events<T: Read> {
    bus: PubSub,
    subscription: Subscription,
    consumer: Arc<Consumer>,
    names: Vec<NamePattern>,
    entry: Option<Arc<Entry>>,
    unknown: Unknown,
    state: SubscriptionState,
    ended: bool,
    /// An error that ended a batch, for the next call.
    pending: Option<Error>,
    reads: PhantomData<fn() -> T>,
}

impl<T: Read> Events<T> {
    pub(super) fn new(
        bus: PubSub,
        subscription: Subscription,
        consumer: Arc<Consumer>,
        names: Vec<NamePattern>,
        entry: Option<Arc<Entry>>,
        unknown: Unknown,
    ) -> Self {
        let state = SubscriptionState::Active;
        Self {
            bus,
            subscription,
            consumer,
            names,
            entry,
            unknown,
            state,
            ended: false,
            pending: None,
            reads: PhantomData,
        }
    }

    /// The next event; `None` once the bus is closed. Gaps and states are passed over, but counted.
    ///
    /// Cancel safe: dropping the future loses nothing.
    ///
    /// # Errors
    /// What the adapter reports while it recovers, and on a broadcast `Codec` for an event that cannot be decoded.
    /// The subscription goes on after an error, unless it was disconnected as too slow (`Backpressure`).
    pub async fn next(&mut self) -> Option<Result<Received<T>>> {
        std::future::poll_fn(|cx| self.poll_event(cx)).await
    }

    /// The next event, if one comes within `timeout`. Cancel safe.
    ///
    /// # Errors
    /// As [`Events::next`]; `Closed` once the bus is closed, `Invalid` outside of a tokio runtime.
    pub async fn next_timeout(&mut self, timeout: Duration) -> Result<Option<Received<T>>> {
        Clock::system().check_timers("receive")?;
        let closed = || Error::new(ErrorKind::Closed, "receive", "the subscription has ended");
        match tokio::time::timeout(timeout, self.next()).await {
            Ok(Some(event)) => event.map(Some),
            Ok(None) => Err(closed()),
            Err(_) => Ok(None),
        }
    }

    /// Up to `max` events: waits for the first, then at most `wait` for more. Empty once the bus is closed.
    ///
    /// Cancel safe only until the first event has come: later, events already taken are dropped and come again.
    ///
    /// # Errors
    /// As [`Events::next`], if the error comes first; a later one ends the batch and is returned by the next call.
    /// `Invalid` for a `max` of zero, since an empty batch means that the bus is closed, and outside of a tokio runtime.
    pub async fn next_chunk(&mut self, max: usize, wait: Duration) -> Result<Vec<Received<T>>> {
        if max == 0 {
            return Err(Error::new(ErrorKind::Invalid, "receive", "field `max` must not be zero"));
        }
        Clock::system().check_timers("receive")?;
        let mut events = Vec::new();
        match self.next().await {
            Some(first) => events.push(first?),
            None => return Ok(events),
        }
        let deadline = tokio::time::Instant::now().checked_add(wait);
        while events.len() < max {
            let next = match deadline {
                Some(deadline) => tokio::time::timeout_at(deadline, self.next()).await.unwrap_or(None),
                None => self.next().await,
            };
            match next {
                Some(Ok(event)) => events.push(event),
                Some(Err(error)) => {
                    self.pending = Some(error);
                    break;
                }
                None => break,
            }
        }
        Ok(events)
    }

    /// The next event, gap or change of state; `None` once the bus is closed. Cancel safe.
    ///
    /// # Errors
    /// As [`Events::next`].
    pub async fn next_item(&mut self) -> Option<Result<EventItem<T>>> {
        std::future::poll_fn(|cx| self.poll_item(cx)).await
    }

    /// As [`Events::next_item`], for who has something to do before it waits.
    pub fn poll_item(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<EventItem<T>>>> {
        Poll::Ready(match ready!(self.poll_any(cx)) {
            Some(Ok(Any::Event(event))) => Some(Ok(EventItem::Event(event))),
            Some(Ok(Any::Gap(gap))) => Some(Ok(EventItem::Gap(gap))),
            Some(Ok(Any::State(state))) => Some(Ok(EventItem::State(state))),
            Some(Err(error)) => Some(Err(error)),
            None => None,
        })
    }

    fn poll_event(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Received<T>>>> {
        loop {
            match ready!(self.poll_any(cx)) {
                Some(Ok(Any::Event(event))) => return Poll::Ready(Some(Ok(event))),
                Some(Ok(Any::Gap(_) | Any::State(_))) => {}
                Some(Err(error)) => return Poll::Ready(Some(Err(error))),
                None => return Poll::Ready(None),
            }
        }
    }

    fn poll_any(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Any<T>>>> {
        if let Some(error) = self.pending.take() {
            return Poll::Ready(Some(Err(error)));
        }
        loop {
            if self.ended {
                return Poll::Ready(None);
            }
            if self.consumer.is_over() {
                self.subscription.release_buffered();
                self.ended = true;
                return Poll::Ready(None);
            }
            if self.consumer.is_paused() {
                self.subscription.release_buffered();
                self.subscription.source().set_paused(true);
                self.consumer.park(cx.waker());
                // Asked again after parking: whoever resumes in between finds the waker or is seen here.
                if self.consumer.is_paused() && !self.consumer.is_over() {
                    return Poll::Pending;
                }
                self.subscription.source().set_paused(false);
                continue;
            }
            let item = match self.subscription.poll_next(cx) {
                Poll::Ready(item) => item,
                Poll::Pending => {
                    self.consumer.park(cx.waker());
                    if self.consumer.is_over() || self.consumer.is_paused() {
                        continue;
                    }
                    return Poll::Pending;
                }
            };
            match item {
                Some(Ok(Item::Delivery(delivery))) => {
                    if let Some(outcome) = self.admit(delivery) {
                        return Poll::Ready(Some(outcome.map(Any::Event)));
                    }
                }
                Some(Ok(Item::Gap(gap))) => {
                    self.consumer.counts.gaps.one();
                    self.consumer.counts.lost.add(gap.lost.unwrap_or(0));
                    return Poll::Ready(Some(Ok(Any::Gap(gap))));
                }
                Some(Ok(Item::State(state))) => {
                    self.state = state.clone();
                    return Poll::Ready(Some(Ok(Any::State(state))));
                }
                Some(Err(error)) => {
                    if error.kind() == ErrorKind::Backpressure {
                        // What is too slow is told so, and ended: see `next`.
                        self.consumer.counts.disconnected.one();
                    }
                    return Poll::Ready(Some(Err(error)));
                }
                None => {
                    self.ended = true;
                    return Poll::Ready(None);
                }
            }
        }
    }

    /// What to do with a delivery: hand it out, or deal with it here.
    fn admit(&self, delivery: Delivery) -> Option<Result<Received<T>>> {
        let counts = &self.consumer.counts;
        let in_group = self.consumer.group.is_some();
        if delivery.fault.is_some() {
            return self.refuse(delivery).map(Err);
        }
        if is_for_another(&delivery.message, self.consumer.group.as_ref()) {
            delivery.settle_as(Outcome::Ack);
            return None;
        }
        if !claims(&self.names, delivery.message.name()) {
            if in_group {
                counts.unclaimed.one();
                if self.unknown == Unknown::DeadLetter {
                    let reason = format!("nobody in the group takes `{}`", delivery.message.name());
                    Ack::new(delivery, &self.consumer).bury(reason);
                    return None;
                }
            }
            delivery.settle_as(Outcome::Ack);
            return None;
        }
        if in_group && delivery.attempt > 1 && self.consumer.retry.is_worn(delivery.attempt - 1) {
            let mut delivery = delivery;
            delivery.attempt -= 1; // the deliveries that a handler may have seen
            let reason = format!("delivered {} times, and never settled", delivery.attempt);
            Ack::new(delivery, &self.consumer).bury(reason);
            return None;
        }
        let definition = self.entry.as_ref().map(|entry| &*entry.definition);
        match T::read(&delivery, definition) {
            Ok(value) => {
                counts.delivered.one();
                Some(Ok(Received::new(value, Ack::new(delivery, &self.consumer))))
            }
            Err(error) => {
                let error = error.on(delivery.message.channel());
                self.refuse(delivery.unreadable(error)).map(Err)
            }
        }
    }

    /// Deals with a delivery that cannot be read: where nobody keeps it, the caller is told.
    fn refuse(&self, mut delivery: Delivery) -> Option<Error> {
        let error = Error::clone(&*delivery.fault.take()?);
        Ack::new(delivery, &self.consumer).reject_unreadable(&error);
        // Where no dead letter keeps it, it does not come again.
        self.consumer.dead_letters.is_none().then_some(error)
    }

    /// Moves the subscription to another position; for a group, the whole group. What is unsettled is taken back.
    ///
    /// # Errors
    /// `PositionExpired` if events after that position are gone, `Invalid` for a foreign position, `Unsupported`.
    pub async fn seek(&mut self, to: StartPosition) -> Result<()> {
        self.bus.open("seek")?;
        self.bus.capabilities().require("seek", [crate::driver::Feature::Seek])?;
        self.subscription.release_buffered();
        self.subscription.source().seek(to).await
    }

    /// A handle to pause, resume and watch the subscription from elsewhere.
    pub fn control(&self) -> Control {
        Control(self.consumer.clone())
    }

    /// Stops taking events until [`Events::resume`]. What was not handed out goes back.
    pub fn pause(&mut self) {
        self.consumer.set_paused(true);
        self.subscription.release_buffered();
        self.subscription.source().set_paused(true);
    }

    /// Takes events again.
    pub fn resume(&mut self) {
        self.consumer.set_paused(false);
        self.subscription.source().set_paused(false);
    }

    /// The state of the subscription's connection, as of the last item.
    pub fn state(&self) -> &SubscriptionState {
        &self.state
    }

    /// Counters.
    pub fn stats(&self) -> Stats {
        self.control().stats()
    }
}

enum Any<T: Read> {
    Event(Received<T>),
    Gap(Gap),
    State(SubscriptionState),
}

impl<T: Read> Stream for Events<T> {
    type Item = Result<Received<T>>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.get_mut().poll_event(cx)
    }
}

impl<T: Read> fmt::Debug for Events<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Events")
            .field("group", &self.consumer.group)
            .field("names", &self.names)
            .field("stats", &self.stats())
            .finish_non_exhaustive()
    }
}

/// Pauses, resumes and watches a subscription from another task.
#[derive(Clone)]
pub struct Control(Arc<Consumer>);

impl Control {
    /// The control of no subscription, for whoever has none yet: nothing is counted, and nobody is told.
    pub fn detached() -> Self {
        let (observer, options) = (Observer::new("none"), SubscribeOptions::new(Vec::new()));
        Self(Arc::new(Consumer::new(&observer, &options, None, None, Arc::default())))
    }

    /// Stops the subscription from taking events. What it has buffered goes back at its next poll.
    pub fn pause(&self) {
        self.0.set_paused(true);
    }

    /// Lets it take events again.
    pub fn resume(&self) {
        self.0.set_paused(false);
    }

    /// Ends the subscription: its stream gives `None`, and what it has buffered goes back. Events that are in users' hands
    /// can still be settled.
    pub fn end(&self) {
        self.0.end();
    }

    /// Whether it has ended, or is about to: by [`Control::end`], or because the bus is being closed.
    pub fn is_ended(&self) -> bool {
        self.0.is_over()
    }

    /// Whether it is paused.
    pub fn is_paused(&self) -> bool {
        self.0.is_paused()
    }

    /// Counters.
    pub fn stats(&self) -> Stats {
        let counts = &self.0.counts;
        Stats {
            delivered: counts.delivered.get(),
            refused: counts.refused.get(),
            unclaimed: counts.unclaimed.get(),
            undecodable: counts.undecodable.get(),
            failed: counts.failed.get(),
            retried: counts.retried.get(),
            dead_lettered: counts.dead_lettered.get(),
            gaps: counts.gaps.get(),
            lost: counts.lost.get(),
            disconnected: counts.disconnected.get(),
            outstanding: self.0.outstanding(),
            held: self.0.hold().map_or(0, HoldGauge::held),
            ack_window_age: self.0.hold().and_then(HoldGauge::age),
        }
    }
}

impl fmt::Debug for Control {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Control").field("stats", &self.stats()).finish_non_exhaustive()
    }
}
