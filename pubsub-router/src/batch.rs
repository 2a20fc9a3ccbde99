//! Batch handlers: several events in one call, each with its own outcome.
//!
//! A batch is gathered behind the layers: every event goes through them alone, waits here for others, and gets its own
//! verdict back. So layers, settlement and counters need know nothing of batches.

use std::{
    fmt,
    marker::PhantomData,
    ops::Deref,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
    vec,
};

use pubsub_core::{Clock, Event, EventDefinition, Meta, Result, driver::BoxFuture, observe::Hop};
use tokio::{
    sync::{mpsc, oneshot},
    task::JoinHandle,
};

use crate::{
    BoxError, Done, FromState, HandlerError, HandlerFn, Incoming, State, Verdict,
    extract::{Emitter, publish},
    isolate::isolate,
    route::Call,
};

/// How events are gathered into batches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Batching {
    pub(crate) size: usize,
    pub(crate) wait: Duration,
}

impl Batching {
    /// Up to `size` events, at least one; an event waits at most `wait` for others, and not at all while the router is
    /// drained. The subscription's `max_in_flight` bounds a batch, too.
    pub fn new(size: usize, wait: Duration) -> Self {
        Self { size: size.max(1), wait }
    }
}

/// The events of one call of a batch handler, in the order in which they came.
#[derive(Debug)]
pub struct Batch<E>(Vec<BatchItem<E>>);

/// An event of a batch; it reads like the event itself.
pub struct BatchItem<E> {
    event: E,
    emitter: Emitter,
}

impl<E> BatchItem<E> {
    /// The event by value.
    pub fn into_event(self) -> E {
        self.event
    }

    /// The delivery, with everything that came with the event.
    pub fn incoming(&self) -> &Incoming {
        self.emitter.incoming()
    }

    /// The event's metadata.
    pub fn meta(&self) -> &Meta {
        self.incoming().message().meta()
    }

    /// Emits on behalf of this event: what it emits goes out only if this event succeeds.
    pub fn emitter(&self) -> &Emitter {
        &self.emitter
    }
}

impl<E> Deref for BatchItem<E> {
    type Target = E;

    fn deref(&self) -> &E {
        &self.event
    }
}

impl<E: fmt::Debug> fmt::Debug for BatchItem<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.event, f)
    }
}

impl<E> Deref for Batch<E> {
    type Target = [BatchItem<E>];

    fn deref(&self) -> &[BatchItem<E>] {
        &self.0
    }
}

impl<E> IntoIterator for Batch<E> {
    type Item = BatchItem<E>;
    type IntoIter = vec::IntoIter<BatchItem<E>>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.into_iter()
    }
}

impl<'a, E> IntoIterator for &'a Batch<E> {
    type Item = &'a BatchItem<E>;
    type IntoIter = std::slice::Iter<'a, BatchItem<E>>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.iter()
    }
}

/// What a batch handler may return: `()`, `Result<(), E>` for all events alike, or a `Vec<Result<(), E>>` with one result
/// for each event, in their order.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not the outcome of a batch handler",
    label = "a batch handler returns `()`, `Result<(), E>` or `Vec<Result<(), E>>`",
    note = "in a `Vec` each result is that of the event at its place; an error of any type means retry"
)]
pub trait IntoBatchOutcome {
    /// A result for each of `count` events.
    ///
    /// # Errors
    /// The failure of all of them.
    fn into_outcomes(self, count: usize) -> Result<Vec<Result<(), HandlerError>>, HandlerError>;
}

impl IntoBatchOutcome for () {
    fn into_outcomes(self, count: usize) -> Result<Vec<Result<(), HandlerError>>, HandlerError> {
        Ok((0..count).map(|_| Ok(())).collect())
    }
}

impl<E: Into<BoxError>> IntoBatchOutcome for Result<(), E> {
    fn into_outcomes(self, count: usize) -> Result<Vec<Result<(), HandlerError>>, HandlerError> {
        self.map_err(|error| HandlerError::from_boxed(error.into()))?;
        ().into_outcomes(count)
    }
}

