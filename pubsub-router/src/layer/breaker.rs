//! `CircuitBreaker`: a handler that fails each time is left alone for a while.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use pubsub_core::{Clock, Mark};
use tokio::sync::Notify;

use super::{Inner, layer, wait};
use crate::{Decision, HandlerError, Incoming, Verdict};

/// After so many failures in a row, calls no handler for a while; then tries one event, and opens for all if it succeeds.
///
/// Events wait meanwhile, and spend no attempts: what an outage behind the handler delays does not become a dead letter.
/// An event that is rejected says nothing about what is behind the handler, and does not count. The state is shared by all
/// that the layer and its clones are around. Put it inside of retry layers.
#[derive(Clone, Debug)]
pub struct CircuitBreaker {
    failures: u32,
    rest: Duration,
    circuit: Arc<Circuit>,
}

#[derive(Debug, Default)]
struct Circuit {
    state: Mutex<State>,
    changed: Notify,
}

#[derive(Debug, Default)]
struct State {
    /// In a row.
    failures: u32,
    /// Since when nothing is called.
    open: Option<Mark>,
    /// Whether one event is being tried.
    trying: bool,
}

/// What a delivery may do.
enum Entry {
    Pass,
    Try,
    WaitFor(Duration),
    WaitForTrial,
}

impl CircuitBreaker {
    /// Opens after `failures` in a row, at least one, and tries again after `rest`.
    pub fn new(failures: u32, rest: Duration) -> Self {
        Self { failures: failures.max(1), rest, circuit: Arc::default() }
    }

    /// Whether handlers are being left alone.
    pub fn is_open(&self) -> bool {
        self.state().open.is_some()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // The numbers are valid at every point where a panic could come from.
        self.circuit.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn enter(&self, clock: &Clock) -> Entry {
        let mut state = self.state();
        let Some(since) = state.open else { return Entry::Pass };
        let left = self.rest.saturating_sub(clock.elapsed(since));
        if !left.is_zero() {
            return Entry::WaitFor(left);
        }
        if state.trying {
            return Entry::WaitForTrial;
        }
        state.trying = true;
        Entry::Try
    }

    fn note(&self, clock: &Clock, verdict: &Verdict, is_trial: bool) {
        let failed = match verdict.as_ref().map_err(HandlerError::decision) {
            Ok(_) => false,
            Err(Decision::Reject | Decision::Release) => return,
            Err(_) => true,
        };
        let mut state = self.state();
        // A call that began before tells of a time that is over.
        if state.open.is_some() && !is_trial {
            return;
        }
        if !failed {
            (state.failures, state.open) = (0, None);
            return;
        }
        state.failures = state.failures.saturating_add(1);
        if state.open.is_some() || state.failures >= self.failures {
            state.open = Some(clock.mark());
        }
    }

    async fn around(&self, incoming: Incoming, inner: impl Inner) -> Verdict {
        let clock = incoming.bus().clock().clone();
        let trial = loop {
            // Before looking: what changes in between is not missed.
            let changed = self.circuit.changed.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            match self.enter(&clock) {
                Entry::Pass => break None,
                Entry::Try => break Some(Trial(self)),
                Entry::WaitFor(left) => wait(&incoming, left).await?,
                Entry::WaitForTrial => tokio::select! {
                    () = changed => {}
                    () = incoming.drain().clone().started() => {
                        return Err(HandlerError::release("the router is being drained"));
                    }
                },
            }
        };
        let verdict = inner.run(incoming).await;
        self.note(&clock, &verdict, trial.is_some());
        drop(trial);
        verdict
    }
}

/// The one event that is tried; also when it is cut off, the next one has its turn.
struct Trial<'a>(&'a CircuitBreaker);

impl Drop for Trial<'_> {
    fn drop(&mut self) {
        self.0.state().trying = false;
        self.0.circuit.changed.notify_waiters();
    }
}

layer!(CircuitBreaker, CircuitBreakerService);
