//! `HandlerError`: that a handler failed, why, and what is to become of the event.

use std::{error::Error as StdError, fmt, time::Duration};

use pubsub_core::{
    Error,
    rpc::{Failure, FailureCode},
};

use crate::TimedOut;

/// Any error that may cross tasks, as tower's layers give them.
pub type BoxError = Box<dyn StdError + Send + Sync>;

/// What is to become of an event whose handler failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Decision {
    /// Again, after the policy's delay; a dead letter once the attempts are used up. What every plain error means.
    Retry,
    /// Again after this time; a dead letter once the attempts are used up.
    RetryAfter(Duration),
    /// Never again: the event itself is at fault. It becomes a dead letter.
    Reject,
    /// Never again: the event is sound, but more attempts are of no use. It becomes a dead letter.
    GiveUp,
    /// Nothing was done: again at once, and no attempt is counted. Given by layers that stop waiting when the router is
    /// drained.
    Release,
}

impl Decision {
    /// A word for metrics and traces; the delay is not in it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Retry => "retry",
            Self::RetryAfter(_) => "retry_after",
            Self::Reject => "reject",
            Self::GiveUp => "give_up",
            Self::Release => "release",
        }
    }
}

/// Why a handler failed, and what is to become of the event.
///
/// Every error that implements [`std::error::Error`] turns into one by `?` and means [`Decision::Retry`]: nothing is
/// dropped because somebody forgot to decide. The exception is a [`Failure`] that says itself that it is of no use to try
/// again: it means [`Decision::Reject`]. The text of the error and of its causes reaches the dead letter.
///
/// ```
/// use pubsub_router::HandlerError;
///
/// fn parse(amount: &str) -> Result<u32, HandlerError> {
///     if amount.is_empty() {
///         return Err(HandlerError::reject("the amount is missing"));
///     }
///     Ok(amount.parse()?) // again, later
/// }
/// assert_eq!(parse("x").unwrap_err().to_string(), "invalid digit found in string");
/// ```
pub struct HandlerError(Box<Inner>);

struct Inner {
    decision: Decision,
    /// Whether a policy has had its say on attempts and delay.
    resolved: bool,
    /// Whether the payload could not be read.
    unreadable: Option<Error>,
    cause: BoxError,
}

impl HandlerError {
    fn new(decision: Decision, cause: impl Into<BoxError>) -> Self {
        Self(Box::new(Inner { decision, resolved: false, unreadable: None, cause: cause.into() }))
    }

    /// The event comes again, after the delay and as often as the policy says.
    pub fn retry(cause: impl Into<BoxError>) -> Self {
        Self::new(Decision::Retry, cause)
    }

    /// The event comes again after `delay`, as often as the policy says.
    pub fn retry_after(delay: Duration, cause: impl Into<BoxError>) -> Self {
        Self::new(Decision::RetryAfter(delay), cause)
    }

    /// The event is at fault, and becomes a dead letter at once.
    pub fn reject(cause: impl Into<BoxError>) -> Self {
        Self::new(Decision::Reject, cause)
    }

    /// The event is sound, but more attempts are of no use: it becomes a dead letter at once.
    pub fn give_up(cause: impl Into<BoxError>) -> Self {
        Self::new(Decision::GiveUp, cause)
    }

    /// Nothing was done with the event: it comes again at once, and no attempt is counted.
    pub(crate) fn release(cause: &'static str) -> Self {
        Self::new(Decision::Release, cause)
    }

    /// The payload is not what the handler's event says.
    pub(crate) fn unreadable(error: Error) -> Self {
        let mut this = Self::new(Decision::Reject, error.clone());
        this.0.unreadable = Some(error);
        this
    }

    /// From any boxed error. One that began as a `HandlerError` and went through tower's layers is itself again; all
    /// others mean [`Decision::Retry`].
    pub fn from_boxed(error: BoxError) -> Self {
        match error.downcast::<Boxed>() {
            Ok(boxed) => boxed.0,
            // A failure says itself whether it is of use to try again.
            Err(other) => match other.downcast_ref::<Failure>() {
                Some(failure) if !failure.retryable => Self::reject(other),
                _ => Self::retry(other),
            },
        }
    }