impl<E: Into<BoxError>> IntoBatchOutcome for Vec<Result<(), E>> {
    fn into_outcomes(self, count: usize) -> Result<Vec<Result<(), HandlerError>>, HandlerError> {
        if self.len() != count {
            let text = format!("the handler gave {} results for a batch of {count} events", self.len());
            return Err(HandlerError::retry(text));
        }
        let outcomes = self.into_iter();
        Ok(outcomes.map(|outcome| outcome.map_err(|error| HandlerError::from_boxed(error.into()))).collect())
    }
}

/// The arguments of a batch handler: first the [`Batch`], then any [`State`].
#[diagnostic::on_unimplemented(
    message = "these are not the arguments of a batch handler",
    label = "the first must be `Batch<E>` of an event, the others `State<T>`",
    note = "what came with an event is with the items of the batch: `item.meta()`, `item.incoming()`, `item.emitter()`"
)]
pub trait BatchArgs<S>: Sized + Send + 'static {
    /// The event.
    type Event: Event;

    /// Puts them together.
    fn assemble(batch: Batch<Self::Event>, state: &S) -> Self;
}

macro_rules! arguments {
    ($($state:ident),*) => {
        impl<S, E: Event, $($state),*> BatchArgs<S> for (Batch<E>, $(State<$state>,)*)
        where
            $($state: FromState<S> + Send + 'static,)*
        {
            type Event = E;

            #[allow(unused_variables, reason = "a handler of a batch alone needs no state")]
            fn assemble(batch: Batch<E>, state: &S) -> Self {
                (batch, $(State($state::from_state(state)),)*)
            }
        }
    };
}

arguments!();
arguments!(T1);
arguments!(T1, T2);
arguments!(T1, T2, T3);
arguments!(T1, T2, T3, T4);

/// An event that waits for its batch, and who waits for its verdict.
type Waiting<E> = (BatchItem<E>, oneshot::Sender<Result<(), HandlerError>>);

/// A batch handler as the route of one event.
pub(crate) struct Gather<H, A, S, E> {
    shared: Arc<Shared<H, A, S>>,
    definition: Arc<EventDefinition>,
    batching: Batching,
    /// Where events wait, and the task that takes them from there; it is begun by the first event.
    queue: Mutex<Option<Queue<E>>>,
}

struct Queue<E> {
    sender: mpsc::Sender<Waiting<E>>,
    task: JoinHandle<()>,
}

struct Shared<H, A, S> {
    handler: H,
    state: S,
    args: PhantomData<fn() -> A>,
}

impl<H, A, S> Gather<H, A, S, A::Event>
where
    H: HandlerFn<A>,
    H::Out: IntoBatchOutcome + Send,
    A: BatchArgs<S>,
    S: Send + Sync + 'static,
{
    pub(crate) fn new(handler: H, batching: Batching, state: S, definition: Arc<EventDefinition>) -> Self {
        let shared = Arc::new(Shared { handler, state, args: PhantomData });
        Self { shared, definition, batching, queue: Mutex::default() }
    }

    fn queue(&self, clock: &Clock) -> mpsc::Sender<Waiting<A::Event>> {
        // No code panics while it holds this lock.
        let mut queue = self.queue.lock().unwrap_or_else(PoisonError::into_inner);
        match &*queue {
            Some(Queue { sender, task }) if !task.is_finished() => sender.clone(),
            _ => {
                let (sender, receiver) = mpsc::channel(self.batching.size);
                let gather = gather(self.shared.clone(), self.batching, clock.clone(), receiver);
                *queue = Some(Queue { sender: sender.clone(), task: tokio::spawn(gather) });
                sender
            }
        }
    }
}

impl<H, A, S, E> Drop for Gather<H, A, S, E> {
    fn drop(&mut self) {
        let queue = self.queue.get_mut().unwrap_or_else(PoisonError::into_inner);
        if let Some(queue) = queue.take() {
            queue.task.abort();
        }
    }
}

impl<H, A, S> Gather<H, A, S, A::Event>
where
    H: HandlerFn<A>,
    H::Out: IntoBatchOutcome + Send,
    A: BatchArgs<S>,
    S: Send + Sync + 'static,
{
    async fn wait(&self, incoming: Incoming) -> Verdict {
        let message = incoming.message();
        let event = <A::Event as pubsub_core::EventArg>::take(message, incoming.is_shared(), &self.definition);
        let event = event.map_err(HandlerError::unreadable)?;
        incoming.begin();
        let item = BatchItem { event, emitter: Emitter::of(&incoming) };
        let (verdict, told) = oneshot::channel();
        let lost = |_| HandlerError::retry("the batch was cut off");
        self.queue(incoming.bus().clock()).send((item, verdict)).await.map_err(|_| lost(()))?;
        told.await.map_err(|_| lost(()))??;
        let emitted = incoming.take_emitted();
        if !emitted.is_empty() {
            // Boxed for its size, as for handlers of single events.
            Box::pin(publish(incoming.bus(), emitted)).await?;
        }
        Ok(Done::default())
    }
}

impl<H, A, S> Call for Gather<H, A, S, A::Event>
where
    H: HandlerFn<A>,
    H::Out: IntoBatchOutcome + Send,
    A: BatchArgs<S>,
    S: Send + Sync + 'static,
{
    fn call(&self, incoming: Incoming) -> BoxFuture<'_, Verdict> {
        Box::pin(isolate(self.wait(incoming)))
    }

    fn call_apart(self: Arc<Self>, incoming: Incoming) -> BoxFuture<'static, Verdict> {
        Box::pin(isolate(async move { self.wait(incoming).await }))
    }
}

