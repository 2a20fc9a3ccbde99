//! `Held`: the right and duty to settle a delivery, whatever becomes of the task that works on it.

use pubsub_core::{Ack, Error, Result, driver::RetryPolicy};

use crate::{Decision, HandlerError, Incoming, Settle, Verdict, incoming::Site};

/// A delivery in a handler's hands. Dropped unsettled it comes again; while draining it is given back as it came.
pub(crate) struct Held<'a> {
    ack: Option<Ack>,
    /// Where the right to settle is, while the handler has it.
    lent: Option<Incoming>,
    site: &'a Site,
}

impl<'a> Held<'a> {
    pub(crate) fn new(ack: Ack, site: &'a Site) -> Self {
        Self { ack: Some(ack), lent: None, site }
    }

    /// What has to happen before the handler runs.
    pub(crate) fn prepare(&mut self, how: Settle, incoming: &Incoming) {
        match how {
            Settle::AckFirst => self.ack.take().into_iter().for_each(Ack::ack),
            Settle::Manual => {
                if let Some(ack) = self.ack.take() {
                    incoming.lend_ack(ack);
                    self.lent = Some(incoming.clone());
                }
            }
            _ => {}
        }
    }

    /// Gives it back as it came: nothing was done with it.
    pub(crate) fn release(mut self) {
        self.ack.take().into_iter().for_each(Ack::release);
    }

    /// Settles it by what the handler said, unless the handler settles.
    ///
    /// # Errors
    /// What the settlement of a group's delivery never gives.
    pub(crate) fn settle(mut self, verdict: Verdict, how: Settle) -> Result<()> {
        let Some(ack) = self.ack.take() else { return Ok(()) };
        match verdict {
            Ok(_) => {
                ack.ack();
                Ok(())
            }
            Err(error) => settle_failed(ack, error, how, self.site),
        }
    }
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        let ack = self.ack.take().or_else(|| self.lent.take()?.take_ack());
        if let Some(ack) = ack.filter(|_| self.site.drain.is_draining()) {
            ack.release();
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
