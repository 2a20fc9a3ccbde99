//! `Forward`: passing a request on for somebody else.

use std::time::Duration;

use super::CallError;
use crate::{Envelope, Payload, driver::BoxFuture};

/// Passes requests on to whoever answers them, for those who cannot ask the bus themselves, such as the clients of a web
/// edge. `EventRpc` of `pubsub-client` does it on every adapter.
///
/// Contract for those who implement it:
/// - The request is published once, as it is, but for where its reply goes and until when, which the implementation sets;
///   it also has the request's id as its correlation id, unless there is one already. Nothing else is published.
/// - Calls are independent of each other, and may run at the same time; there is no order among them.
/// - Dropping the future ends the call and leaves nothing behind. The request may have been sent, and may be executed.
///
/// ```
/// use std::{sync::Arc, time::Duration};
///
/// use pubsub_core::{ChannelName, Envelope, EventName, Payload, rpc::{CallError, Forward}};
///
/// async fn quote(edge: Arc<dyn Forward>, user: &str) -> Result<Payload, CallError> {
///     let (name, channel) = (EventName::parse("quotes:get")?, ChannelName::parse("quotes")?);
///     let mut request = Envelope::new(name, channel, Payload::json(r#"{"symbol":"ABC"}"#));
///     request.meta.user_id = Some(user.to_owned());
///     request.meta.client_event_id = Some("c-1".to_owned());
///     edge.forward(request, Duration::from_secs(5)).await
/// }
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot pass requests on",
    label = "does not implement `Forward`",
    note = "`EventRpc` of `pubsub-client` does, on every adapter"
)]
pub trait Forward: Send + Sync + 'static {
    /// Publishes `request` and waits for the first answer, `timeout` at most, which travels with it as its deadline.
    ///
    /// # Errors
    /// [`CallError::Failed`] with what the responder said. [`CallError::Bus`] with `Timeout` without an answer in time,
    /// `Invalid` for a timeout of zero, `Codec` for a request or an answer that does not fit, `Conflict` while a request
    /// with the same id waits, `Backpressure` while too many do, `Closed` at the end, and what publishing gives.
    fn forward(&self, request: Envelope, timeout: Duration) -> BoxFuture<'_, Result<Payload, CallError>>;
}
