//! `Incoming`: one delivery on its way through layers to its handler.

use std::{
    any::Any,
    fmt,
    sync::{
        Arc, Mutex, MutexGuard, OnceLock, PoisonError,
        atomic::{AtomicU32, Ordering},
    },
};

use pubsub_core::{
    Ack, ChannelName, Control, Envelope, Error, ErrorKind, GroupName, Message, Position, PubSub, Result, Timestamp,
    driver::Drain, observe::Hop,
};

/// The most events that one call of a handler may emit: they are kept in memory until it succeeds.
const MAX_EMITTED: usize = 1_024;

/// One delivery, as layers and extractors see it. Cloning it gives another handle to the same delivery.
///
/// It carries no right to settle: a handler that is cut off by a layer is settled by what the layer says.
#[derive(Clone)]
pub struct Incoming(Arc<Inner>);

struct Inner {
    message: Arc<Message>,
    attempt: u32,
    shared: bool,
    position: Option<Position>,
    first_seen: Option<Timestamp>,
    site: Arc<Site>,
    /// The number of the handler's call: odd while it may emit.
    call: AtomicU32,
    /// What it emits; most handlers never have one.
    outbox: OnceLock<Box<Mutex<Outbox>>>,
    /// The span in which it is handled, where a layer has begun one.
    #[cfg(feature = "trace")]
    hop: Mutex<Hop>,
    /// Where a handler that settles by itself finds the right to do so.
    manual: Mutex<Option<Box<Ack>>>,
    /// What went out with the last call that succeeded, where whoever asked publishes it.
    held: Option<Mutex<Vec<Envelope>>>,
    /// What whoever asked gave along.
    companion: Option<Arc<dyn Any + Send + Sync>>,
}

/// What all deliveries of a subscription have in common.
pub(crate) struct Site {
    pub(crate) bus: PubSub,
    pub(crate) group: GroupName,
    pub(crate) channel: ChannelName,
    pub(crate) control: Control,
    /// Given when the router is drained, or this subscription is stopped.
    pub(crate) drain: Drain,
}

/// Changes what a handler emits, before it is kept.
type Stamp = Arc<dyn Fn(&mut Envelope) + Send + Sync>;

/// What the handler has emitted in its present call.
#[derive(Default)]
struct Outbox {
    events: Vec<Envelope>,
    stamps: Vec<Stamp>,
}

impl Inner {
    fn local(message: Arc<Message>, site: Arc<Site>) -> Self {
        Self {
            message,
            attempt: 1,
            shared: false,
            position: None,
            first_seen: None,
            site,
            call: AtomicU32::new(0),
            outbox: OnceLock::new(),
            #[cfg(feature = "trace")]
            hop: Mutex::default(),
            manual: Mutex::default(),
            held: None,
            companion: None,
        }
    }
}

impl Incoming {
    pub(crate) fn new(message: Arc<Message>, ack: &Ack, site: Arc<Site>) -> Self {
        Self(Arc::new(Inner {
            attempt: ack.attempt(),
            shared: ack.is_shared(),
            position: ack.position().cloned(),
            first_seen: ack.first_seen(),
            ..Inner::local(message, site)
        }))
    }

    /// A request that no broker has delivered.
    pub(crate) fn local(message: Arc<Message>, site: Arc<Site>) -> Self {
        Self(Arc::new(Inner::local(message, site)))
    }

    /// A request that no broker has delivered, and whose events are given to whoever asked.
    pub(crate) fn holding(
        message: Arc<Message>,
        site: Arc<Site>,
        companion: Option<Arc<dyn Any + Send + Sync>>,
    ) -> Self {
        Self(Arc::new(Inner { held: Some(Mutex::default()), companion, ..Inner::local(message, site) }))
    }

    /// The message as it came.
    pub fn message(&self) -> &Arc<Message> {
        &self.0.message
    }

    /// Which delivery of the event to this group this is; the first is 1.
    pub fn attempt(&self) -> u32 {
        self.0.attempt
    }

    /// Where the event lies in its channel, where the adapter tells.
    pub fn position(&self) -> Option<&Position> {
        self.0.position.as_ref()
    }

    /// When this group first met the event, where a redelivery knows it.
    pub fn first_seen(&self) -> Option<Timestamp> {
        self.0.first_seen
    }

    /// The group that consumes it.
    pub fn group(&self) -> &GroupName {
        &self.0.site.group
    }

    /// The bus that it came from.
    pub fn bus(&self) -> &PubSub {
        &self.0.site.bus
    }

    /// Pauses, resumes, ends and counts the subscription that it came from.
    pub fn control(&self) -> &Control {
        &self.0.site.control
    }

