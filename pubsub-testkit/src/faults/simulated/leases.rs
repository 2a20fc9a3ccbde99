//! A settler before the real one, whose leases can be made to end.

use std::{
    collections::HashMap,
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use pubsub_core::{
    AckHandle, Result,
    driver::{AckToken, BoxFuture, Outcome, Settler, stale},
};

/// Stands before the real settler.
pub(super) struct Leases {
    handles: Mutex<Handles>,
    /// It never says that a lease is gone.
    lenient: bool,
}

#[derive(Default)]
struct Handles {
    buried: bool,
    next: u64,
    held: HashMap<u64, AckHandle>,
}

impl Leases {
    pub(super) fn new(lenient: bool) -> Arc<Self> {
        Arc::new(Self { handles: Mutex::default(), lenient })
    }

    /// Ends all leases: what is held goes to somebody else.
    pub(super) fn end(&self) {
        let held = std::mem::take(&mut self.handles().held);
        for handle in held.into_values() {
            handle.settle(Outcome::Nack(Duration::ZERO));
        }
    }

    /// Forgets whatever is said from now on: what is held is held for ever.
    pub(super) fn bury(&self) {
        self.handles().buried = true;
    }

    fn handles(&self) -> MutexGuard<'_, Handles> {
        self.handles.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn wrap(this: &Arc<Self>, handle: AckHandle) -> AckHandle {
        let mut handles = this.handles();
        handles.next += 1;
        let index = handles.next;
        handles.held.insert(index, handle);
        AckHandle::new(this.clone(), AckToken { index, generation: 0 })
    }

    fn take(&self, token: AckToken) -> Option<AckHandle> {
        let mut handles = self.handles();
        if handles.buried { None } else { handles.held.remove(&token.index) }
    }
}

impl Settler for Leases {
    fn settle(&self, token: AckToken, outcome: Outcome) -> bool {
        self.take(token).map_or(self.lenient, |handle| handle.settle(outcome))
    }

    fn is_live(&self, token: AckToken) -> bool {
        self.lenient || self.handles().held.get(&token.index).is_some_and(AckHandle::is_live)
    }

    fn confirm(&self, token: AckToken, outcome: Outcome) -> BoxFuture<'_, Result<()>> {
        Box::pin(async move {
            match self.take(token) {
                _ if self.lenient => Ok(()),
                Some(handle) => handle.confirm(outcome).await,
                None => Err(stale("settle")),
            }
        })
    }

    fn flush(&self) -> BoxFuture<'_, Result<()>> {
        Box::pin(async { Ok(()) })
    }
}

impl fmt::Debug for Leases {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Leases").finish_non_exhaustive()
    }
}
