//! `CallError`: how a call ends without its answer, seen from the caller.

use std::{error::Error as StdError, fmt};

use super::{Failure, FailureCode};
use crate::{Error, ErrorKind};

/// How a call ended without its answer.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum CallError {
    /// The responder said no.
    Failed(Failure),
    /// The call did not get that far, or its answer did not get back: no reply in time (`Timeout`), a reply that does
    /// not fit (`Codec`), the broker.
    Bus(Error),
}

impl CallError {
    /// Why, in the words that callers of a web edge get.
    pub fn code(&self) -> FailureCode {
        match self {
            Self::Failed(failure) => failure.code,
            Self::Bus(error) => match error.kind() {
                ErrorKind::Codec => FailureCode::BadGateway,
                ErrorKind::Invalid => FailureCode::BadRequest,
                ErrorKind::TooLarge => FailureCode::PayloadTooLarge,
                ErrorKind::Unroutable => FailureCode::ServiceUnavailable,
                ErrorKind::Cancelled => FailureCode::ClientClosedRequest,
                kind => FailureCode::of(kind),
            },
        }
    }

    /// Whether the same call may succeed later.
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Failed(failure) => failure.retryable,
            Self::Bus(error) => error.is_retryable() || error.kind() == ErrorKind::Unroutable,
        }
    }

    /// Whether the responder may have done what was asked, although no answer came. A failure is an answer.
    pub fn maybe_applied(&self) -> bool {
        matches!(self, Self::Bus(error) if error.maybe_applied())
    }

    /// The kind of the error, where it is one of the bus.
    pub fn bus_kind(&self) -> Option<ErrorKind> {
        match self {
            Self::Failed(_) => None,
            Self::Bus(error) => Some(error.kind()),
        }
    }

    /// What the responder said, if it said something.
    pub fn failure(&self) -> Option<&Failure> {
        match self {
            Self::Failed(failure) => Some(failure),
            Self::Bus(_) => None,
        }
    }
}

impl From<Error> for CallError {
    fn from(error: Error) -> Self {
        Self::Bus(error)
    }
}

impl From<Failure> for CallError {
    fn from(failure: Failure) -> Self {
        Self::Failed(failure)
    }
}

impl From<CallError> for Failure {
    /// What to tell whoever asked for something that needed this call.
    fn from(error: CallError) -> Self {
        match error {
            CallError::Failed(failure) => failure,
            CallError::Bus(ref cause) => Self::new(error.code(), cause.message()).with_retryable(error.is_retryable()),
        }
    }
}

impl fmt::Display for CallError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Failed(failure) => write!(f, "the responder failed: {failure}"),
            Self::Bus(error) => fmt::Display::fmt(error, f),
        }
    }
}

impl StdError for CallError {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        match self {
            Self::Failed(_) => None,
            Self::Bus(error) => error.source(),
        }
    }
}
