//! A program's real router on a bus under test, and what its handlers did.

use std::{
    ops::Deref,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll},
};

use pubsub_core::{Error, ErrorKind, Event, EventId, EventName, GroupName, Message, Result, driver::BoxFuture};
use pubsub_router::{BoxError, Decision, Done, HandlerError, Incoming, Router, Running, Verdict};
use tower_layer::Layer;
use tower_service::Service;

use super::ObservedBus;

/// One call of a handler, and how it ended: outside of all layers, before it is settled.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct HandledCall {
    /// The group.
    pub group: GroupName,
    /// The message.
    pub message: Arc<Message>,
    /// Which delivery it was.
    pub attempt: u32,
    /// What the handler and its layers said: a failure with its decision and text.
    pub outcome: std::result::Result<(), (Decision, String)>,
}

impl HandledCall {
    /// The event's id.
    pub fn id(&self) -> &EventId {
        self.message.id()
    }

    /// The event's name.
    pub fn name(&self) -> &EventName {
        self.message.name()
    }
}

/// A router at work on an [`ObservedBus`]. It lends the [`Running`], to pause, stop and drain.
#[derive(Debug)]
pub struct TestRun {
    running: Running,
    calls: Calls,
}

impl TestRun {
    /// All calls of handlers that have ended, in that order.
    pub fn calls(&self) -> Vec<HandledCall> {
        self.calls.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Those for events of one type, with the events.
    ///
    /// # Errors
    /// `Codec` if the payload of one of them is not that type's.
    pub fn calls_of<E: Event>(&self) -> Result<Vec<(E, HandledCall)>> {
        let of_type = self.calls().into_iter().filter(|call| call.name().as_str() == E::NAME);
        of_type.map(|call| Ok((call.message.decode::<E>()?, call))).collect()
    }

    /// The one call for an event of a type, with the event.
    ///
    /// # Errors
    /// `Conflict` that tells the attempts and outcomes, if there was not exactly one; `Codec` as [`TestRun::calls_of`].
    pub fn only_call_of<E: Event>(&self) -> Result<(E, HandledCall)> {
        let mut calls = self.calls_of::<E>()?;
        match calls.pop() {
            Some(only) if calls.is_empty() => Ok(only),
            last => {
                let told = calls.iter().chain(&last).map(|(_, call)| format!("{} {:?}", call.attempt, call.outcome));
                let told: Vec<_> = told.collect();
                let text = format!("`{}` was handled {} times: {}", E::NAME, told.len(), told.join(", "));
                Err(Error::new(ErrorKind::Conflict, "find the only call", text))
            }
        }
    }
}

impl Deref for TestRun {
    type Target = Running;

    fn deref(&self) -> &Running {
        &self.running
    }
}

impl ObservedBus {
    /// Starts a router as the program does, and writes down what its handlers do.
    ///
    /// # Errors
    /// As [`Router::start`].
    pub async fn run(&self, router: Router) -> Result<TestRun> {
        let calls = Calls::default();
        let running = router.layer(calls.clone()).start(self).await?;
        Ok(TestRun { running, calls })
    }
}

/// A layer that writes down what passes.
#[derive(Clone, Debug, Default)]
struct Calls(Arc<Mutex<Vec<HandledCall>>>);

impl<S> Layer<S> for Calls {
    type Service = Noted<S>;

    fn layer(&self, inner: S) -> Noted<S> {
        Noted { calls: self.clone(), inner }
    }
}

#[derive(Clone)]
struct Noted<S> {
    calls: Calls,
    inner: S,
}

impl<S> Service<Incoming> for Noted<S>
where
    S: Service<Incoming, Response = Done>,
    S::Error: Into<BoxError>,
    S::Future: Send + 'static,
{
    type Response = Done;
    type Error = HandlerError;
    type Future = BoxFuture<'static, Verdict>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<std::result::Result<(), HandlerError>> {
        self.inner.poll_ready(cx).map_err(|error| HandlerError::from_boxed(error.into()))
    }

    fn call(&mut self, incoming: Incoming) -> Self::Future {
        let calls = self.calls.clone();
        let inner = self.inner.call(incoming.clone());
        Box::pin(async move {
            let verdict = inner.await.map_err(|error| HandlerError::from_boxed(error.into()));
            let outcome = verdict.as_ref().map(drop).map_err(|error| (error.decision(), error.to_string()));
            let (group, message) = (incoming.group().clone(), incoming.message().clone());
            let call = HandledCall { group, message, attempt: incoming.attempt(), outcome };
            calls.0.lock().unwrap_or_else(PoisonError::into_inner).push(call);
            verdict
        })
    }
}
