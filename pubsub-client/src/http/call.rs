//! Calls: publish, send an event, ask.

use bytes::Bytes;
use pubsub_core::{
    ChannelName, Envelope, Error, ErrorKind, Event, EventId, EventName, Key, Payload, Request, Result, Timestamp,
    rpc::CallError,
};
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::{Map, Value};
use tokio::time::{Instant, timeout_at};

use super::{HttpClient, backoff::Backoff, builder::Settings, transport::Transport};

/// What the server says of an event that was published.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct Published {
    /// Its id.
    pub event_id: EventId,
    /// Its channel.
    pub channel: ChannelName,
    /// The position behind it, where the broker tells it.
    pub cursor: Option<String>,
    /// When.
    pub timestamp: Timestamp,
    /// Whether the channel had it already.
    pub duplicate: bool,
}

/// What the server says of an event that a client sent.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct Sent<R = Value> {
    /// The id of the published event.
    pub event_id: EventId,
    /// Its channel.
    pub channel: ChannelName,
    /// The server's id for the request.
    pub request_id: String,
    /// What the action returned; `null` without action.
    pub result: R,
    /// The event, and after it those that the action emitted.
    pub emitted_events: Vec<Envelope>,
    /// Whether this is the outcome of an earlier call of the same id.
    pub duplicate: bool,
}

/// A request that can be made again.
#[derive(Clone, Debug)]
pub(super) struct Prepared {
    pub(super) path: String,
    pub(super) body: Bytes,
}

impl HttpClient {
    /// Puts an event on its channel; no action runs. The id of the call is that of the event, so that repeated attempts are
    /// one event.
    ///
    /// Cancel safe in so far as nothing stays behind; the event may have been published.
    ///
    /// # Errors
    /// `CallError::Failed` with what the server refuses it for, with the places at fault under `details.faults`;
    /// `CallError::Bus` if it cannot be reached, and then [`CallError::maybe_applied`] tells whether it may have it.
    pub async fn publish<E: Event>(&self, event: &E) -> Result<Published, CallError> {
        self.publish_envelope(&envelope(event)?).await
    }

    /// Puts an event on a channel, by its envelope.
    ///
    /// # Errors
    /// As [`HttpClient::publish`]; `Invalid` if the payload is no JSON.
    pub async fn publish_envelope(&self, envelope: &Envelope) -> Result<Published, CallError> {
        decoded(self.call(&publish(envelope)?).await?)
    }

    /// Sends an event as a client: its action runs, then it is published. The id of the call is random; to repeat it after
    /// a restart, keep an envelope and use [`HttpClient::send_envelope`].
    ///
    /// # Errors
    /// As [`HttpClient::publish`], and what the action fails with.
    pub async fn send<E: Event>(&self, event: &E) -> Result<Sent, CallError> {
        self.send_envelope(&envelope(event)?).await
    }

    /// Sends an event by its envelope, whose id is that of the call: the action runs once for it.
    ///
    /// # Errors
    /// As [`HttpClient::send`]; `Invalid` if the payload is no JSON.
    pub async fn send_envelope(&self, envelope: &Envelope) -> Result<Sent, CallError> {
        decoded(self.call(&send(envelope)?).await?)
    }

    /// Asks, and gives the reply of the action.
    ///
    /// # Errors
    /// As [`HttpClient::send`]; `Codec` if the reply is another than the type of the request says.
    pub async fn request<E: Request>(&self, request: &E) -> Result<E::Reply, CallError> {
        let sent: Sent<E::Reply> = decoded(self.call(&send(&envelope(request)?)?).await?)?;
        Ok(sent.result)
    }

    async fn call(&self, prepared: &Prepared) -> Result<Value, CallError> {
        attempts(&self.0.transport, self.0.settings, prepared).await
    }
}

/// Makes a request, again after failures that may pass, within the time and the attempts that a call has.
async fn attempts(transport: &Transport, settings: Settings, prepared: &Prepared) -> Result<Value, CallError> {
    let deadline = Instant::now() + settings.timeout;
    let mut backoff = Backoff::new(settings.first_pause, settings.longest_pause);
    let mut left = settings.attempts;
    loop {
        left = left.saturating_sub(1);
        let outcome = timeout_at(deadline, transport.post(&prepared.path, prepared.body.clone())).await;
        let refusal = match outcome {
            Ok(Ok(answer)) => return Ok(answer),
            Ok(Err(refusal)) => refusal,
            Err(_) => {
                let message = format!("no answer within {:?}", settings.timeout);
                return Err(Error::new(ErrorKind::Timeout, "send", message).perhaps_applied().into());
            }
        };
        let next = Instant::now() + backoff.next(refusal.wait);
        if left == 0 || next >= deadline || !refusal.error.is_retryable() {
            return Err(refusal.error);
        }
        tokio::time::sleep_until(next).await;
    }
}

pub(super) fn decoded<T: DeserializeOwned>(answer: Value) -> Result<T, CallError> {
    serde_json::from_value(answer).map_err(|cause| {
        let error = Error::new(ErrorKind::Codec, "send", "the answer is not what the contract says");
        error.perhaps_applied().because(cause).into()
    })
}

/// An event with a new id.
pub(super) fn envelope<E: Event>(event: &E) -> Result<Envelope> {
    let (name, channel) = (EventName::parse(E::NAME)?, ChannelName::parse(E::CHANNEL)?);
    let mut envelope = Envelope::new(name, channel, Payload::encode(event)?);
    envelope.version = E::VERSION;
    envelope.key = event.key().map(|key| Key::new(&key)).transpose()?;
    Ok(envelope)
}

pub(super) fn publish(envelope: &Envelope) -> Result<Prepared> {
    let mut body = document(envelope)?;
    body.remove("channel");
    body.remove("timestamp");
    Ok(Prepared { path: format!("/channels/{}/events", envelope.channel), body: text(&body)? })
}

pub(super) fn send(envelope: &Envelope) -> Result<Prepared> {
    let mut body = document(envelope)?;
    body.retain(|key, _| matches!(key.as_str(), "name" | "channel" | "payload" | "correlationId"));
    body.insert("clientEventId".into(), envelope.id.to_string().into());
    Ok(Prepared { path: "/events".into(), body: text(&body)? })
}

/// The envelope's document, with what callers say beside `meta`.
fn document(envelope: &Envelope) -> Result<Map<String, Value>> {
    let failed = |message: &'static str| Error::new(ErrorKind::Invalid, "send", message).on(&envelope.channel);
    if !envelope.payload.content_type().is_some_and(|kind| kind.is_json()) {
        return Err(failed("over HTTP only payloads in JSON can be sent"));
    }
    let document = serde_json::to_value(envelope).map_err(|cause| failed("it cannot be written").because(cause))?;
    let Value::Object(mut document) = document else { return Err(failed("it cannot be written")) };
    let correlation = document.get_mut("meta").and_then(|meta| meta.as_object_mut()?.remove("correlationId"));
    document.extend(correlation.map(|id| ("correlationId".to_owned(), id)));
    Ok(document)
}

fn text(body: &Map<String, Value>) -> Result<Bytes> {
    let written = serde_json::to_vec(body);
    written
        .map(Bytes::from)
        .map_err(|cause| Error::new(ErrorKind::Codec, "send", "it cannot be written").because(cause))
}
