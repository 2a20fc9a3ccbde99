//! `Timeout`: how long a handler may take.

use std::{fmt, time::Duration};

use super::{Inner, layer};
use crate::{HandlerError, Incoming, Verdict};

/// Cuts a handler off that takes longer, and counts it as failed: the event comes again.
///
/// Around [`Retry::inline`](crate::Retry::inline) it bounds all tries together, inside of it each one.
#[derive(Clone, Copy, Debug)]
pub struct Timeout {
    after: Duration,
}

/// A handler took longer than its [`Timeout`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TimedOut(pub Duration);

impl fmt::Display for TimedOut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the handler did not finish within {:?}", self.0)
    }
}

impl std::error::Error for TimedOut {}

impl Timeout {
    /// Cuts off after this time of the bus's clock.
    pub fn after(after: Duration) -> Self {
        Self { after }
    }

    async fn around(&self, incoming: Incoming, inner: impl Inner) -> Verdict {
        let over = incoming.bus().clock().sleep(self.after);
        tokio::select! {
            biased;
            verdict = inner.run(incoming) => verdict,
            () = over => Err(HandlerError::retry(TimedOut(self.after))),
        }
    }
}

layer!(Timeout, TimeoutService);
