//! What the callers of running streams say to their responder.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use pubsub_core::{Error, ErrorKind, Message, Result, rpc::StreamControl};
use tokio::sync::Notify;

use super::link::{Receive, Word};

/// The streams that run at one responder, by their calls.
#[derive(Debug, Default)]
pub(super) struct Gates {
    open: Mutex<HashMap<String, Arc<Gate>>>,
}

/// How far one stream may go.
#[derive(Debug)]
pub(super) struct Gate {
    state: Mutex<State>,
    changed: Notify,
}

#[derive(Debug)]
struct State {
    /// Items below this number may be sent.
    limit: u64,
    /// Why none may be sent any more.
    shut: Option<Error>,
}

impl Gates {
    fn lock(&self) -> MutexGuard<'_, HashMap<String, Arc<Gate>>> {
        // The table is whole at every point where a panic could come from.
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lets a stream begin. It is forgotten when the passage is dropped.
    pub(super) fn open(self: &Arc<Self>, call: &str, window: u64) -> Passage {
        let state = Mutex::new(State { limit: window, shut: None });
        let gate = Arc::new(Gate { state, changed: Notify::new() });
        self.lock().insert(call.to_owned(), gate.clone());
        Passage { gates: self.clone(), call: call.to_owned(), gate }
    }
}

impl Gate {
    fn lock(&self) -> MutexGuard<'_, State> {
        // The state is whole at every point where a panic could come from.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn set(&self, change: impl FnOnce(&mut State)) {
        change(&mut self.lock());
        self.changed.notify_waiters();
    }

    /// Waits until the item of this number may be sent. Cancel safe.
    ///
    /// # Errors
    /// `Cancelled` if nobody reads on, `Unavailable` if the caller cannot be heard any more.
    pub(super) async fn pass(&self, sequence: u64) -> Result<()> {
        loop {
            let changed = self.changed.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            {
                let state = self.lock();
                if let Some(error) = &state.shut {
                    return Err(error.clone());
                }
                if sequence < state.limit {
                    return Ok(());
                }
            }
            changed.await;
        }
    }

    /// Whether nobody reads on.
    pub(super) fn is_cancelled(&self) -> bool {
        self.lock().shut.as_ref().is_some_and(|error| error.kind() == ErrorKind::Cancelled)
    }
}

impl Receive for Gates {
    fn receive(&self, message: &Message) -> Option<Word> {
        // A word that cannot be read is about no stream of ours.
        let (call, control) = StreamControl::read(message).ok()?;
        let gate = self.lock().get(call).cloned()?;
        match control {
            StreamControl::More { limit } => gate.set(|state| state.limit = state.limit.max(limit)),
            StreamControl::Cancel => {
                let error = Error::new(ErrorKind::Cancelled, "reply", "nobody reads the stream any more");
                gate.set(|state| state.shut = Some(error));
            }
            _ => {}
        }
        None
    }

    /// A word that is lost holds its stream until the deadline at most.
    fn gap(&self) {}

    fn lost(&self, error: &Error) {
        let gates: Vec<_> = self.lock().values().cloned().collect();
        for gate in gates {
            gate.set(|state| state.shut = Some(error.clone()));
        }
    }
}

/// A stream's place in the table.
#[derive(Debug)]
pub(super) struct Passage {
    gates: Arc<Gates>,
    call: String,
    pub(super) gate: Arc<Gate>,
}

impl Drop for Passage {
    fn drop(&mut self) {
        let mut open = self.gates.lock();
        // The same call may have been delivered again, and be at work by now.
        if open.get(&self.call).is_some_and(|gate| Arc::ptr_eq(gate, &self.gate)) {
            open.remove(&self.call);
        }
    }
}
