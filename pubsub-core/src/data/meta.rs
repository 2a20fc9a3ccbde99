//! `Meta`: what travels with an event beside its payload.

use std::{
    collections::BTreeMap,
    fmt,
    ops::{Deref, DerefMut},
};

use serde_json::Value;

use super::{channel::ChannelName, timestamp::Timestamp};

/// Where an event entered the system.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Origin {
    /// A client published it.
    Api,
    /// An action emitted it.
    Action,
}

impl Origin {
    /// `api` or `action`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Api => "api",
            Self::Action => "action",
        }
    }

    /// Reads `api` or `action`.
    pub fn parse(text: &str) -> Option<Self> {
        match text {
            "api" => Some(Self::Api),
            "action" => Some(Self::Action),
            _ => None,
        }
    }
}

/// The metadata of an event: empty for most, so it costs one pointer until something is set.
///
/// Reads and writes go to [`MetaFields`] through `Deref`; the first write allocates.
#[derive(Clone, Default, PartialEq)]
pub struct Meta(Option<Box<MetaFields>>);

/// The fields of [`Meta`].
#[derive(Clone, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct MetaFields {
    /// Which conversation this event belongs to; a reply carries that of its request.
    pub correlation_id: Option<String>,
    /// The id of the event that led to this one.
    pub causation_id: Option<String>,
    /// The channel on which a reply is awaited.
    pub reply_to: Option<String>,
    /// After this time nobody waits for the effect any more.
    pub deadline: Option<Timestamp>,
    /// The id that a client gave to the event it sent.
    pub client_event_id: Option<String>,
    /// The user on whose behalf the event was published.
    pub user_id: Option<String>,
    /// Where the event entered the system.
    pub origin: Option<Origin>,
    /// W3C trace context: the parent span.
    pub traceparent: Option<String>,
    /// W3C trace context: what vendors add.
    pub tracestate: Option<String>,
    /// Which delivery this copy stands for, on retry and dead-letter channels; the first is 1.
    pub attempt: Option<u32>,
    /// When the group first met the event, on retry and dead-letter channels.
    pub first_seen: Option<Timestamp>,
    /// Why the event is a dead letter.
    pub dead_reason: Option<String>,
    /// How often it had been delivered before it became a dead letter.
    pub dead_attempts: Option<u32>,
    /// The channel that it was on.
    pub dead_source: Option<ChannelName>,
    /// When it became a dead letter.
    pub dead_time: Option<Timestamp>,
    /// Everything else, by the caller's own keys.
    pub extra: BTreeMap<String, Value>,
}

static EMPTY: MetaFields = MetaFields {
    correlation_id: None,
    causation_id: None,
    reply_to: None,
    deadline: None,
    client_event_id: None,
    user_id: None,
    origin: None,
    traceparent: None,
    tracestate: None,
    attempt: None,
    first_seen: None,
    dead_reason: None,
    dead_attempts: None,
    dead_source: None,
    dead_time: None,
    extra: BTreeMap::new(),
};

impl Meta {
    /// Whether nothing is set.
    pub fn is_empty(&self) -> bool {
        self.0.as_deref().is_none_or(|fields| *fields == EMPTY)
    }

    /// How many bytes all text of the metadata takes, roughly.
    pub(crate) fn text_len(&self) -> usize {
        let Some(fields) = self.0.as_deref() else { return 0 };
        let texts = [
            &fields.correlation_id,
            &fields.causation_id,
            &fields.reply_to,
            &fields.client_event_id,
            &fields.user_id,
            &fields.traceparent,
            &fields.tracestate,
            &fields.dead_reason,
        ];
        let known: usize = texts.into_iter().flatten().map(String::len).sum();
        known + fields.dead_source.as_ref().map_or(0, |channel| channel.as_str().len()) + self.extra_len()
    }

    /// How many bytes the caller's own entries take, roughly as their JSON text would.
    pub(crate) fn extra_len(&self) -> usize {
        self.extra.iter().map(|(key, value)| key.len() + 4 + value_len(value)).sum()
    }
}

fn value_len(value: &Value) -> usize {
    match value {
        Value::Null | Value::Bool(_) => 5,
        Value::Number(_) => 8,
        Value::String(text) => text.len() + 2,
        Value::Array(items) => 2 + items.iter().map(|item| 1 + value_len(item)).sum::<usize>(),
        Value::Object(fields) => 2 + fields.iter().map(|(key, item)| key.len() + 4 + value_len(item)).sum::<usize>(),
    }
}

impl Deref for Meta {
    type Target = MetaFields;

    fn deref(&self) -> &MetaFields {
        self.0.as_deref().unwrap_or(&EMPTY)
    }
}

impl DerefMut for Meta {
    fn deref_mut(&mut self) -> &mut MetaFields {
        self.0.get_or_insert_default()
    }
}

impl fmt::Debug for Meta {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_empty() { f.write_str("Meta {}") } else { fmt::Debug::fmt(&**self, f) }
    }
}
