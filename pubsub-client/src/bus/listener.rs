//! One listener: what it takes, its queue, and the task that calls it.

use std::{
    future::Future,
    panic::AssertUnwindSafe,
    sync::{
        Arc, Mutex, PoisonError, Weak,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

use futures_util::FutureExt;
use pubsub_core::{Message, NamePattern, driver::BoxFuture, observe::Hop};
use tokio::sync::{mpsc, oneshot};

use super::{BoxError, EventBus, FaultKind, fault::Faults, feed::Use, hub::Hub, names::sent_name};

/// Names one listener. It is used once, so that a handle which outlived its listener removes no other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Listener(pub(super) u64);

/// What a handler gives back: nothing, or a result whose error goes to the hook.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not what a listener gives back",
    label = "neither `()` nor a `Result`",
    note = "an error must convert into `Box<dyn std::error::Error + Send + Sync>`"
)]
pub trait Outcome {
    /// The error, if there is one.
    ///
    /// # Errors
    /// What the handler returned.
    fn into_result(self) -> Result<(), BoxError>;
}

impl Outcome for () {
    fn into_result(self) -> Result<(), BoxError> {
        Ok(())
    }
}

/// What a handler that ends with a call returns beside its error, as the receipt of an `emit`, is of no use to anybody.
impl<T, E: Into<BoxError>> Outcome for Result<T, E> {
    fn into_result(self) -> Result<(), BoxError> {
        self.map(drop).map_err(Into::into)
    }
}

/// An event in the hands of a listener by name.
#[derive(Clone, Debug)]
pub struct Heard {
    message: Arc<Message>,
    listener: Listener,
    bus: EventBus,
}

impl Heard {
    /// The name that the sender gave it.
    pub fn name(&self) -> String {
        sent_name(self.message.name()).into_owned()
    }

    /// The data, read as `T`.
    ///
    /// # Errors
    /// `Codec` with the first fault if it does not fit.
    pub fn data<T: serde::de::DeserializeOwned>(&self) -> pubsub_core::Result<T> {
        self.message.payload().decode()
    }

    /// The id under which its sender awaits an answer, where it is a request of the classic form.
    pub fn request_id(&self) -> Option<&str> {
        self.message.meta().correlation_id.as_deref()
    }

    /// The message, with everything that came with the event.
    pub fn message(&self) -> &Arc<Message> {
        &self.message
    }

    /// The listener that heard it, so that it can take itself off.
    pub fn listener(&self) -> Listener {
        self.listener
    }

    /// The bus that it was heard on, to emit something or to take listeners off.
    pub fn bus(&self) -> &EventBus {
        &self.bus
    }
}

/// Runs a handler on one event, and says what went wrong.
pub(super) type Handle = Box<dyn Fn(Heard) -> BoxFuture<'static, Result<(), (FaultKind, BoxError)>> + Send + Sync>;

/// A listener in its feed.
pub(super) struct Entry {
    pub(super) id: Listener,
    pub(super) pattern: NamePattern,
    pub(super) once: bool,
    /// What the user asked for.
    text: String,
    sink: Sink,
    /// Set when no call of the handler may begin any more.
    off: Arc<AtomicBool>,
    /// Keeps the feed open.
    _feed: Use,
}

enum Sink {
    Queue(mpsc::Sender<Arc<Message>>),
    Waiter(Mutex<Option<oneshot::Sender<Arc<Message>>>>),
}

/// What a listener asks for.
pub(super) struct Wish {
    pub(super) text: String,
    pub(super) pattern: NamePattern,
    pub(super) once: bool,
}

impl Entry {
    /// A listener whose handler is called by the future that comes with it.
    pub(super) fn handler(
        wish: Wish,
        handle: Handle,
        hub: &Arc<Hub>,
        feed: Use,
    ) -> (Arc<Self>, impl Future<Output = ()> + Send + 'static) {
        let (queue, waiting) = mpsc::channel(if wish.once { 1 } else { hub.capacity });
        let entry = Self::new(wish, Sink::Queue(queue), feed);
        let call = Call {
            hub: Arc::downgrade(hub),
            faults: hub.faults.clone(),
            id: entry.id,
            text: entry.text.clone(),
            off: entry.off.clone(),
            handle,
        };
        (Arc::new(entry), call.run(waiting))
    }

    /// Somebody who waits for one event.
    pub(super) fn waiter(wish: Wish, sender: oneshot::Sender<Arc<Message>>, feed: Use) -> Arc<Self> {
        Arc::new(Self::new(wish, Sink::Waiter(Mutex::new(Some(sender))), feed))
    }

    fn new(wish: Wish, sink: Sink, feed: Use) -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        let Wish { text, pattern, once } = wish;
        let id = Listener(NEXT.fetch_add(1, Ordering::Relaxed));
        Self { id, pattern, once, text, sink, off: Arc::default(), _feed: feed }
    }

    /// Takes an event, if there is room for it.
    pub(super) fn deliver(&self, message: &Arc<Message>, faults: &Faults) {
        match &self.sink {
            Sink::Queue(queue) => {
                if let Err(mpsc::error::TrySendError::Full(_)) = queue.try_send(message.clone()) {
                    faults.of_listener(FaultKind::Overrun, message, &self.text, "its queue is full".into());
                }
            }
            Sink::Waiter(slot) => {
                let sender = slot.lock().unwrap_or_else(PoisonError::into_inner).take();
                // Whoever stopped waiting at this moment does not need it.
                drop(sender.map(|sender| sender.send(message.clone())));
            }
        }
    }

    /// No call of the handler begins after this.
    pub(super) fn take_off(&self) {
        self.off.store(true, Ordering::Release);
    }
}

/// What the task of a listener knows. The queue's other end is in the entry: when that is gone, the task ends.
struct Call {
    hub: Weak<Hub>,
    faults: Arc<Faults>,
    id: Listener,
    text: String,
    off: Arc<AtomicBool>,
    handle: Handle,
}

impl Call {
    /// Calls the handler for each event, one after the other.
    async fn run(self, mut queue: mpsc::Receiver<Arc<Message>>) {
        while let Some(message) = queue.recv().await {
            let Some(hub) = self.hub.upgrade().filter(|_| !self.off.load(Ordering::Acquire)) else { return };
            let heard = Heard { message: message.clone(), listener: self.id, bus: EventBus::over(hub) };
            // An event bus has no groups.
            let hop = Hop::process(heard.bus.bus().observer(), "", &message, 1);
            // Calling the handler may panic as well as polling what it gives.
            let work = AssertUnwindSafe(async { (self.handle)(heard).await }).catch_unwind();
            let ended =
                hop.run(work).await.unwrap_or_else(|_| Err((FaultKind::Panicked, "the handler panicked".into())));
            if let Err((kind, cause)) = ended {
                hop.failed(kind.as_str(), &cause);
                self.faults.of_listener(kind, &message, &self.text, cause);
            }
        }
    }
}

/// Makes a [`Handle`] of what reads an event and what handles it.
pub(super) fn handle<T, F: Future + Send + 'static>(
    read: impl Fn(Heard) -> pubsub_core::Result<T> + Send + Sync + 'static,
    handler: impl Fn(T) -> F + Send + Sync + 'static,
) -> Handle
where
    F::Output: Outcome,
{
    Box::new(move |heard| {
        let begun = read(heard).map(&handler);
        Box::pin(async move {
            let running = begun.map_err(|error| (FaultKind::Unreadable, error.into()))?;
            running.await.into_result().map_err(|cause| (FaultKind::Failed, cause))
        })
    })
}
