//! What callers over HTTP get to know of a failure: one object for all endpoints, the error object of tRPC.

use std::{fmt, time::Duration};

use pubsub_core::rpc::{Failure, FailureCode};
use serde::Serialize;

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
    pub fn to_object(&self, path: Option<&str>) -> serde_json::Value {
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

impl From<Failure> for ApiError {
    fn from(failure: Failure) -> Self {
        Self::new(failure.code, failure.message)
    }
}

impl fmt::Display for ApiError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.code.as_str(), self.message)
    }
}

impl std::error::Error for ApiError {}
