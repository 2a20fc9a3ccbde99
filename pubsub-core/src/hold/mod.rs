//! `KeyHold`: keeps the events of a key in order across failures, inside the process.

mod gauge;
mod settlers;
mod shared;
mod slots;
mod table;
#[cfg(test)]
mod tests;

use std::{
    fmt,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

pub use gauge::HoldGauge;
use shared::{Park, Shared};

use crate::{
    Clock, Result, StartPosition,
    driver::{BoxFuture, Chunk, Drain, Item, Outcome, RetryPolicy, Source, SubscribeOptions},
};

/// How a [`KeyHold`] works.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct HoldOptions {
    /// How many events may be unsettled, in users' hands and held together; at least 1. What is held is unsettled at
    /// the source, too: a smaller `max_in_flight` of the source is the bound that counts.
    pub window: usize,
    /// Whether all events are of one key, whatever theirs are: for channels whose order is total.
    pub total: bool,
    /// The backoff of deliveries that are dropped.
    pub retry: RetryPolicy,
    /// Where delays and ages take their time from.
    pub clock: Clock,
    /// The owner's signal to drain.
    pub drain: Drain,
}

impl HoldOptions {
    /// A window with the default backoff and the system's clock.
    pub fn new(window: usize) -> Self {
        Self { window, total: false, retry: RetryPolicy::default(), clock: Clock::system(), drain: Drain::new() }
    }

    /// What a subscription asked for: its `max_in_flight` is the window.
    pub fn of(options: &SubscribeOptions, clock: Clock) -> Self {
        Self { window: options.max_in_flight, total: false, retry: options.retry, clock, drain: options.drain.clone() }
    }
}

/// A source that keeps the order of each key across failures, for adapters whose broker cannot
/// ([`OrderKeeper::Library`](crate::driver::OrderKeeper::Library)).
///
/// # Order
/// Events are handed out in the order of the source inside; several of one key may be out at a time. When one fails
/// (`Nack`, `Dropped`), the broker is not told: the event is held here, unsettled, and handed out again after its
/// delay with `attempt + 1`. Every later event of its key that is out is taken back – its token is stale, what is
/// settled with it is ignored and counted – and comes again behind it, with the attempt number it had; events of the
/// key that arrive meanwhile wait behind those. `Release` does the same at once and counts nothing. Whoever buffers
/// deliveries must ask [`is_live`](crate::Delivery::is_live) right before work on one starts.
///
/// So, where each key's deliveries are settled in the order they were handed out, the key's events succeed in order.
/// Other keys, and events without a key, flow on until `window` events are unsettled, in users' hands and held
/// together. Then the source is not asked for more until one is settled; [`HoldGauge::age`] shows it. Up to one chunk
/// that the source gave at once may wait for room besides.
///
/// `Ack`, `Reject`, their confirmation and extensions reach the source as they are, and a flush reaches every settler of
/// it; gaps and states keep their place.
/// Attempts that failed here are known here only: an event that goes back to the broker comes with its count.
///
/// # Lost leases
/// When the source has taken an event back (its own `is_live` is false), the event's later ones of the same key must
/// not overtake it: the lost one is dropped here, the later ones are taken back and released to the source, in order,
/// so that it brings them again behind it. Once *all* of a key are lost, as after a reassignment, an arrival of the
/// key is the source starting over, and takes their place. Either way the order across the loss is the order in which
/// the source brings the events again. A loss is noticed when a delivery is handed out, asked whether it is live, or
/// fails, and when its key's next event arrives.
///
/// # Draining and the end
/// While draining, nothing is handed out, and what fails or is dropped goes back to the source as `Release`, together
/// with the later events of its key. Dropping the hold releases what is held to the source, in order of arrival, and
/// before the source itself is dropped; deliveries in users' hands can still be settled, with failures treated as
/// while draining. When the source ends, what is held is handed out first; what fails after that stays until the
/// hold is dropped.
pub struct KeyHold {
    shared: Arc<Shared>,
    inner: Box<dyn Source>,
    /// What the source gave and the window had no room for.
    incoming: Chunk,
    timer: Option<Timer>,
    ended: bool,
}

