//! What a handler may ask for beside its event.

mod emitter;
mod message;
mod state;

pub use emitter::Emitter;
pub(crate) use emitter::publish;
pub use message::{Attempt, ManualAck, User};
pub use state::{FromState, State};

use crate::{HandlerError, Incoming};

/// Something that can be taken from a delivery: every argument of a handler but the first.
///
/// Implement it for your own types:
///
/// ```
/// use pubsub_router::{FromDelivery, HandlerError, Incoming};
///
/// struct Tenant(String);
///
/// impl<S> FromDelivery<S> for Tenant {
///     fn from_delivery(incoming: &Incoming, _: &S) -> Result<Self, HandlerError> {
///         let tenant = incoming.message().meta().extra.get("tenant").and_then(|tenant| tenant.as_str());
///         tenant.map(|tenant| Self(tenant.to_owned())).ok_or_else(|| HandlerError::reject("no tenant"))
///     }
/// }
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be taken from a delivery",
    label = "not an argument of a handler",
    note = "the event comes first; then, in any order, `State<T>`, `User`, `Meta`, `EventId`, `Timestamp`, `Option<Key>`",
    note = "also `Attempt`, `Option<Position>`, `Arc<Message>`, `Emitter` and `Control`",
    note = "for a type of your own implement `FromDelivery<S>`"
)]
pub trait FromDelivery<S>: Sized {
    /// Takes it.
    ///
    /// # Errors
    /// Why it is not there, and what is to become of the event then.
    fn from_delivery(incoming: &Incoming, state: &S) -> Result<Self, HandlerError>;
}
