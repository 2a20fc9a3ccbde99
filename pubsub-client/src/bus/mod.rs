//! An event bus as event-driven programs know it, over any adapter.

mod fault;
mod feed;
mod hub;
mod listener;
mod names;

use std::{fmt, future::Future, sync::Arc};

use fault::Faults;
pub use fault::{BoxError, BusFault, FaultKind};
pub(crate) use hub::Expecting;
use hub::Hub;
pub use listener::{Heard, Listener, Outcome};
pub use names::CLASSIC_CHANNEL;
use names::Taken;
use pubsub_core::{Envelope, Event, Message, Payload, PubSub, Publish, Result, driver::Receipt};
use serde::Serialize;
use tokio::sync::oneshot;

/// How many events may wait for one listener unless the builder says otherwise.
pub const DEFAULT_CAPACITY: usize = 1_024;

/// `on`, `once`, `off` and `emit`, over any adapter: in one process on memory, between processes on a broker. Cloning it
/// gives another handle to the same listeners.
///
/// Every listener hears every event that it takes, in the order of its channel, one at a time, whatever the others do. A
/// listener is not a group: what happens while nobody listens is not kept for it. Use
/// [`PubSub::subscribe`] with a group for work that must be done.
///
/// An error or a panic of a listener goes to the hook of [`EventBusBuilder::on_fault`], and is counted; it ends nothing.
///
/// Names are `category:event`, `category:*` or `*`. A classic name without a colon, such as `TARGET_CREATED`, needs no
/// definition: all of them travel on the channel `eventbus`.
///
/// ```
/// # use std::sync::atomic::{AtomicU32, Ordering};
/// # use pubsub::{EventBus, PubSub};
/// #[pubsub::event("orders:created")]
/// struct OrderCreated {
///     total: f64,
/// }
///
/// # async fn example(bus: PubSub) -> pubsub::Result<()> {
/// let events = EventBus::new(&bus);
/// let typed = events.on(|order: OrderCreated| async move { println!("{} paid", order.total) }).await?;
/// let named = events.on_name("orders:*", |heard| async move { println!("{}", heard.name()) }).await?;
/// events.emit(&OrderCreated { total: 7.5 }).await?;
/// events.off(typed);
/// events.off(named);
/// events.close().await;
/// # Ok(())
/// # }
/// # fn main() -> pubsub::Result<()> {
/// #     tokio::runtime::Runtime::new().expect("a runtime").block_on(async { example(pubsub::connect("memory:").await?).await })
/// # }
/// ```
#[derive(Clone)]
pub struct EventBus {
    hub: Arc<Hub>,
}

impl EventBus {
    /// An event bus over `bus`, with the defaults. Subscribes to nothing yet.
    pub fn new(bus: &PubSub) -> Self {
        Self::builder(bus).build()
    }

    /// Prepares an event bus over `bus`.
    pub fn builder(bus: &PubSub) -> EventBusBuilder {
        EventBusBuilder { bus: bus.clone(), capacity: DEFAULT_CAPACITY, hook: None }
    }

    fn over(hub: Arc<Hub>) -> Self {
        Self { hub }
    }

    /// Calls `handler` for each event of type `E` that is published after this returns, until it is taken off.
    ///
    /// A handler that keeps a clone of this bus keeps the bus itself alive until it is taken off; listeners by name get it
    /// with each event instead.
    ///
    /// # Errors
    /// As [`Subscribe`](pubsub_core::Subscribe) for a broadcast; `Closed` once this is closed.
    pub async fn on<E, H, F>(&self, handler: H) -> Result<Listener>
    where
        E: Event,
        H: Fn(E) -> F + Send + Sync + 'static,
        F: Future + Send + 'static,
        F::Output: Outcome,
    {
        self.hub.listen(Taken::by_type::<E>()?, false, self.typed(handler)).await
    }

    /// As [`EventBus::on`], for one event: after the first one the listener is gone, however many come at the same time.
    ///
    /// # Errors
    /// As [`EventBus::on`].
    pub async fn once<E, H, F>(&self, handler: H) -> Result<Listener>
    where
        E: Event,
        H: Fn(E) -> F + Send + Sync + 'static,
        F: Future + Send + 'static,
        F::Output: Outcome,
    {
        self.hub.listen(Taken::by_type::<E>()?, true, self.typed(handler)).await
    }

    fn typed<E, H, F>(&self, handler: H) -> listener::Handle
    where
        E: Event,
        H: Fn(E) -> F + Send + Sync + 'static,
        F: Future + Send + 'static,
        F::Output: Outcome,
    {
        let bus = self.hub.bus.clone();
        listener::handle(move |heard| bus.decode::<E>(heard.message()), handler)
    }

    /// Calls `handler` for each event of this name: `category:event`, `category:*`, `*`, or a classic name. A pattern reaches
    /// as far as the adapter has wildcards.
    ///
    /// # Errors
    /// As [`EventBus::on`]; `Invalid` for a bad name, `Unsupported` where the adapter has no such wildcard.
    pub async fn on_name<H, F>(&self, name: &str, handler: H) -> Result<Listener>
    where
        H: Fn(Heard) -> F + Send + Sync + 'static,
        F: Future + Send + 'static,
        F::Output: Outcome,
    {
        self.hub.listen(Taken::by_name(&self.hub.bus, name)?, false, listener::handle(Ok, handler)).await
    }

