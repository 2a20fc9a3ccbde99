//! Events that wait while the server is away.

use std::{
    fmt,
    future::Future,
    marker::PhantomData,
    pin::Pin,
    task::{Context, Poll, ready},
};

use pubsub_core::{Error, ErrorKind, Event, Result, rpc::CallError};
use serde::de::DeserializeOwned;
use serde_json::Value;
use tokio::{
    runtime::Handle,
    sync::{mpsc, oneshot},
};

use super::{
    HttpClient, Published, Sent,
    backoff::Backoff,
    builder::Settings,
    call::{self, Prepared},
    transport::Transport,
};
use crate::task::Task;

struct Job {
    prepared: Prepared,
    outcome: oneshot::Sender<Result<Value, CallError>>,
}

/// The queue, and the task that empties it; both go with the last handle of the client.
pub(super) struct Queue {
    jobs: mpsc::Sender<Job>,
    _task: Task,
}

impl Queue {
    pub(super) fn start(transport: Transport, settings: Settings, capacity: usize) -> Result<Self> {
        let runtime = Handle::try_current().map_err(|cause| {
            Error::new(ErrorKind::Invalid, "build client", "an offline queue needs a tokio runtime").because(cause)
        })?;
        let (jobs, waiting) = mpsc::channel(capacity);
        Ok(Self { jobs, _task: Task::spawn(&runtime, empty(transport, settings, waiting)) })
    }

    fn push<T>(&self, prepared: Prepared) -> Result<Queued<T>> {
        let (outcome, waiting) = oneshot::channel();
        self.jobs.try_send(Job { prepared, outcome }).map_err(|refused| match refused {
            mpsc::error::TrySendError::Full(_) => {
                Error::new(ErrorKind::Backpressure, "enqueue", "the offline queue is full")
            }
            mpsc::error::TrySendError::Closed(_) => Error::new(ErrorKind::Closed, "enqueue", "the client is closed"),
        })?;
        Ok(Queued { outcome: waiting, answer: PhantomData })
    }
}

/// Sends one job after the other, each until it is done or refused: the later ones must not overtake it.
async fn empty(transport: Transport, settings: Settings, mut waiting: mpsc::Receiver<Job>) {
    while let Some(Job { prepared, outcome }) = waiting.recv().await {
        let mut backoff = Backoff::new(settings.first_pause, settings.longest_pause);
        let answer = loop {
            let attempt = tokio::time::timeout(settings.timeout, transport.post(&prepared.path, prepared.body.clone()));
            let wait = match attempt.await {
                Ok(Ok(answer)) => break Ok(answer),
                Ok(Err(refusal)) if !refusal.error.is_retryable() => break Err(refusal.error),
                Ok(Err(refusal)) => refusal.wait,
                // It has an id: a second time it is done once, too.
                Err(_) => None,
            };
            tokio::time::sleep(backoff.next(wait)).await;
        };
        // Whoever let go of the ticket does not want to know.
        let _ = outcome.send(answer);
    }
}

/// The outcome of a call that waits in the offline queue. Dropping it cancels nothing.
#[must_use = "its outcome is told here alone"]
pub struct Queued<T> {
    outcome: oneshot::Receiver<Result<Value, CallError>>,
    answer: PhantomData<fn() -> T>,
}

impl<T> fmt::Debug for Queued<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Queued").finish_non_exhaustive()
    }
}

impl<T: DeserializeOwned> Future for Queued<T> {
    type Output = Result<T, CallError>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        Poll::Ready(match ready!(Pin::new(&mut self.outcome).poll(context)) {
            Ok(answer) => answer.and_then(call::decoded),
            // It may have been on its way.
            Err(_) => {
                let error = Error::new(ErrorKind::Closed, "send", "the client was closed before the answer came");
                Err(error.perhaps_applied().into())
            }
        })
    }
}

impl HttpClient {
    /// Publishes an event as soon as the server can be reached, behind all that was enqueued before. It waits in this
    /// process alone, and is lost with it.
    ///
    /// # Errors
    /// `Unsupported` without [`offline_queue`](super::HttpClientBuilder::offline_queue), `Backpressure` if that is full;
    /// `Invalid` or `Codec` for an event that cannot be sent.
    pub fn enqueue<E: Event>(&self, event: &E) -> Result<Queued<Published>> {
        self.queue()?.push(call::publish(&call::envelope(event)?)?)
    }

    /// Sends an event as a client in the same way: its action runs, then it is published.
    ///
    /// # Errors
    /// As [`HttpClient::enqueue`].
    pub fn enqueue_send<E: Event>(&self, event: &E) -> Result<Queued<Sent>> {
        self.queue()?.push(call::send(&call::envelope(event)?)?)
    }

    fn queue(&self) -> Result<&Queue> {
        self.0.queue.as_ref().ok_or_else(|| {
            Error::new(ErrorKind::Unsupported, "enqueue", "the client was built without `offline_queue`")
        })
    }
}
