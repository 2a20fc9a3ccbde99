//! `Failure`: what a responder tells its caller when it cannot give the answer.

use std::{error::Error as StdError, fmt};

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::FailureCode;
use crate::{Error, ErrorKind};

/// A longer message is cut off where it is written: it is for people, and has to fit beside everything else.
const MAX_MESSAGE: usize = 4_000;

/// Why there is no answer, as the caller gets it: the same in events, HTTP and tRPC.
///
/// ```
/// use pubsub_core::rpc::{Failure, FailureCode};
///
/// let failure = Failure::new(FailureCode::NotFound, "there is no order 7");
/// let text = serde_json::to_string(&failure)?;
/// assert_eq!(text, r#"{"code":"NOT_FOUND","message":"there is no order 7","retryable":false}"#);
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", from = "Wire")]
#[non_exhaustive]
pub struct Failure {
    /// Why, for programs.
    pub code: FailureCode,
    /// Why, for people.
    pub message: String,
    /// Whether the same call may succeed later.
    pub retryable: bool,
    /// More about it, as the responder sees fit.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub details: Option<Value>,
}

impl Failure {
    /// A failure that may be tried again if its code says so.
    pub fn new(code: FailureCode, message: impl Into<String>) -> Self {
        let mut message = message.into();
        if let Some((cut, _)) = message.char_indices().nth(MAX_MESSAGE) {
            message.truncate(cut);
        }
        Self { code, message, retryable: code.is_retryable(), details: None }
    }

    /// The request breaks a rule.
    pub fn bad_request(message: impl Into<String>) -> Self {
        Self::new(FailureCode::BadRequest, message)
    }

    /// What the request is about does not exist.
    pub fn not_found(message: impl Into<String>) -> Self {
        Self::new(FailureCode::NotFound, message)
    }

    /// The responder broke.
    pub fn internal(message: impl Into<String>) -> Self {
        Self::new(FailureCode::InternalServerError, message)
    }

    /// What is wrong with the request itself, as reading it showed: `details.faults` names each place.
    pub fn of_request(error: &Error) -> Self {
        let code = match error.kind() {
            ErrorKind::TooLarge => FailureCode::PayloadTooLarge,
            _ => FailureCode::BadRequest,
        };
        let failure = Self::new(code, error.message());
        if error.faults().is_empty() {
            return failure;
        }
        let faults = error.faults().iter();
        let faults = faults.map(|fault| json!({ "pointer": fault.pointer, "message": fault.message }));
        failure.with_details(json!({ "faults": faults.collect::<Vec<_>>() }))
    }

    /// Sets whether the same call may succeed later.
    #[must_use]
    pub fn with_retryable(mut self, retryable: bool) -> Self {
        self.retryable = retryable;
        self
    }

    /// Adds more about it. `null` is the same as none.
    #[must_use]
    pub fn with_details(mut self, details: Value) -> Self {
        self.details = Some(details).filter(|details| !details.is_null());
        self
    }
}

impl From<Error> for Failure {
    /// An error of the library that a responder met. Its cause is not told: it is not the caller's business.
    fn from(error: Error) -> Self {
        let failure = Self::new(FailureCode::of(error.kind()), error.message());
        let retryable = failure.retryable || error.is_retryable();
        failure.with_retryable(retryable)
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.code, self.message)
    }
}

impl StdError for Failure {}

/// A failure as it comes in: `retryable` may be left out, and then the code decides.
#[derive(Deserialize)]
struct Wire {
    code: FailureCode,
    message: String,
    retryable: Option<bool>,
    details: Option<Value>,
}

impl From<Wire> for Failure {
    fn from(wire: Wire) -> Self {
        let Wire { code, message, retryable, details } = wire;
        let failure = Self::new(code, message);
        let retryable = retryable.unwrap_or(failure.retryable);
        failure.with_retryable(retryable).with_details(details.unwrap_or_default())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Fault;

    #[test]
    fn the_wire_form_is_read_back() {
        let failure = Failure::new(FailureCode::Conflict, "taken").with_retryable(true).with_details(json!({"by": 7}));
        let text = serde_json::to_string(&failure).unwrap();
        assert_eq!(text, r#"{"code":"CONFLICT","message":"taken","retryable":true,"details":{"by":7}}"#);
        assert_eq!(serde_json::from_str::<Failure>(&text).unwrap(), failure);
        let short: Failure = serde_json::from_str(r#"{"code":"TIMEOUT","message":"late","details":null}"#).unwrap();
        assert_eq!(short, Failure::new(FailureCode::Timeout, "late"));
        assert!(short.retryable);
    }

    #[test]
    fn foreign_failures_are_read_strictly() {
        for bad in [
            "{}",
            "[]",
            r#"{"code":"NO_SUCH","message":"x"}"#,
            r#"{"code":"TIMEOUT"}"#,
            r#"{"code":"TIMEOUT","message":7}"#,
            r#"{"code":"TIMEOUT","message":"x","retryable":"yes"}"#,
        ] {
            assert!(serde_json::from_str::<Failure>(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_request_at_fault_is_told_where() {
        let fault = Fault { pointer: "/total".into(), message: "expected a number".into() };
        let error = Error::new(ErrorKind::Codec, "decode", "it does not fit").with_faults(vec![fault]);
        let failure = Failure::of_request(&error);
        assert_eq!(failure.code, FailureCode::BadRequest);
        assert_eq!(failure.details.unwrap()["faults"][0]["pointer"], "/total");
    }

    #[test]
    fn errors_of_the_responder_are_its_own_fault() {
        let of = |kind| Failure::from(Error::new(kind, "publish", "no"));
        assert_eq!(of(ErrorKind::Invalid).code, FailureCode::InternalServerError);
        assert!(of(ErrorKind::Unavailable).retryable && !of(ErrorKind::Invalid).retryable);
        let long = Failure::internal("ä".repeat(10_000));
        assert_eq!(long.message.chars().count(), MAX_MESSAGE);
    }
}
