//! One case of the suite, and how it fails.

use std::{error::Error as StdError, fmt};

use pubsub_core::driver::{BoxFuture, Feature};

use super::Ctx;
use crate::faulty::Fault;

/// What a case returns: nothing, or what it expected and what it saw instead.
pub type Verdict<T = ()> = Result<T, Failure>;

/// A case underway.
pub type CaseFuture = BoxFuture<'static, Verdict>;

/// One behaviour that every adapter must show.
#[derive(Clone, Copy)]
pub struct Case {
    /// The id in the list of behaviours, such as `A1`; variants add a word after a hyphen, as in `A2-ephemeral`.
    pub id: &'static str,
    /// The behaviour in a sentence.
    pub title: &'static str,
    /// What the adapter must offer. If something is missing, the case asserts that asking for it is refused.
    pub needs: &'static [Feature],
    /// Faults of an adapter that the case finds; each is proven by a run over a faulty adapter.
    pub bites: &'static [Fault],
    /// Runs it.
    pub run: fn(Ctx) -> CaseFuture,
}

impl fmt::Debug for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Case")
            .field("id", &self.id)
            .field("title", &self.title)
            .field("needs", &self.needs)
            .field("bites", &self.bites)
            .finish_non_exhaustive()
    }
}

/// Why a case failed.
#[derive(Clone, Debug)]
pub struct Failure {
    expected: String,
    seen: String,
}

impl Failure {
    /// What was expected, and what was seen.
    pub fn new(expected: impl Into<String>, seen: impl fmt::Display) -> Self {
        Self { expected: expected.into(), seen: seen.to_string() }
    }

    /// Says during what it happened.
    #[must_use]
    pub fn during(mut self, what: impl fmt::Display) -> Self {
        self.expected = format!("{what}: {}", self.expected);
        self
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "expected {}; saw {}", self.expected, self.seen)
    }
}

impl StdError for Failure {}

impl From<pubsub_core::rpc::CallError> for Failure {
    fn from(error: pubsub_core::rpc::CallError) -> Self {
        match error {
            pubsub_core::rpc::CallError::Bus(error) => error.into(),
            other => Self::new("no error", other),
        }
    }
}

impl From<pubsub_core::Error> for Failure {
    fn from(error: pubsub_core::Error) -> Self {
        let mut seen = format!("{} ({})", error, error.kind());
        let mut source = error.source();
        while let Some(cause) = source {
            seen.push_str(&format!(": {cause}"));
            source = cause.source();
        }
        Self::new("no error", seen)
    }
}
