//! A settler that confirms whatever it is told.

use std::{
    collections::HashMap,
    fmt,
    sync::{Arc, Mutex, PoisonError},
};

use pubsub_core::{
    AckHandle, Result,
    driver::{AckToken, BoxFuture, Outcome, Settler},
};

/// Stands before the real settler, and never says that a lease is gone.
#[derive(Default)]
pub(super) struct Lenient(Mutex<Handles>);

#[derive(Default)]
struct Handles {
    next: u64,
    held: HashMap<u64, AckHandle>,
}

impl Lenient {
    pub(super) fn wrap(this: &Arc<Self>, handle: AckHandle) -> AckHandle {
        let mut handles = this.0.lock().unwrap_or_else(PoisonError::into_inner);
        handles.next += 1;
        let index = handles.next;
        handles.held.insert(index, handle);
        AckHandle::new(this.clone(), AckToken { index, generation: 0 })
    }

    fn take(&self, token: AckToken) -> Option<AckHandle> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).held.remove(&token.index)
    }
}

impl Settler for Lenient {
    fn settle(&self, token: AckToken, outcome: Outcome) {
        if let Some(handle) = self.take(token) {
            handle.settle(outcome);
        }
    }

    fn is_live(&self, _: AckToken) -> bool {
        true
    }

    fn confirm(&self, token: AckToken, outcome: Outcome) -> BoxFuture<'_, Result<()>> {
        Box::pin(async move {
            self.settle(token, outcome);
            Ok(())
        })
    }

    fn flush(&self) -> BoxFuture<'_, Result<()>> {
        Box::pin(async { Ok(()) })
    }
}

impl fmt::Debug for Lenient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lenient").finish_non_exhaustive()
    }
}
