//! `Retry`: when a failed event is tried again, and how often.

use std::time::Duration;

use pubsub_core::{Result, driver::RetryPolicy};

use super::{Inner, layer, wait};
use crate::{Decision, HandlerError, Incoming, Verdict, run::resolve};

/// Says when an event whose handler failed is tried again, and after how many attempts it becomes a dead letter.
///
/// [`Retry::exponential`] gives the event back to the broker, which delivers it again when it is due: it survives a crash,
/// and on an ordered channel holds back only the later events of its key. [`Retry::inline`] tries again in place, holding
/// the delivery and the handler's turn: for short disturbances. Stack both to have both: inline inside.
///
/// Of several retry layers the innermost decides; where there is none, the default policy does: 8 attempts, 100 ms doubling
/// to 30 s, up to a fifth shorter at random. `reject`, `give_up` and undecodable events are never retried, and the delay of
/// `retry_after` replaces the policy's. More attempts than [`Router::max_deliveries`](crate::Router::max_deliveries) have no
/// effect.
#[derive(Clone, Debug)]
pub struct Retry {
    policy: RetryPolicy,
    inline: bool,
}

impl Retry {
    /// Delivered again by the broker: `attempts` deliveries in all, 0 for as many as the router allows.
    pub fn exponential(attempts: u32) -> Self {
        Self::with(RetryPolicy::default().attempts(attempts))
    }

    /// The same by a policy.
    pub fn with(policy: RetryPolicy) -> Self {
        Self { policy, inline: false }
    }

    /// Tried again in place: `attempts` calls in all for each delivery. When they are used up, the failure goes on to the
    /// layers outside, and in the end back to the broker. While the router is drained it does not wait: the event is given
    /// back.
    pub fn inline(attempts: u32) -> Self {
        Self { inline: true, ..Self::exponential(attempts.max(1)) }
    }

    /// Sets the first and the longest delay; each is twice the one before.
    #[must_use]
    pub fn delays(mut self, initial: Duration, max: Duration) -> Self {
        self.policy = self.policy.delays(initial, max);
        self
    }

    /// Sets by which part of itself a delay may be shortened at random, from 0.0 to 1.0.
    #[must_use]
    pub fn jitter(mut self, jitter: f64) -> Self {
        self.policy = self.policy.jitter(jitter);
        self
    }

    /// Checks the numbers: an invalid jitter or an initial delay above the longest counts as none or as the longest.
    ///
    /// # Errors
    /// `Invalid` that names the fields.
    pub fn check(&self) -> Result<()> {
        self.policy.check()
    }

    async fn around(&self, incoming: Incoming, inner: impl Inner) -> Verdict {
        if !self.inline {
            let verdict = inner.run(incoming.clone()).await;
            return verdict.map_err(|error| resolve(error, &self.policy, incoming.message().id(), incoming.attempt()));
        }
        let mut attempt = 1;
        loop {
            let error = match inner.run(incoming.clone()).await {
                Ok(done) => return Ok(done),
                Err(error) if error.is_resolved() => return Err(error),
                Err(error) => error,
            };
            if self.policy.is_exhausted(attempt) {
                return Err(error);
            }
            wait(&incoming, self.delay(&error, &incoming, attempt)).await?;
            attempt += 1;
        }
    }

    fn delay(&self, error: &HandlerError, incoming: &Incoming, attempt: u32) -> Duration {
        match error.decision() {
            Decision::RetryAfter(delay) => delay,
            _ => self.policy.delay(incoming.message().id(), attempt),
        }
    }
}

layer!(Retry, RetryService);
