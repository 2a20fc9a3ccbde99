//! `Dedup`: an event that was handled is not handled again.

use std::{sync::Arc, time::Duration};

use pubsub_core::{
    EventId, GroupName,
    store::{DedupClaim, DedupStore},
};

use super::{Inner, layer, wait};
use crate::{Done, HandlerError, Incoming, Verdict};

/// Handles each event id once per group, as far as the store remembers: a second one is acknowledged and not handled.
///
/// An id is claimed before the handler runs and marked as done after it has succeeded and what it emitted is confirmed; a
/// failure gives the claim back. Between the handler's effect and the mark there is a moment in which a crash leads to a
/// second call: only a handler whose effect and mark are in one transaction is free of it.
///
/// An event that somebody else is at waits where it is, without spending attempts. A claim of a consumer that died ends after its
/// lease; one of a handler that was cut off is given back.
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
        loop {
            match self.store.claim(&scope, &id, self.lease).await? {
                DedupClaim::Granted => break,
                DedupClaim::Done => return Ok(Done::default()),
                // Here, not at the broker, which would count it among the attempts: it is not the event's fault.
                DedupClaim::Busy(left) => {
                    wait(&incoming, left.clamp(Duration::from_millis(10), Duration::from_secs(1))).await?;
                }
                _ => return Err(HandlerError::retry("the store gave an answer that this version does not know")),
            }
        }
        let claimed = Claimed { store: &self.store, of: Some((scope.clone(), id.clone())) };
        let verdict = inner.run(incoming).await;
        claimed.ended();
        match &verdict {
            // The effect is there: an error here would only bring it about once more. Should the mark be missing, a
            // second event of this id waits for the end of the claim and is handled then.
            Ok(_) => note(&self.store.confirm(&scope, &id).await),
            Err(_) => note(&self.store.release(&scope, &id).await),
        }
        verdict
    }
}

/// A claim whose handler runs; if that is cut off, the claim is given back, or the event would wait for its end.
struct Claimed<'a> {
    store: &'a Arc<dyn DedupStore>,
    of: Option<(GroupName, EventId)>,
}

impl Claimed<'_> {
    /// The handler has ended by itself.
    fn ended(mut self) {
        self.of = None;
    }
}

impl Drop for Claimed<'_> {
    fn drop(&mut self) {
        // Without a runtime the claim ends with its lease. The task has one call to a store that bounds it.
        if let (Some((scope, id)), Ok(runtime)) = (self.of.take(), tokio::runtime::Handle::try_current()) {
            let store = self.store.clone();
            runtime.spawn(async move { note(&store.release(&scope, &id).await) });
        }
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
