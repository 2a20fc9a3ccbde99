//! `Emitter`: events that go out only if the handler succeeds.

use pubsub_core::{Envelope, Event, Meta, PubSub, Result};

use super::FromDelivery;
use crate::{HandlerError, Incoming};

/// Publishes on behalf of a handler. What is emitted is kept until the handler has succeeded, then published in order and
/// confirmed; only then the event that led to it is acknowledged. If the handler fails, nothing goes out; if a
/// publish fails, the event comes again, and what was published by then may be published twice.
#[derive(Clone, Debug)]
pub struct Emitter {
    incoming: Incoming,
    call: u32,
}

impl Emitter {
    /// For the call that is underway.
    pub(crate) fn of(incoming: &Incoming) -> Self {
        Self { incoming: incoming.clone(), call: incoming.open_outbox() }
    }

    pub(crate) fn incoming(&self) -> &Incoming {
        &self.incoming
    }

    /// Emits an event.
    ///
    /// # Errors
    /// What is wrong with the event itself; `Closed` after the handler has returned; `Rejected` beyond 1,024 events of one
    /// call.
    pub fn emit<E: Event>(&self, event: &E) -> Result<()> {
        self.emit_with(event, |_| {})
    }

    /// Emits an event with metadata of its own.
    ///
    /// # Errors
    /// As [`Emitter::emit`].
    pub fn emit_with<E: Event>(&self, event: &E, change: impl FnOnce(&mut Meta)) -> Result<()> {
        let mut envelope = self.incoming.bus().envelope(event)?;
        change(&mut envelope.meta);
        self.incoming.emit(self.call, envelope)
    }

    /// The envelope that emitting this event would send, to be changed and emitted by [`Emitter::emit_envelope`].
    ///
    /// # Errors
    /// What is wrong with the event itself.
    pub fn envelope<E: Event>(&self, event: &E) -> Result<Envelope> {
        self.incoming.bus().envelope(event)
    }

    /// Emits a raw event.
    ///
    /// # Errors
    /// `Closed` and `Rejected` as [`Emitter::emit`].
    pub fn emit_envelope(&self, envelope: Envelope) -> Result<()> {
        self.incoming.emit(self.call, envelope)
    }
}

impl<S> FromDelivery<S> for Emitter {
    fn from_delivery(incoming: &Incoming, _: &S) -> Result<Self, HandlerError> {
        Ok(Self::of(incoming))
    }
}

/// Publishes what a handler emitted, and waits until all of it is confirmed.
pub(crate) async fn publish(bus: &PubSub, mut events: Vec<Envelope>) -> Result<()> {
    match events.len() {
        0 => Ok(()),
        1 => match events.pop() {
            Some(event) => bus.publish_envelope(event).await.map(drop),
            None => Ok(()),
        },
        _ => bus.publish_envelopes(events).await?.into_iter().collect::<Result<Vec<_>>>().map(drop),
    }
}
