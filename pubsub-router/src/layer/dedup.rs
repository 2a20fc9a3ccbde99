//! `Dedup`: an event that was handled is not handled again.

use std::{sync::Arc, time::Duration};

use pubsub_core::store::{DedupClaim, DedupStore};

use super::{Inner, layer};
use crate::{Decision, Done, HandlerError, Incoming, Verdict};

/// Handles each event id once per group, as far as the store remembers: a second one is acknowledged and not handled.
///
/// An id is claimed before the handler runs and marked as done after it has succeeded and what it emitted is confirmed; a
/// failure gives the claim back. Between the handler's effect and the mark there is a moment in which a crash leads to a
/// second call: only a handler whose effect and mark are in one transaction is free of it.
///
/// A claim of a consumer that died ends after its lease; until then the event waits.
#[derive(Clone, Debug)]
pub struct Dedup {
    store: Arc<dyn DedupStore>,
    lease: Duration,
}

impl Dedup {
    /// Remembers in `store`. Claims last a minute.
    pub fn new(store: impl DedupStore + 'static) -> Self {
        Self { store: Arc::new(store), lease: Duration::from_secs(60) }
    }

    /// Sets how long a claim holds if its consumer dies: longer than the handler takes.
    #[must_use]
    pub fn lease(mut self, lease: Duration) -> Self {
        self.lease = lease;
        self
    }

    async fn around(&self, incoming: Incoming, inner: impl Inner) -> Verdict {
        let (scope, id) = (incoming.group().clone(), incoming.message().id().clone());
        match self.store.claim(&scope, &id, self.lease).await? {
            DedupClaim::Granted => {}
            DedupClaim::Done => return Ok(Done::default()),
            DedupClaim::Busy(left) => {
                // Not the event's fault: it is not counted against its attempts.
                let delay = left.clamp(Duration::from_millis(10), Duration::from_secs(1));
                let busy = HandlerError::retry("another consumer is handling the event");
                return Err(busy.resolve(Decision::RetryAfter(delay)));
            }
            _ => return Err(HandlerError::retry("the store gave an answer that this version does not know")),
        }
        let verdict = inner.run(incoming).await;
        match &verdict {
            // The effect is there: an error here would only bring it about once more. Should the mark be missing, a
            // second event of this id waits for the end of the claim and is handled then.
            Ok(_) => note(&self.store.confirm(&scope, &id).await),
            Err(_) => note(&self.store.release(&scope, &id).await),
        }
        verdict
    }
}

/// Tells of a store that could not be told.
fn note(result: &pubsub_core::Result<()>) {
    #[cfg(feature = "trace")]
    if let Err(error) = result {
        tracing::warn!("deduplication: {}", HandlerError::from(error.clone()));
    }
    #[cfg(not(feature = "trace"))]
    let _ = result;
}

layer!(Dedup, DedupService);