/// Takes events until nobody has any more, and calls the handler with as many as there are.
async fn gather<H, A, S>(
    shared: Arc<Shared<H, A, S>>,
    batching: Batching,
    clock: Clock,
    mut waiting: mpsc::Receiver<Waiting<A::Event>>,
) where
    H: HandlerFn<A>,
    H::Out: IntoBatchOutcome + Send,
    A: BatchArgs<S>,
    S: Send + Sync + 'static,
{
    while let Some(first) = waiting.recv().await {
        let draining = first.0.incoming().drain().clone().started();
        tokio::pin!(draining);
        let mut over = clock.sleep(batching.wait);
        let mut gathered = vec![first];
        while gathered.len() < batching.size {
            tokio::select! {
                biased;
                next = waiting.recv() => match next {
                    Some(next) => gathered.push(next),
                    None => break,
                },
                () = &mut over => break,
                () = &mut draining => break,
            }
        }
        // Whoever was cut off meanwhile waits no more, and its event is no longer ours.
        gathered.retain(|(_, verdict)| !verdict.is_closed());
        if !gathered.is_empty() {
            let (items, verdicts): (Vec<_>, Vec<_>) = gathered.into_iter().unzip();
            let count = items.len();
            let hop = span_of(&items);
            let call = async {
                let args = A::assemble(Batch(items), &shared.state);
                shared.handler.invoke(args).await.into_outcomes(count)
            };
            tell(hop.run(isolate(call)).await, verdicts);
        }
    }
}

/// The span of a call, linked with the events that it is for.
fn span_of<E>(items: &[BatchItem<E>]) -> Hop {
    let Some(first) = items.first().map(BatchItem::incoming) else { return Hop::default() };
    let messages = items.iter().map(|item| &**item.incoming().message());
    Hop::process_batch(first.bus().observer(), first.group().as_str(), messages)
}

fn tell(
    outcomes: Result<Vec<Result<(), HandlerError>>, HandlerError>,
    verdicts: Vec<oneshot::Sender<Result<(), HandlerError>>>,
) {
    // Who is not there any more needs no word.
    match outcomes {
        Ok(outcomes) => {
            verdicts.into_iter().zip(outcomes).for_each(|(verdict, outcome)| drop(verdict.send(outcome)));
        }
        Err(failure) => verdicts.into_iter().for_each(|verdict| drop(verdict.send(Err(failure.repeat())))),
    }
}