    /// What a caller is told: why, by a code that all transports share.
    ///
    /// ```
    /// use pubsub_core::rpc::{Failure, FailureCode};
    /// use pubsub_router::HandlerError;
    ///
    /// let missing = HandlerError::from(Failure::not_found("there is no order 7"));
    /// assert_eq!(missing.failure().code, FailureCode::NotFound);
    /// let secret = HandlerError::retry("connection to db-3 refused");
    /// assert_eq!(secret.failure().code, FailureCode::InternalServerError);
    /// assert!(!secret.failure().message.contains("db-3"));
    /// ```
    pub fn failure(&self) -> Failure {
        if let Some(error) = self.as_unreadable() {
            return Failure::of_request(error);
        }
        if let Some(failure) = self.0.cause.downcast_ref::<Failure>() {
            return failure.clone();
        }
        if let Some(error) = self.0.cause.downcast_ref::<Error>() {
            return error.clone().into();
        }
        if self.0.cause.is::<TimedOut>() {
            return Failure::new(FailureCode::GatewayTimeout, self.to_string());
        }
        match self.0.decision {
            Decision::Reject => Failure::bad_request(self.to_string()),
            Decision::GiveUp if !self.0.resolved => Failure::internal(self.to_string()),
            Decision::Release => Failure::new(FailureCode::ServiceUnavailable, "the responder is going away"),
            _ => Failure::internal("the action failed").with_retryable(true),
        }
    }

    /// What is to become of the event.
    pub fn decision(&self) -> Decision {
        self.0.decision
    }

    /// Whether the event's bytes could not be read as the handler's event.
    pub fn is_unreadable(&self) -> bool {
        self.0.unreadable.is_some()
    }

    /// Whether a retry policy has decided already, so that no other one applies.
    pub fn is_resolved(&self) -> bool {
        self.0.resolved || !matches!(self.0.decision, Decision::Retry | Decision::RetryAfter(_))
    }

    /// The same failure with another decision, which is final: no other policy changes it.
    #[must_use]
    pub fn resolve(mut self, decision: Decision) -> Self {
        self.0.decision = decision;
        self.0.resolved = true;
        self
    }

    /// The same failure for another event: the cause as text, except for a [`Failure`].
    pub(crate) fn repeat(&self) -> Self {
        let cause: BoxError = match self.0.cause.downcast_ref::<Failure>() {
            Some(failure) => Box::new(failure.clone()),
            None => self.to_string().into(),
        };
        let Inner { decision, resolved, unreadable, .. } = &*self.0;
        Self(Box::new(Inner { decision: *decision, resolved: *resolved, unreadable: unreadable.clone(), cause }))
    }

    /// The error itself.
    pub fn cause(&self) -> &(dyn StdError + Send + Sync + 'static) {
        &*self.0.cause
    }

    pub(crate) fn as_unreadable(&self) -> Option<&Error> {
        self.0.unreadable.as_ref()
    }
}

impl<E: StdError + Send + Sync + 'static> From<E> for HandlerError {
    fn from(error: E) -> Self {
        Self::from_boxed(Box::new(error))
    }
}

impl From<HandlerError> for BoxError {
    fn from(error: HandlerError) -> Self {
        Box::new(Boxed(error))
    }
}

/// The error and everything that led to it, on one line: what a dead letter shows.
impl fmt::Display for HandlerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0.cause)?;
        let mut cause = self.0.cause.source();
        while let Some(error) = cause {
            write!(f, ": {error}")?;
            cause = error.source();
        }
        Ok(())
    }
}

impl fmt::Debug for HandlerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HandlerError")
            .field("decision", &self.0.decision)
            .field("resolved", &self.0.resolved)
            .field("cause", &self.0.cause)
            .finish()
    }
}

/// A `HandlerError` on its way through layers. It is no error itself, or `?` could not turn every error into one.
struct Boxed(HandlerError);

impl fmt::Display for Boxed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0.0.cause, f)
    }
}

impl fmt::Debug for Boxed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

impl StdError for Boxed {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.0.0.cause.source()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_error_means_retry_and_tells_its_causes() {
        let cause = Error::new(pubsub_core::ErrorKind::Unavailable, "charge", "no answer")
            .because(std::io::Error::other("broken pipe"));
        let error = HandlerError::from(cause);
        assert_eq!((error.decision(), error.is_resolved()), (Decision::Retry, false));
        assert_eq!(error.to_string(), "charge: no answer: broken pipe");
    }

    #[test]
    fn a_decision_survives_the_way_through_foreign_layers() {
        let boxed: BoxError = HandlerError::give_up("no more").resolve(Decision::GiveUp).into();
        assert_eq!(boxed.to_string(), "no more");
        let back = HandlerError::from_boxed(boxed);
        assert_eq!((back.decision(), back.to_string().as_str()), (Decision::GiveUp, "no more"));
        let foreign = HandlerError::from_boxed("timed out".into());
        assert_eq!(foreign.decision(), Decision::Retry);
    }
}
