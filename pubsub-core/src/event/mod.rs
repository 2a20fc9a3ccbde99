//! Event types: the trait, its run-time definition, the catalog of definitions, and the codec between them.

pub(crate) mod arg;
pub(crate) mod catalog;
pub(crate) mod codec;
pub(crate) mod decoder;
pub(crate) mod definition;
pub(crate) mod direction;
pub(crate) mod upcast;
#[cfg(feature = "validate")]
pub(crate) mod validate;

use std::borrow::Cow;

use schemars::JsonSchema;
use serde::{Serialize, de::DeserializeOwned};

pub use direction::Direction;

/// A type that is published and subscribed to. Derive it: `#[derive(Event)]`, or `#[pubsub::event("orders:created")]`.
///
/// The payload on the wire is the type's JSON by serde; its schema is the type's [`JsonSchema`].
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not an event",
    label = "not an event type",
    note = "write `#[pubsub::event(\"category:event\")]` above the type, or derive `Event`, `Serialize`, `Deserialize`, `JsonSchema`"
)]
pub trait Event: Serialize + DeserializeOwned + JsonSchema + Send + Sync + 'static {
    /// The canonical name, `category:event`.
    const NAME: &'static str;
    /// The channel it is published on.
    const CHANNEL: &'static str;
    /// The version of the payload's schema.
    const VERSION: u32 = 1;
    /// Which way it may cross the web edge.
    const DIRECTION: Direction = Direction::Internal;
    /// Whether the action behind a client-sent event only reads, so that it may be repeated freely.
    const READ_ONLY: bool = false;
    /// What the event means, in a sentence.
    const DESCRIPTION: Option<&'static str> = None;

    /// How to make the JSON Schema of the reply, for requests; the derive sets it together with [`Request`].
    const REPLY_SCHEMA: Option<fn() -> schemars::Schema> = None;

    /// The ordering key of this event, if it has one.
    fn key(&self) -> Option<Cow<'_, str>> {
        None
    }
}

/// An event that asks for a reply.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is an event without a reply",
    label = "no reply type",
    note = "name the type of its answer: `#[event(…, reply = MyReply)]`"
)]
pub trait Request: Event {
    /// What the responder answers.
    type Reply: Serialize + DeserializeOwned + JsonSchema + Send + Sync + 'static;
}
