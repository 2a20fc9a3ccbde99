//! `Held`: the right and duty to settle a delivery, whatever becomes of the task that works on it.

use std::sync::atomic::{AtomicUsize, Ordering};

use pubsub_core::{Ack, Error, Result, driver::RetryPolicy};
use tokio::sync::Notify;

use crate::{Decision, HandlerError, Incoming, Settle, Verdict, incoming::Site};

/// How many deliveries the handlers of a router have in hand.
#[derive(Debug, Default)]
pub(crate) struct InHand {
    count: AtomicUsize,
    none: Notify,
}

impl InHand {
    pub(crate) fn count(&self) -> usize {
        self.count.load(Ordering::Acquire)
    }

    /// Waits until there are none.
    pub(crate) async fn none(&self) {
        loop {
            let notified = self.none.notified();
            tokio::pin!(notified);
            notified.as_mut().enable();
            if self.count() == 0 {
                return;
            }
            notified.await;
        }
    }
}

/// A delivery in a handler's hands. Dropped unsettled it comes again; while draining it is given back as it came.
pub(crate) struct Held {
    incoming: Incoming,
    settled: bool,
}

impl Held {
    pub(crate) fn new(incoming: Incoming) -> Self {
        incoming.site().in_hand.count.fetch_add(1, Ordering::Relaxed);
        Self { incoming, settled: false }
    }

    /// What layers and handlers see of it.
    pub(crate) fn incoming(&self) -> &Incoming {
        &self.incoming
    }

    /// What has to happen before the handler runs.
    pub(crate) fn prepare(&mut self, how: Settle) {
        match how {
            Settle::AckFirst => self.take().into_iter().for_each(Ack::ack),
            Settle::Manual => self.incoming.lend_ack(),
            _ => {}
        }
    }

    /// Gives it back as it came: nothing was done with it.
    pub(crate) fn release(mut self) {
        self.take().into_iter().for_each(Ack::release);
    }

    /// Settles it by what the handler said, unless the handler settles.
    ///
    /// # Errors
    /// What the settlement of a group's delivery never gives.
    pub(crate) fn settle(mut self, verdict: Verdict, how: Settle) -> Result<()> {
        if how == Settle::Manual {
            return Ok(());
        }
        let Some(ack) = self.take() else { return Ok(()) };
        match verdict {
            Ok(_) => {
                ack.ack();
                Ok(())
            }
            Err(error) => settle_failed(ack, error, how, self.incoming.site()),
        }
    }

    fn take(&mut self) -> Option<Ack> {
        self.settled = true;
        self.incoming.take_ack()
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        let ack = if self.settled { None } else { self.take() };
        let site = self.incoming.site();
        if let Some(ack) = ack.filter(|_| site.drain.is_draining()) {
            ack.release();
        }
        // Whoever waits for the end of all has begun to drain before.
        if site.in_hand.count.fetch_sub(1, Ordering::AcqRel) == 1 && site.drain.is_draining() {
            site.in_hand.none.notify_waiters();
        }
    }
}

fn settle_failed(ack: Ack, error: HandlerError, how: Settle, site: &Site) -> Result<()> {
    if let Some(unreadable) = error.as_unreadable() {
        ack.reject_unreadable(unreadable);
        return Ok(());
    }
    let plain = error.decision() == Decision::Retry && !error.is_resolved();
    if plain && how == Settle::AckOnError {
        ack.ack();
        return Ok(());
    }
    if plain && how == Settle::RejectOnError {
        return ack.reject(&error);
    }
    let error = resolve(error, &RetryPolicy::default(), ack.message().id(), ack.attempt());
    match error.decision() {
        Decision::Release => {
            ack.release();
            Ok(())
        }
        Decision::RetryAfter(delay) => {
            let longest = site.bus.capabilities().limits.max_delay;
            ack.fail_after(longest.map_or(delay, |longest| delay.min(longest)), &error)
        }
        _ => ack.reject(&error),
    }
}

/// Lets a policy decide about delay and end of attempts, unless one has.
pub(crate) fn resolve(
    error: HandlerError,
    policy: &RetryPolicy,
    id: &pubsub_core::EventId,
    attempt: u32,
) -> HandlerError {
    if error.is_resolved() {
        return error;
    }
    if policy.is_exhausted(attempt) {
        return error.resolve(Decision::GiveUp);
    }
    let delay = match error.decision() {
        Decision::RetryAfter(delay) => delay,
        _ => policy.delay(id, attempt),
    };
    error.resolve(Decision::RetryAfter(delay))
}

/// An error as the text that a state shows.
pub(crate) fn text_of(error: &Error) -> String {
    HandlerError::from(error.clone()).to_string()
}
