//! Requests in the classic form of event buses: an event that asks, and two that answer.

use std::{
    collections::HashMap,
    future::Future,
    pin::Pin,
    sync::{MutexGuard, PoisonError},
    task::Poll,
    time::Duration,
};

use pubsub_core::{
    Error, ErrorKind, EventId, Message, Result,
    observe::Hop,
    rpc::{CallError, Failure},
};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::Value;
use tokio::sync::oneshot;

use super::EventRpc;
use crate::{EventBus, bus::Kept};

impl EventRpc {
    /// Asks by an event, and waits for one of two that answer: `success_NAME` and `failure_NAME`, each with `_<requestId>`
    /// added. This is how responders on a classic event bus answer; the request's data is a JSON object, to which the member
    /// `requestId` is added.
    ///
    /// Names without a colon, such as `TARGET_CREATE_REQUESTED`, need no definition and travel on the channel `eventbus`.
    /// Names with one are events on their own channels.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use pubsub::{EventBus, EventRpc, PubSub};
    /// # use serde_json::{Value, json};
    /// # async fn example(bus: PubSub) -> Result<(), Box<dyn std::error::Error>> {
    /// let events = EventBus::new(&bus);
    /// events
    ///     .on_name("TARGET_CREATE_REQUESTED", |heard| async move {
    ///         let id = heard.request_id().unwrap_or_default();
    ///         heard.bus().emit_name(&format!("TARGET_CREATED_{id}"), &json!({ "id": 7 })).await
    ///     })
    ///     .await?;
    /// let rpc = EventRpc::new(&bus);
    /// let (asks, succeeds, fails) = ("TARGET_CREATE_REQUESTED", "TARGET_CREATED", "TARGET_CREATE_FAILED");
    /// let data = json!({ "name": "router" });
    /// let target: Value = rpc.request_events(asks, succeeds, fails, &data, Duration::from_secs(10)).await?;
    /// assert_eq!(target["id"], 7);
    /// # Ok(())
    /// # }
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// #     tokio::runtime::Runtime::new()?.block_on(async { example(pubsub::connect("memory:").await?).await })
    /// # }
    /// ```
    ///
    /// Cancel safety: dropping the future ends the call. The request may have been published.
    ///
    /// # Errors
    /// [`CallError::Failed`] with what the failure event says: its `code`, `message`, `retryable` and `details` if it has
    /// them, else `INTERNAL_SERVER_ERROR` with its `error`. [`CallError::Bus`] with `Timeout` without an answer in time,
    /// `Invalid` for a bad name or data that is no object, `Codec` for an answer that does not fit, and as
    /// [`PubSub::publish_envelope`](pubsub_core::PubSub::publish_envelope).
    pub async fn request_events<T, R>(
        &self,
        request_event: &str,
        success_event: &str,
        failure_event: &str,
        data: &T,
        timeout: Duration,
    ) -> Result<R, CallError>
    where
        T: Serialize + ?Sized,
        R: DeserializeOwned,
    {
        let invalid = |text: &'static str| Error::new(ErrorKind::Invalid, "request", text);
        if timeout.is_zero() {
            return Err(invalid("field `timeout` must not be zero").into());
        }
        let bus = &self.inner.bus;
        bus.clock().check_timers("request")?;
        let id = EventId::random().to_string();
        let data = serde_json::to_value(data).map_err(|cause| invalid("the data is no JSON").because(cause))?;
        let Value::Object(mut data) = data else { return Err(invalid("the data must be a JSON object").into()) };
        data.insert("requestId".to_owned(), id.clone().into());
        let mut over = bus.clock().sleep(timeout);
        let deadline = bus.clock().now().saturating_add(timeout + Duration::from_millis(1));
        let mut sent = false;
        let hop = Hop::request(bus.observer(), None);
        let outcome = {
            let sent = &mut sent;
            let mut asking = std::pin::pin!(async move {
                let events = self.events();
                for name in [success_event, failure_event] {
                    self.keep_open(events, name).await?;
                }
                // Both before the first send.
                let (mut success, _success) = events.expect(&format!("{success_event}_{id}"), success_event).await?;
                let (mut failure, _failure) = events.expect(&format!("{failure_event}_{id}"), failure_event).await?;
                let publish = events.publish_name(request_event, &data)?.timeout(timeout).meta(|meta| {
                    meta.correlation_id = Some(id.clone());
                    meta.deadline = Some(deadline);
                });
                let mut publish = std::pin::pin!(publish);
                *sent = true;
                let mut published = false;
                std::future::poll_fn(|cx| {
                    loop {
                        if let Poll::Ready(message) = Pin::new(&mut success).poll(cx) {
                            return Poll::Ready(message.map(Ok).map_err(unheard));
                        }
                        if let Poll::Ready(message) = Pin::new(&mut failure).poll(cx) {
                            return Poll::Ready(message.map(Err).map_err(unheard));
                        }
                        if published {
                            return Poll::Pending;
                        }
                        std::task::ready!(publish.as_mut().poll(cx))?;
                        published = true;
                    }
                })
                .await
            });
            let ended = std::future::poll_fn(|cx| match asking.as_mut().poll(cx) {
                Poll::Ready(outcome) => Poll::Ready(Some(outcome)),
                Poll::Pending => over.as_mut().poll(cx).map(|()| None),
            });
            hop.run(ended).await
        };
        match &outcome {
            Some(Ok(Ok(answer) | Err(answer))) => hop.link(answer.meta().traceparent.as_deref()),
            Some(Err(error)) => hop.failed(error.kind().as_str(), error),
            None => hop.failed(ErrorKind::Timeout.as_str(), &"no answer in time"),
        }
        match outcome {
            Some(Ok(Ok(success))) => Ok(success.payload().decode()?),
            Some(Ok(Err(failure))) => Err(CallError::Failed(told(&failure))),
            Some(Err(error)) => Err(CallError::Bus(error)),
            None => {
                self.inner.table.count_timeout(true);
                Err(super::call::timed_out(timeout, sent).into())
            }
        }
    }
}

impl EventRpc {
    fn events(&self) -> &EventBus {
        self.inner.events.get_or_init(|| EventBus::new(&self.inner.bus))
    }

    /// Keeps the subscription that an answer comes through open: to subscribe for each request would cost a broker more
    /// than the request does.
    async fn keep_open(&self, events: &EventBus, name: &str) -> Result<()> {
        let key = events.key(name)?;
        if self.kept().contains_key(&key) {
            return Ok(());
        }
        let kept = events.keep(name).await?;
        let before = self.kept().insert(key, kept);
        drop(before);
        Ok(())
    }

    fn kept(&self) -> MutexGuard<'_, HashMap<String, Kept>> {
        // The map is whole at every point where a panic could come from.
        self.inner.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Where the subscription ended.
#[cold]
fn unheard(_: oneshot::error::RecvError) -> Error {
    Error::new(ErrorKind::Closed, "request", "the subscription for the answer has ended").perhaps_applied()
}

/// What a failure event says.
fn told(message: &Message) -> Failure {
    if let Ok(failure) = message.payload().decode::<Failure>() {
        return failure;
    }
    let data = message.payload().decode::<Value>().unwrap_or_default();
    let text = data.get("error").or_else(|| data.get("message")).and_then(Value::as_str);
    Failure::internal(text.unwrap_or("Unknown error")).with_details(data)
}
