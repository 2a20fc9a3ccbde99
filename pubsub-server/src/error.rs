//! What callers over HTTP get to know of a failure: one object for all endpoints, the error object of tRPC.

use std::{fmt, time::Duration};

use axum::response::{IntoResponse, Response};
use http::{HeaderMap, HeaderValue, StatusCode, header};
use pubsub_core::{
    Error, ErrorKind,
    rpc::{Failure, FailureCode},
};
use serde::Serialize;
use serde_json::Value;

/// When to try again, where nothing better is known.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// One fault of an input, and where it lies.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Issue {
    /// JSON pointer to the faulty value.
    pub pointer: String,
    /// What is wrong with it.
    pub message: String,
}

/// A failure as the caller sees it. Its text holds nothing internal.
#[derive(Clone, Debug, PartialEq)]
pub struct ApiError {
    code: FailureCode,
    message: String,
    issues: Vec<Issue>,
    retry_after: Option<Duration>,
}

impl ApiError {
    /// A failure.
    pub fn new(code: FailureCode, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), issues: Vec::new(), retry_after: None }
    }

    /// Adds the faults of the input.
    #[must_use]
    pub fn with_issues(mut self, issues: Vec<Issue>) -> Self {
        self.issues = issues;
        self
    }

    /// Sets when to try again; 429 and 503 always tell.
    #[must_use]
    pub fn with_retry_after(mut self, after: Duration) -> Self {
        self.retry_after = Some(after);
        self
    }

    /// Its code.
    pub fn code(&self) -> FailureCode {
        self.code
    }

    /// Its text.
    pub fn message(&self) -> &str {
        &self.message
    }

    /// The faults of the input, if that is what is wrong.
    pub fn issues(&self) -> &[Issue] {
        &self.issues
    }

    /// When to try again, where that is known.
    pub fn retry_after(&self) -> Option<Duration> {
        self.retry_after
    }

    /// The inner error object of tRPC, without the wrapper: `{"message","code","data":{"code","httpStatus","path"?,"issues"?}}`.
    pub fn to_object(&self, path: Option<&str>) -> Value {
        let mut data = serde_json::Map::new();
        data.insert("code".into(), self.code.as_str().into());
        data.insert("httpStatus".into(), self.code.http_status().into());
        if let Some(path) = path {
            data.insert("path".into(), path.into());
        }
        if !self.issues.is_empty() {
            data.insert("issues".into(), serde_json::json!(self.issues));
        }
        serde_json::json!({ "message": self.message, "code": self.code.json_rpc_number(), "data": data })
    }
}

impl ApiError {
    /// The request breaks a rule.
    pub fn bad_request(message: impl Into<String>) -> Self {
        Self::new(FailureCode::BadRequest, message)
    }

    /// What the request is about does not exist.
    pub fn not_found(message: impl Into<String>) -> Self {
        Self::new(FailureCode::NotFound, message)
    }

    /// The caller has to say who it is.
    pub fn unauthorized(message: impl Into<String>) -> Self {
        Self::new(FailureCode::Unauthorized, message)
    }

    /// The caller may not do this.
    pub fn forbidden(message: impl Into<String>) -> Self {
        Self::new(FailureCode::Forbidden, message)
    }

    /// The server, or what it relies on, cannot do it now.
    pub fn unavailable(message: impl Into<String>) -> Self {
        Self::new(FailureCode::ServiceUnavailable, message)
    }

    /// What callers get to know of an error of the library. Only what is wrong with the request itself is told in its own
    /// words.
    pub(crate) fn of(error: &Error) -> Self {
        match error.kind() {
            ErrorKind::Invalid | ErrorKind::Codec => Self::bad_request(error.message()).with_issues(issues_of(error)),
            ErrorKind::TooLarge => Self::new(FailureCode::PayloadTooLarge, error.message()),
            ErrorKind::NotFound => Self::not_found(error.message()),
            ErrorKind::Conflict => Self::new(FailureCode::Conflict, error.message()),
            ErrorKind::PositionExpired => {
                Self::new(FailureCode::PreconditionFailed, "events after this position are no longer there")
            }
            ErrorKind::Unsupported => Self::new(FailureCode::NotImplemented, "the channel cannot do this"),
            ErrorKind::Unavailable
            | ErrorKind::Timeout
            | ErrorKind::DeadlineExceeded
            | ErrorKind::Backpressure
            | ErrorKind::Closed
            | ErrorKind::Cancelled
            | ErrorKind::Backend
            | ErrorKind::Unroutable => Self::unavailable("the broker cannot be reached, or does not keep up"),
            _ => Self::new(FailureCode::InternalServerError, "the server failed"),
        }
    }

    /// What the head of an answer tells beside the status: when to try again (always for 429 and 503), and that a caller is
    /// known by a token.
    pub(crate) fn add_to(&self, headers: &mut HeaderMap) {
        let always = matches!(self.code.http_status(), 429 | 503);
        if let Some(after) = self.retry_after.or_else(|| always.then_some(RETRY_AFTER)) {
            let seconds = after.as_secs() + u64::from(after.subsec_nanos() > 0);
            headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds.max(1)));
        }
        if self.code == FailureCode::Unauthorized {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
    }
}

/// The faults that an error tells of.
fn issues_of(error: &Error) -> Vec<Issue> {
    let faults = error.faults().iter();
    faults.map(|fault| Issue { pointer: fault.pointer.clone(), message: fault.message.clone() }).collect()
}

impl From<Failure> for ApiError {
    fn from(failure: Failure) -> Self {
        let faults = failure.details.as_ref().and_then(|details| details.get("faults")).and_then(Value::as_array);
        let issue = |fault: &Value| {
            let text = |key| fault.get(key).and_then(Value::as_str).map(str::to_owned);
            Some(Issue { pointer: text("pointer")?, message: text("message")? })
        };
        let issues = faults.into_iter().flatten().filter_map(issue).collect();
        Self::new(failure.code, failure.message).with_issues(issues)
    }
}

/// On plain endpoints: the status of the code, and `{"error": …}`.
impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let body = serde_json::json!({ "error": self.to_object(None) }).to_string();
        let status = StatusCode::from_u16(self.code.http_status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let mut response = (status, body).into_response();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        self.add_to(headers);
        response
    }
}

impl fmt::Display for ApiError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.code.as_str(), self.message)
    }
}

impl std::error::Error for ApiError {}
