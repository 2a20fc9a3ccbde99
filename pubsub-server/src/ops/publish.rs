//! `publish`: puts an event on a channel.

use pubsub_core::{
    ChannelName, ChannelPolicy, Envelope, Error, ErrorKind, EventDefinition, EventId, EventName, Key, Meta, Origin,
    Payload, Timestamp, rpc::FailureCode,
};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, value::RawValue};

use super::{action_id, input, write};
use crate::{
    ApiError, Operation, User,
    cursor::{ChannelKey, Cursor, Mark},
    edge::{Caller, Edge, Inner},
};

/// What a caller publishes.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct PublishInput {
    pub(crate) channel: String,
    pub(crate) name: String,
    #[serde(default, deserialize_with = "input::given")]
    payload: Option<Box<RawValue>>,
    #[serde(default, deserialize_with = "input::given")]
    id: Option<String>,
    #[serde(default, deserialize_with = "input::given")]
    meta: Option<Map<String, Value>>,
    #[serde(default, deserialize_with = "input::given")]
    correlation_id: Option<String>,
}

/// What became of it.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Published {
    success: bool,
    event_id: String,
    channel: ChannelName,
    cursor: Option<String>,
    timestamp: Timestamp,
    duplicate: bool,
}

impl Edge {
    pub(crate) async fn publish(&self, caller: &Caller, input: PublishInput) -> Result<Published, ApiError> {
        let user = caller.user()?.map(|user| &**user);
        let channel = input::channel(&input.channel)?;
        let name = input::event_name(&input.name)?;
        let allowed = self.allow(user, &channel, Operation::Publish).await?;
        let definition = self.publishable(&name, &channel, &allowed.core)?;
        let payload = input::payload(input.payload.as_deref(), allowed.web.max_event_size)?;
        let id = input.id.as_deref().map(|id| input::id(id, "/id")).transpose()?;
        let mut envelope = Envelope::new(name, channel, payload);
        envelope.timestamp = self.bus.clock().now();
        take_meta(&mut envelope, input.meta.unwrap_or_default())?;
        if let Some(definition) = definition {
            envelope.version = definition.version();
        }
        stamp(&mut envelope.meta, user, Origin::Api);
        envelope.meta.correlation_id = input.correlation_id;
        set_key(&mut envelope, definition)?;
        let by_broker = allowed.core.dedup_window.is_some();
        match id {
            None => self.put(envelope, &allowed.core).await,
            Some(id) => {
                envelope.id = id.clone();
                if by_broker {
                    return self.put(envelope, &allowed.core).await;
                }
                let scope = format!("publish {}", envelope.channel);
                // One name for all: it is the channel and the id that may not come twice.
                let name = EventName::from_static("pubsub:publish").map_err(|error| ApiError::of(&error))?;
                let action = action_id(scope, name, id)?;
                let (edge, core) = (self.clone(), allowed.core.clone());
                let work = async move {
                    let put = async |_| {
                        let published = edge.put(envelope, &core).await?;
                        Ok((write(&published)?.get().to_owned().into(), false))
                    };
                    edge.once(&action, b"", put).await
                };
                let (answer, duplicate) = self.to_the_end(work).await?;
                let published: Published = serde_json::from_slice(&answer).map_err(|_| unreadable())?;
                Ok(Published { duplicate, ..published })
            }
        }
    }
}

impl Inner {
    /// The definition of an event that may be published on a channel; none for an undeclared one.
    fn publishable(
        &self,
        name: &EventName,
        channel: &ChannelName,
        policy: &ChannelPolicy,
    ) -> Result<Option<&EventDefinition>, ApiError> {
        match self.bus.catalog().versions(name).last() {
            Some(definition) if !definition.direction().to_clients() => {
                Err(ApiError::forbidden(format!("event `{name}` is not published by clients")))
            }
            Some(definition) if definition.channel() != channel => {
                let text = format!("event `{name}` belongs on channel `{}`", definition.channel());
                Err(input::fault("/channel", text))
            }
            Some(definition) => Ok(Some(definition)),
            None if policy.allow_undeclared => Ok(None),
            None => Err(ApiError::not_found(format!("there is no event `{name}` on channel `{channel}`"))),
        }
    }

