//! What a handler's result says.

use pubsub_core::Payload;
use serde::Serialize;

use crate::{BoxError, HandlerError};

/// That a handler succeeded.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct Done {
    /// What an action answers; `None` for handlers of events, and for an action that a layer has passed over.
    pub reply: Option<Payload>,
}

/// What becomes of one delivery.
pub type Verdict = Result<Done, HandlerError>;

/// What a handler may return: `()`, or `Result<(), E>` with any error.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a handler outcome",
    label = "a handler returns `()` or `Result<(), E>`",
    note = "an error of any type means retry; `HandlerError::reject`, `retry_after` and `give_up` say something else",
    note = "a handler whose result is a reply belongs in `.action(…)`"
)]
pub trait IntoOutcome {
    /// The verdict on the event.
    ///
    /// # Errors
    /// That the handler failed.
    fn into_outcome(self) -> Result<(), HandlerError>;
}

impl IntoOutcome for () {
    fn into_outcome(self) -> Result<(), HandlerError> {
        Ok(())
    }
}

impl<E: Into<BoxError>> IntoOutcome for Result<(), E> {
    fn into_outcome(self) -> Result<(), HandlerError> {
        self.map_err(|error| HandlerError::from_boxed(error.into()))
    }
}

/// What an action returns: its reply, or why there is none.
#[diagnostic::on_unimplemented(
    message = "`{Self}` does not answer the request with `{Reply}`",
    label = "an action returns `Result<{Reply}, HandlerError>`",
    note = "inside of it `?` turns every error into a `HandlerError`, and a `Failure` keeps its code"
)]
pub trait IntoReply<Reply> {
    /// The reply as a payload.
    ///
    /// # Errors
    /// That the action failed, or its reply cannot be written as JSON.
    fn into_reply(self) -> Result<Payload, HandlerError>;
}

impl<Reply: Serialize> IntoReply<Reply> for Result<Reply, HandlerError> {
    fn into_reply(self) -> Result<Payload, HandlerError> {
        Ok(Payload::encode(&self?)?)
    }
}

/// How a delivery is settled by what its handler returned.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Settle {
    /// Success acknowledges; a plain error brings the event back, until the attempts are used up.
    #[default]
    NackOnError,
    /// Success acknowledges; a plain error makes a dead letter at once.
    RejectOnError,
    /// Success and plain errors acknowledge; only `reject`, `retry_after` and `give_up` do what they say.
    AckOnError,
    /// Acknowledged before the handler runs, at most once: a failure is counted, and the event does not come back.
    AckFirst,
    /// The handler settles by itself: it takes [`ManualAck`](crate::ManualAck). Not settled means that the event comes
    /// again.
    Manual,
}
