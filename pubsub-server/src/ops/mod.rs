//! What can be done: the same operations for tRPC and for plain HTTP.

mod channels;
mod history;
mod input;
mod publish;
mod send;
mod status;
mod subscribe;

pub(crate) use channels::{InfoInput, ListInput};
pub(crate) use history::HistoryInput;
pub(crate) use input::{fault, read};
pub(crate) use publish::PublishInput;
pub(crate) use send::{SendInput, Sending};
pub(crate) use subscribe::Plan;

use bytes::Bytes;
use pubsub_core::{
    Error, ErrorKind, EventId, EventName,
    store::{ActionId, Once, Permit},
};
use serde::Serialize;
use serde_json::value::RawValue;
use sha2::{Digest, Sha256};
use std::sync::OnceLock;

use crate::{ApiError, edge::Inner};

/// An output as JSON text.
///
/// # Errors
/// `INTERNAL_SERVER_ERROR` if it cannot be written, which no output of this crate does.
pub(crate) fn write<T: Serialize>(output: &T) -> Result<Box<RawValue>, ApiError> {
    serde_json::value::to_raw_value(output).map_err(|error| {
        tracing::error!(%error, "an answer cannot be written");
        ApiError::new(pubsub_core::rpc::FailureCode::InternalServerError, "the server failed")
    })
}

/// The name of an action for the idempotency store. A scope that is too long for it is taken by its digest.
fn action_id(scope: String, name: EventName, id: EventId) -> Result<ActionId, ApiError> {
    let scope = if scope.len() <= 200 && !scope.contains('\0') {
        scope
    } else {
        use std::fmt::Write as _;
        let mut digest = String::from("#");
        for byte in Sha256::digest(scope.as_bytes()) {
            // Writing to a string does not fail.
            let _ = write!(digest, "{byte:02x}");
        }
        digest
    };
    ActionId::new(scope, name, id).map_err(|error| ApiError::of(&error))
}

impl Inner {
    /// Does something once for an id; gives the answer, and whether it had been done before. `work` says beside its answer
    /// whether it has completed its permit itself.
    ///
    /// # Errors
    /// Those of `work`, which are not remembered; `CONFLICT` for another input under the id, `SERVICE_UNAVAILABLE`.
    async fn once<F>(
        &self,
        action: &ActionId,
        input: &[u8],
        work: impl FnOnce(Permit) -> F,
    ) -> Result<(Bytes, bool), ApiError>
    where
        F: Future<Output = Result<(Bytes, bool), ApiError>>,
    {
        let failure = OnceLock::new();
        let work = async |permit| {
            work(permit).await.map_err(|error| {
                let _ = failure.set(error);
                Error::new(ErrorKind::Cancelled, "run action", "the action failed")
            })
        };
        let done = Once::new(&*self.store).wait(self.settings.idempotency_wait).run_with(action, input, work).await;
        match done {
            Ok(outcome) => Ok((outcome.answer, outcome.duplicate)),
            Err(error) => Err(failure.into_inner().unwrap_or_else(|| match error.kind() {
                ErrorKind::Timeout => ApiError::unavailable("the same call is still underway"),
                _ => ApiError::of(&error),
            })),
        }
    }
}