    /// As [`EventBus::on_name`], for one event.
    ///
    /// # Errors
    /// As [`EventBus::on_name`].
    pub async fn once_name<H, F>(&self, name: &str, handler: H) -> Result<Listener>
    where
        H: Fn(Heard) -> F + Send + Sync + 'static,
        F: Future + Send + 'static,
        F::Output: Outcome,
    {
        self.hub.listen(Taken::by_name(&self.hub.bus, name)?, true, listener::handle(Ok, handler)).await
    }

    /// Takes a listener off: no call of its handler begins after this returns, and one that runs goes on to its end. False if
    /// it was gone already. A handler may take off itself.
    pub fn off(&self, listener: Listener) -> bool {
        self.hub.off(listener)
    }

    /// Publishes an event; the same as [`PubSub::publish`].
    ///
    /// # Errors
    /// As [`PubSub::publish`].
    pub fn emit<E: Event>(&self, event: &E) -> Publish<'_> {
        self.hub.bus.publish(event)
    }

    /// Publishes `data` under a name: on the channel that the catalog tells, else on that of its category, or on
    /// [`CLASSIC_CHANNEL`] for a classic name. Nothing happens until the result is awaited.
    ///
    /// # Errors
    /// `Invalid` for a bad name, `Codec` for data that is no JSON, and then as [`PubSub::publish_envelope`].
    pub fn emit_name<'a, T: Serialize + ?Sized>(
        &'a self,
        name: &str,
        data: &T,
    ) -> impl Future<Output = Result<Receipt>> + Send + use<'a, T> {
        let publish = self.publish_name(name, data);
        async move { publish?.await }
    }

    /// What [`EventBus::emit_name`] awaits.
    pub(crate) fn publish_name<T: Serialize + ?Sized>(&self, name: &str, data: &T) -> Result<Publish<'_>> {
        Ok(self.hub.bus.publish_envelope(self.envelope(name, data)?))
    }

    fn envelope<T: Serialize + ?Sized>(&self, name: &str, data: &T) -> Result<Envelope> {
        let name = names::event_name(name)?;
        let channel = names::channel(&self.hub.bus, &name)?;
        let version = self.hub.bus.catalog().versions(&name).last().map_or(1, |definition| definition.version());
        Ok(Envelope { version, ..Envelope::new(name, channel, Payload::encode(data)?) })
    }

    /// How many listeners there are.
    pub fn listeners(&self) -> usize {
        self.hub.listeners()
    }

    /// How many faults there were.
    pub fn faults(&self) -> u64 {
        self.hub.faults.count()
    }

    /// The handle below.
    pub fn bus(&self) -> &PubSub {
        &self.hub.bus
    }

    /// Ends all subscriptions, waits until the listeners have handled what they had heard, and refuses new ones. Dropped before
    /// it resolves, or not called at all before the last handle goes, it ends the listeners where they are.
    pub async fn close(&self) {
        let mut tasks = self.hub.close();
        while tasks.join_next().await.is_some() {}
    }

    /// Waits for one event of this exact name, on the channels of the name that it is made of.
    pub(crate) async fn expect(&self, name: &str, base: &str) -> Result<(oneshot::Receiver<Arc<Message>>, Expecting)> {
        self.hub.expect(name, base).await
    }

    /// What tells the subscription for a name from others.
    pub(crate) fn key(&self, name: &str) -> Result<String> {
        Ok(hub::key(&Taken::by_name(&self.hub.bus, name)?.channels))
    }

    /// Ends everything without waiting.
    pub(crate) fn shut(&self) {
        drop(self.hub.close());
    }

    /// Keeps the subscription for a name open until the result is dropped.
    pub(crate) async fn keep(&self, name: &str) -> Result<Kept> {
        self.hub.keep(name).await.map(Kept)
    }
}

/// Keeps a subscription open.
pub(crate) struct Kept(#[expect(dead_code, reason = "it is held, and dropped")] feed::Use);

impl fmt::Debug for EventBus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EventBus")
            .field("listeners", &self.listeners())
            .field("faults", &self.faults())
            .finish_non_exhaustive()
    }
}

/// What [`EventBus`] is made of.
pub struct EventBusBuilder {
    bus: PubSub,
    capacity: usize,
    hook: Option<fault::Hook>,
}

impl EventBusBuilder {
    /// Sets how many events may wait for one listener; one more is not heard by it, which is a fault. The default is
    /// [`DEFAULT_CAPACITY`], the least is 1.
    #[must_use]
    pub fn capacity(mut self, events: usize) -> Self {
        self.capacity = events.clamp(1, 1 << 20);
        self
    }

    /// Sets who is told of errors and panics of listeners, and of events that did not reach them. It is called from the
    /// tasks of the bus and must not block. What it is not set for is counted alone.
    #[must_use]
    pub fn on_fault(mut self, hook: impl Fn(BusFault) + Send + Sync + 'static) -> Self {
        self.hook = Some(Box::new(hook));
        self
    }

    /// Makes it. Subscribes to nothing yet.
    pub fn build(self) -> EventBus {
        EventBus::over(Hub::new(self.bus, Faults::new(self.hook), self.capacity))
    }
}

impl fmt::Debug for EventBusBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EventBusBuilder").field("capacity", &self.capacity).finish_non_exhaustive()
    }
}
