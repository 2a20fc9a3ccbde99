//! `EventArg`: how a handler takes its event.

use std::sync::Arc;

use crate::{Event, EventDefinition, Message, Result};

/// The first argument of a handler: an event type by value, or behind an [`Arc`].
///
/// Behind an `Arc` it is decoded once for all handlers of this process that share the message; by value it is the
/// handler's own. The trait stands here and not beside the handlers, because only the crate of [`Event`] may implement it
/// for every event and for its `Arc`.
// A type that is no event is reported by `Event` itself, since the first implementation applies to every type.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not an event",
    label = "the first argument of a handler is its event",
    note = "write `#[pubsub::event(\"category:event\")]` above the type; other arguments follow the event"
)]
pub trait EventArg: Sized + Send + 'static {
    /// The event.
    type Event: Event;

    /// Takes it from a message. `shared` says that others of this process read the same message.
    ///
    /// # Errors
    /// `Codec` if the message is not what it should be, `Invalid` if the definition is that of another type.
    #[doc(hidden)]
    fn take(message: &Message, shared: bool, definition: &EventDefinition) -> Result<Self>;
}

impl<E: Event> EventArg for E {
    type Event = E;

    fn take(message: &Message, _: bool, definition: &EventDefinition) -> Result<Self> {
        decode(message, definition)
    }
}

impl<E: Event> EventArg for Arc<E> {
    type Event = E;

    fn take(message: &Message, shared: bool, definition: &EventDefinition) -> Result<Self> {
        if let Some(event) = shared.then(|| message.decoded_arc::<E>()).flatten() {
            return Ok(event);
        }
        let event = Arc::new(decode::<E>(message, definition)?);
        if shared {
            // Somebody else may have been first, with the same value.
            message.keep_decoded(event.clone());
        }
        Ok(event)
    }
}

fn decode<E: Event>(message: &Message, definition: &EventDefinition) -> Result<E> {
    definition.check_name(message)?;
    definition.decode(message).map_err(|error| error.on(message.channel()))
}
