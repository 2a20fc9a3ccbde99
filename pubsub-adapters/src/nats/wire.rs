//! Events as messages: headers with CloudEvents names, the payload as body.

use std::str::FromStr;

use async_nats::{HeaderMap, HeaderName, HeaderValue, Message as NatsMessage};
use bytes::Bytes;
use pubsub_core::{
    ChannelName, EventId, Message, Result, Timestamp,
    wire::{Arrival, WireFormat, attributes::Attribute},
};

use super::connection::Shared;
use crate::common::unreadable::{self, ReadOut};

/// How long an event lives from its arrival, in milliseconds: the server's own header counts whole seconds only.
const TTL: &str = "pubsub-ttl";
/// How events are written. The server and its client take microseconds for a dozen headers; and this is the form of
/// CloudEvents on NATS in their released version, 1.0.2, which has none, not even for a content type: readers know it by
/// its `specversion`.
const USUAL: WireFormat = WireFormat::Structured;
/// Headers that are the server's and ours, and none of the event's.
const OURS: [&str; 2] = ["nats-", "pubsub-"];

/// The headers of every attribute, made once.
#[derive(Debug)]
pub(super) struct HeaderNames(Vec<HeaderName>);

impl HeaderNames {
    pub(super) fn new(binding: &pubsub_core::wire::attributes::Binding) -> Self {
        // The binding's names are plain ASCII words; what would not be one is written under its bare name.
        let name = |attribute: &Attribute| {
            HeaderName::from_str(binding.name(*attribute)).unwrap_or_else(|_| HeaderName::from_static("ce-unknown"))
        };
        Self(Attribute::ALL.iter().map(name).collect())
    }

    fn get(&self, attribute: Attribute) -> Option<HeaderName> {
        self.0.get(attribute as usize).cloned()
    }
}

/// Headers and body of an event, and how many bytes the headers take.
///
/// # Errors
/// `TooLarge` if the metadata passes the limits of the wire form.
pub(super) fn encode(shared: &Shared, names: &HeaderNames, message: &Message) -> Result<(HeaderMap, Bytes, usize)> {
    let mut headers = HeaderMap::new();
    let (form, source) = (shared.options.broker.wire.unwrap_or(USUAL), &shared.options.broker.source);
    if let Some((body, _)) = form.document(message.envelope(), source)? {
        return Ok((headers, body, 0));
    }
    let mut size = 0;
    shared.binding.encode(message.envelope(), source, |attribute, value| {
        if let Some(name) = names.get(attribute) {
            size += shared.binding.name(attribute).len() + value.len() + 4;
            headers.insert(name, HeaderValue::from(value));
        }
    })?;
    Ok((headers, message.payload().data().cloned().unwrap_or_default(), size))
}

/// Adds how long the event lives.
pub(super) fn put_ttl(headers: &mut HeaderMap, ttl: std::time::Duration) {
    headers.insert(TTL, ttl.as_millis().to_string());
}

/// Whether an event that arrived then has outlived its time.
pub(super) fn is_expired(headers: Option<&HeaderMap>, arrived: Timestamp) -> bool {
    let Some(ttl) = headers.and_then(|headers| headers.get(TTL)) else { return false };
    let ttl = ttl.as_str().parse().map_or(std::time::Duration::MAX, std::time::Duration::from_millis);
    Timestamp::now() >= arrived.saturating_add(ttl)
}

/// Reads an event, or keeps its bytes. `place` names the same bytes the same at each delivery.
pub(super) fn decode(
    shared: &Shared,
    channel: &ChannelName,
    arrived: Timestamp,
    place: impl Fn() -> String,
    message: NatsMessage,
) -> ReadOut {
    let NatsMessage { headers, payload, .. } = message;
    let ours = |name: &str| {
        let lower = |prefix: &&str| name.get(..prefix.len()).is_some_and(|start| start.eq_ignore_ascii_case(prefix));
        OURS.iter().any(lower)
    };
    let list = headers.iter().flat_map(HeaderMap::iter).filter_map(|(name, values)| {
        let name: &str = name.as_ref();
        let value: &[u8] = values.last()?.as_ref();
        (!ours(name)).then_some((name, value))
    });
    let arrival = Arrival { channel, time: arrived };
    let read = shared.binding.decode(list, Some(payload.clone()), arrival);
    // What lies on a channel's subject is of that channel, whatever it says.
    let read = read.map(|mut envelope| {
        if envelope.channel != *channel {
            envelope.channel = channel.clone();
        }
        Message::from(envelope)
    });
    let id = || EventId::parse(&place()).unwrap_or_else(|_| EventId::random());
    unreadable::or_raw(read, channel, id, &payload)
}

/// A timestamp of so many nanoseconds.
pub(super) fn from_nanos(nanos: i128) -> Timestamp {
    let millis = i64::try_from(nanos / 1_000_000).unwrap_or(0);
    Timestamp::from_millis(millis).unwrap_or_else(|_| Timestamp::now())
}
