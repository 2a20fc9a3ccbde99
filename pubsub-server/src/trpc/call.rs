//! One call: whether it may be made, and what it answers.

use std::sync::Arc;

use pubsub_core::rpc::FailureCode;
use serde_json::value::RawValue;

use super::input::Input;
use crate::{
    ApiError,
    procedure::{ProcedureKind, Procedures},
};

/// A call of a request whose form is right. It has all that it needs, for it may outlive the request's handler.
pub(super) struct Call<P: Procedures> {
    pub(super) procedures: Arc<P>,
    pub(super) caller: Arc<P::Caller>,
    pub(super) path: String,
    pub(super) kind: Option<ProcedureKind>,
    /// The request's method, where it is the wrong one.
    pub(super) wrong_method: Option<http::Method>,
    pub(super) input: Input,
}

/// What came of a call.
pub(super) struct Answer {
    pub(super) path: String,
    pub(super) outcome: Result<Box<RawValue>, ApiError>,
}

impl<P: Procedures> Call<P> {
    /// Runs a query or a mutation.
    pub(super) async fn answer(self) -> Answer {
        let outcome = self.run().await;
        Answer { path: self.path, outcome }
    }

    async fn run(&self) -> Result<Box<RawValue>, ApiError> {
        if self.checked()? == ProcedureKind::Subscription {
            return Err(ApiError::new(FailureCode::BadRequest, "A subscription cannot be part of a batch"));
        }
        self.procedures.call(&self.caller, &self.path, self.input()?).await
    }

    /// Opens a subscription.
    pub(super) async fn subscribe(&self, position: Option<&str>) -> Result<P::Stream, ApiError> {
        self.checked()?;
        self.procedures.subscribe(&self.caller, &self.path, self.input()?, position).await
    }

    /// In the order of the reference: first that the procedure exists, then the method, last the input.
    fn checked(&self) -> Result<ProcedureKind, ApiError> {
        let path = &self.path;
        let kind = self
            .kind
            .ok_or_else(|| ApiError::new(FailureCode::NotFound, format!("No procedure found on path \"{path}\"")))?;
        match &self.wrong_method {
            Some(method) => {
                let message = format!("Unsupported {method}-request to {} procedure at path \"{path}\"", name(kind));
                Err(ApiError::new(FailureCode::MethodNotSupported, message))
            }
            None => Ok(kind),
        }
    }

    fn input(&self) -> Result<Option<&RawValue>, ApiError> {
        match &self.input {
            Ok(input) => Ok(input.as_deref()),
            Err(error) => Err(error.clone()),
        }
    }
}

fn name(kind: ProcedureKind) -> &'static str {
    match kind {
        ProcedureKind::Query => "query",
        ProcedureKind::Mutation => "mutation",
        ProcedureKind::Subscription => "subscription",
    }
}

impl Answer {
    /// Its status, were it alone.
    pub(super) fn status(&self) -> u16 {
        self.outcome.as_ref().err().map_or(200, |error| error.code().http_status())
    }

    /// As the client reads it.
    pub(super) fn write(&self, to: &mut Vec<u8>) {
        match &self.outcome {
            Ok(data) => {
                to.extend_from_slice(b"{\"result\":{\"data\":");
                to.extend_from_slice(data.get().as_bytes());
                to.extend_from_slice(b"}}");
            }
            Err(error) => {
                to.extend_from_slice(b"{\"error\":");
                to.extend_from_slice(error.to_object(Some(&self.path)).to_string().as_bytes());
                to.push(b'}');
            }
        }
    }
}
