//! The price of the object-safe driver: a boxed call beside one that is ready, a settlement beside a plain store.

use std::sync::atomic::{AtomicU64, Ordering};

use pubsub::{
    Result,
    driver::{AckToken, BoxFuture, MaybeReady, Outcome, Settler},
};

/// Counts settlements and calls, and does nothing else.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Settler for Counter {
    fn settle(&self, token: AckToken, _: Outcome) -> bool {
        self.0.fetch_add(token.index, Ordering::Relaxed);
        true
    }

    fn is_live(&self, _: AckToken) -> bool {
        true
    }

    fn flush(&self) -> BoxFuture<'_, Result<()>> {
        Box::pin(async { Ok(()) })
    }
}

/// A call through a trait object, in the two forms that the driver traits use.
#[diagnostic::on_unimplemented(message = "`{Self}` has no call to measure", note = "the benches call `Counter`")]
pub trait Call: Send + Sync {
    /// As `enqueue` answers.
    fn ready(&self, value: u64) -> MaybeReady<'_, u64>;
    /// As everything else answers.
    fn boxed(&self, value: u64) -> BoxFuture<'_, u64>;
}

impl Call for Counter {
    fn ready(&self, value: u64) -> MaybeReady<'_, u64> {
        MaybeReady::ready(self.0.load(Ordering::Relaxed) + value)
    }

    fn boxed(&self, value: u64) -> BoxFuture<'_, u64> {
        Box::pin(async move { self.0.load(Ordering::Relaxed) + value })
    }
}