    /// What whoever had the request executed gave along for it ([`Running::perform`](crate::Running::perform)), if that is of
    /// this type. A delivery of a broker has none.
    pub fn companion<T: Send + Sync + 'static>(&self) -> Option<Arc<T>> {
        self.0.companion.clone()?.downcast().ok()
    }

    /// Given when the router is being drained: who only waits should stop then.
    pub fn drain(&self) -> &Drain {
        &self.0.site.drain
    }

    /// Lets `stamp` change every event that the handler emits from now on, as a layer that correlates events does. The
    /// outermost layer's stamps come first.
    pub fn on_emit(&self, stamp: impl Fn(&mut Envelope) + Send + Sync + 'static) {
        self.outbox().stamps.push(Arc::new(stamp));
    }

    /// The span in which it is handled: the innermost of those that layers have begun, or an empty one.
    pub(crate) fn hop(&self) -> Hop {
        #[cfg(feature = "trace")]
        return self.0.hop.lock().unwrap_or_else(PoisonError::into_inner).clone();
        #[cfg(not(feature = "trace"))]
        Hop::default()
    }

    #[cfg(feature = "trace")]
    pub(crate) fn set_hop(&self, hop: Hop) {
        *self.0.hop.lock().unwrap_or_else(PoisonError::into_inner) = hop;
    }

    pub(crate) fn is_shared(&self) -> bool {
        self.0.shared
    }

    fn outbox(&self) -> MutexGuard<'_, Outbox> {
        locked(self.0.outbox.get_or_init(Box::default))
    }

    /// Begins a call of the handler: what an earlier one emitted is forgotten.
    pub(crate) fn begin(&self) {
        // One call at a time begins and ends; an earlier one that was cut off has not ended.
        self.0.call.store((self.call() + 1) | 1, Ordering::Release);
        if let Some(outbox) = self.0.outbox.get() {
            locked(outbox).events.clear();
        }
    }

    /// Which call of the handler is underway; an even number for none.
    fn call(&self) -> u32 {
        self.0.call.load(Ordering::Acquire)
    }

    /// The call that is underway, for what emits in it.
    pub(crate) fn open_outbox(&self) -> u32 {
        drop(self.outbox());
        self.call()
    }

    /// Keeps an event that a call emits.
    pub(crate) fn emit(&self, call: u32, mut envelope: Envelope) -> Result<()> {
        let mut outbox = self.outbox();
        let refused = |kind, text: String| Err(Error::new(kind, "emit", text).on(&envelope.channel));
        // Asked under the lock: what gets in before the call has ended is taken with it.
        if self.call() != call || call.is_multiple_of(2) {
            return refused(ErrorKind::Closed, "the handler has returned, so nothing more goes out with it".to_owned());
        }
        if outbox.events.len() >= MAX_EMITTED {
            return refused(ErrorKind::Rejected, format!("one call of a handler emits at most {MAX_EMITTED} events"));
        }
        outbox.stamps.iter().for_each(|stamp| stamp(&mut envelope));
        outbox.events.push(envelope);
        Ok(())
    }

    /// Ends the call, and takes what it emitted.
    pub(crate) fn take_emitted(&self) -> Vec<Envelope> {
        self.0.call.store((self.call() + 1) & !1, Ordering::Release);
        self.0.outbox.get().map(|outbox| std::mem::take(&mut locked(outbox).events)).unwrap_or_default()
    }

    /// Keeps what a call emitted for whoever asked; gives it back where it is to be published.
    pub(crate) fn hold(&self, events: Vec<Envelope>) -> Vec<Envelope> {
        let Some(held) = &self.0.held else { return events };
        *held.lock().unwrap_or_else(PoisonError::into_inner) = events;
        Vec::new()
    }

    /// What is held.
    pub(crate) fn take_held(&self) -> Vec<Envelope> {
        let held = self.0.held.as_ref();
        held.map_or_else(Vec::new, |held| std::mem::take(&mut *held.lock().unwrap_or_else(PoisonError::into_inner)))
    }

    /// Lets the handler settle.
    pub(crate) fn lend_ack(&self, ack: Ack) {
        *self.manual() = Some(Box::new(ack));
    }

    /// The right to settle, for a handler that was lent it.
    pub(crate) fn take_ack(&self) -> Option<Ack> {
        self.manual().take().map(|ack| *ack)
    }

    fn manual(&self) -> MutexGuard<'_, Option<Box<Ack>>> {
        self.0.manual.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn locked(outbox: &Mutex<Outbox>) -> MutexGuard<'_, Outbox> {
    // The outbox is whole at every point where a panic could come from.
    outbox.lock().unwrap_or_else(PoisonError::into_inner)
}

impl fmt::Debug for Incoming {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Incoming")
            .field("group", &self.0.site.group.as_str())
            .field("channel", &self.0.site.channel.as_str())
            .field("name", &self.0.message.name().as_str())
            .field("id", self.0.message.id())
            .field("attempt", &self.0.attempt)
            .finish_non_exhaustive()
    }
}