struct Timer {
    due: Duration,
    sleep: BoxFuture<'static, ()>,
}

impl KeyHold {
    /// Puts a hold around a source.
    pub fn new(inner: Box<dyn Source>, options: HoldOptions) -> Self {
        let shared = Arc::new(Shared::new(options));
        Self { shared, inner, incoming: Chunk::default(), timer: None, ended: false }
    }

    /// A view on what is unsettled, which outlives the hold.
    pub fn gauge(&self) -> HoldGauge {
        HoldGauge::new(Arc::clone(&self.shared))
    }

    fn release_incoming(&mut self) {
        while let Some(item) = self.incoming.pop() {
            if let Item::Delivery(delivery) = item {
                if delivery.is_live() { delivery.settle_as(Outcome::Release) } else { delivery.forget() }
            }
        }
    }

    /// Waits for what is due next; ready once it is, and never without anything due. Fails where there are no timers.
    fn poll_timer(&mut self, cx: &mut Context<'_>, due: Option<Duration>) -> Poll<Result<Duration>> {
        let Some(due) = due else {
            self.timer = None;
            return Poll::Pending;
        };
        if self.timer.as_ref().is_none_or(|timer| timer.due != due) {
            let wait = due.saturating_sub(self.shared.now());
            self.shared.clock().check_timers("receive")?;
            self.timer = Some(Timer { due, sleep: self.shared.clock().sleep(wait) });
        }
        let Some(timer) = &mut self.timer else { return Poll::Pending };
        ready!(timer.sleep.as_mut().poll(cx));
        self.timer = None;
        Poll::Ready(Ok(due))
    }
}

impl Source for KeyHold {
    /// Cancel safe. Delays need a tokio runtime under the system's clock, or an `Invalid` error comes in their place.
    fn poll_chunk(&mut self, cx: &mut Context<'_>, chunk: &mut Chunk) -> Poll<Option<Result<()>>> {
        let before = chunk.len();
        let mut now = self.shared.now();
        loop {
            let room = self.shared.hand_out(now, chunk);
            let mut idle = self.ended;
            let fresh = self.incoming.is_empty();
            if room && fresh && !self.ended {
                match self.inner.poll_chunk(cx, &mut self.incoming) {
                    Poll::Ready(Some(Ok(()))) => {}
                    Poll::Ready(Some(Err(error))) => return Poll::Ready(Some(Err(error))),
                    Poll::Ready(None) => self.ended = true,
                    Poll::Pending => idle = true,
                }
            }
            self.shared.take_in(&mut self.incoming, fresh, chunk);
            if chunk.len() > before {
                return Poll::Ready(Some(Ok(())));
            }
            let over = self.ended && self.incoming.is_empty();
            if over && (self.shared.is_draining() || self.shared.table().waiting() == 0) {
                return Poll::Ready(None);
            }
            match self.shared.park(cx, idle && self.incoming.is_empty()) {
                Park::Again => now = self.shared.now().max(now),
                // The timer's word counts, not the clock's: the two may differ by what sleeping rounds off.
                Park::Until(due) => match ready!(self.poll_timer(cx, due)) {
                    Ok(due) => now = due,
                    Err(error) => return Poll::Ready(Some(Err(error))),
                },
            }
        }
    }

    /// Takes back everything, in users' hands or held, releases it to the source in order of arrival, then seeks there.
    ///
    /// # Errors
    /// As the source; what was taken back comes again from wherever the source stands then.
    fn seek(&mut self, to: StartPosition) -> BoxFuture<'_, Result<()>> {
        Box::pin(async move {
            self.shared.give_back_all(true, false);
            self.release_incoming();
            self.inner.seek(to).await?;
            self.ended = false;
            Ok(())
        })
    }

    /// Pauses the source inside; what is held still comes.
    fn set_paused(&mut self, paused: bool) {
        self.inner.set_paused(paused);
    }
}

impl Drop for KeyHold {
    fn drop(&mut self) {
        self.shared.give_back_all(false, true);
        self.release_incoming();
    }
}

impl fmt::Debug for KeyHold {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeyHold").field("gauge", &self.gauge()).field("ended", &self.ended).finish_non_exhaustive()
    }
}
