//! Requests of somebody else, passed on.

use std::{future::IntoFuture, time::Duration};

use pubsub_core::{
    Envelope, Payload,
    driver::BoxFuture,
    rpc::{CallError, Forward},
};

use super::EventRpc;

impl Forward for EventRpc {
    fn forward(&self, request: Envelope, timeout: Duration) -> BoxFuture<'_, Result<Payload, CallError>> {
        self.request_envelope(request).timeout(timeout).into_future()
    }
}