    /// Publishes, and tells where the event lies.
    async fn put(&self, envelope: Envelope, policy: &ChannelPolicy) -> Result<Published, ApiError> {
        let (id, channel, timestamp) = (envelope.id.clone(), envelope.channel.clone(), envelope.timestamp);
        let receipt = self.send_out(envelope, policy).await?;
        let key = ChannelKey::of(&channel);
        Ok(Published {
            success: true,
            event_id: id.to_string(),
            cursor: receipt.position.map(|position| Cursor::one(key, Mark::At(position)).encode()),
            channel,
            timestamp,
            duplicate: receipt.duplicate,
        })
    }

    /// Publishes an event.
    ///
    /// # Errors
    /// As callers get to know them.
    pub(super) async fn send_out(
        &self,
        envelope: Envelope,
        policy: &ChannelPolicy,
    ) -> Result<pubsub_core::driver::Receipt, ApiError> {
        let published = self.bus.publish_envelope(envelope).await;
        self.hub.shared().note_activity();
        published.map_err(|error| of_publish(&error, policy, PAYLOAD))
    }
}

/// Where most inputs have their payload.
pub(super) const PAYLOAD: &str = "/payload";

/// What callers get to know of a publish that failed, whose payload is `at` this place of their input.
pub(super) fn of_publish(error: &Error, policy: &ChannelPolicy, at: &str) -> ApiError {
    match error.kind() {
        ErrorKind::Backpressure if policy.rate.is_some() => {
            ApiError::new(FailureCode::TooManyRequests, "the channel takes no more events now")
        }
        ErrorKind::Codec => {
            let error = ApiError::of(error);
            let issues = error.issues().iter().cloned().map(|mut issue| {
                issue.pointer.insert_str(0, at);
                issue
            });
            let issues = issues.collect();
            error.with_issues(issues)
        }
        ErrorKind::Rejected => ApiError::not_found(error.message()),
        _ => {
            tracing::debug!(%error, "an event is not published");
            ApiError::of(error)
        }
    }
}

/// What the server says of an event, whatever the caller said.
pub(super) fn stamp(meta: &mut Meta, user: Option<&User>, origin: Origin) {
    meta.user_id = user.map(|user| user.id.clone());
    meta.origin = Some(origin);
}

/// Gives an event the ordering key of its type, unless the caller gave one.
///
/// # Errors
/// `BAD_REQUEST` if the payload is not what the definition says.
pub(super) fn set_key(envelope: &mut Envelope, definition: Option<&EventDefinition>) -> Result<(), ApiError> {
    if envelope.key.is_none()
        && let Some(definition) = definition
    {
        envelope.key = definition.key_of(&envelope.payload).map_err(|first| {
            // Reading stops at the first fault; callers are told all of them.
            let error = definition.validate(&envelope.payload).err().unwrap_or(first);
            of_publish(&error, &ChannelPolicy::default(), PAYLOAD)
        })?;
    }
    Ok(())
}

/// Takes over the caller's metadata. What is the server's to say goes; `key` and `version` are what they are in the
/// document form of an event.
fn take_meta(envelope: &mut Envelope, meta: Map<String, Value>) -> Result<(), ApiError> {
    for (key, value) in meta {
        match key.as_str() {
            "clientEventId" | "correlationId" | "userId" | "source" => {}
            "key" => {
                let key = value.as_str().and_then(|key| Key::new(key).ok());
                let key = key.ok_or_else(|| input::fault("/meta/key", "a key is text of at most 256 bytes"))?;
                envelope.key = Some(key);
            }
            "version" => {
                let version = value.as_u64().and_then(|version| u32::try_from(version).ok()).filter(|one| *one > 0);
                envelope.version =
                    version.ok_or_else(|| input::fault("/meta/version", "a version is a number from 1"))?;
            }
            _ => {
                envelope.meta.extra.insert(key, value);
            }
        }
    }
    Ok(())
}

pub(super) fn unreadable() -> ApiError {
    ApiError::new(FailureCode::InternalServerError, "the first answer was not kept in a form that can be read")
}

/// A fresh id for what has none.
pub(super) fn fresh() -> EventId {
    EventId::random()
}

/// JSON text of a payload, `null` for what is none.
pub(super) fn text_of(payload: &Payload) -> Box<RawValue> {
    let text = payload.data().and_then(|bytes| std::str::from_utf8(bytes).ok());
    let raw = text.and_then(|text| RawValue::from_string(crate::json::compact(text).into_owned()).ok());
    raw.unwrap_or_else(|| RawValue::NULL.to_owned())
}
