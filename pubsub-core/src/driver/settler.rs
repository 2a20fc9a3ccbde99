//! Settlement: what becomes of a delivery.

use std::time::Duration;

use super::BoxFuture;
use crate::{Error, ErrorKind, Result};

/// Names one delivery to its source: an index and a generation into a table that the source owns.
///
/// The generation grows with each lease, so that a token outlived by its lease settles nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct AckToken {
    /// Which entry.
    pub index: u64,
    /// Which lease of it.
    pub generation: u64,
}

/// What becomes of a delivery.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Outcome {
    /// Done; it never comes back.
    Ack,
    /// Failed; deliver it again after this time and count an attempt.
    Nack(Duration),
    /// Given up; it never comes back. A dead letter has been written where one is due.
    Reject,
    /// Nobody decided: as a nack with the subscription's backoff, and, while draining, as a release.
    Dropped,
    /// It was never handed out: deliver it again at once, and count nothing. Several that are released come again in
    /// their first order.
    Release,
}

/// Takes settlements of one subscription.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a settler",
    label = "does not implement `Settler`",
    note = "a source gives every delivery an `AckHandle` over its `Settler`"
)]
pub trait Settler: Send + Sync {
    /// Settles a delivery: a push into a batch, never a wait. False if the token is no longer live: it changes nothing
    /// then, and the subscription counts it as refused.
    fn settle(&self, token: AckToken, outcome: Outcome) -> bool;

    /// Whether the token's lease still holds. A delivery whose lease is gone must not be worked on.
    ///
    /// It is asked from anywhere, also under locks of wrappers, so it must neither block nor call back. After a `false`
    /// the delivery is let go without another word: what its lease occupied must be free by then.
    fn is_live(&self, token: AckToken) -> bool;

    /// Settles a delivery and waits for the broker's word.
    ///
    /// # Errors
    /// `Conflict` if the lease was gone: somebody else may have the event now.
    fn confirm(&self, token: AckToken, outcome: Outcome) -> BoxFuture<'_, Result<()>> {
        Box::pin(async move {
            if !self.settle(token, outcome) {
                return Err(stale("settle"));
            }
            self.flush().await
        })
    }

    /// Lets the lease run for `duration` from now.
    ///
    /// # Errors
    /// `Conflict` if the lease is gone, `Invalid` beyond the adapter's limit, `Unsupported` where leases have none.
    fn extend(&self, token: AckToken, duration: Duration) -> BoxFuture<'_, Result<()>> {
        let _ = (token, duration);
        Box::pin(async { Err(Error::new(ErrorKind::Unsupported, "extend lease", "this adapter has no leases")) })
    }

    /// Waits until the broker knows everything settled before.
    ///
    /// # Errors
    /// `Unavailable`, `Timeout` or `Backend` if it cannot be told; the events may come again.
    fn flush(&self) -> BoxFuture<'_, Result<()>>;
}

/// The `Conflict` error for a delivery whose lease is gone.
pub fn stale(operation: &'static str) -> Error {
    Error::new(
        ErrorKind::Conflict,
        operation,
        "the lease of this delivery is gone; the event may be with another consumer",
    )
}
