//! Events as messages of the protocol, and back.

use std::{fmt::Write as _, sync::Arc};

use bytes::Bytes;
use lapin::{
    BasicProperties,
    types::{AMQPValue, FieldTable, LongString, ShortString},
};
use pubsub_core::{
    ChannelName, Error, EventId, Message, Result, Timestamp,
    wire::{
        Arrival, WireFormat,
        attributes::{Attribute, Binding, HeaderText},
    },
};

use super::names::{channel_of, hash, short};
use crate::common::unreadable;

/// Which delivery of the event to its group comes next.
pub(super) const ATTEMPT: &str = "x-pubsub-attempt";
/// When the group first met the event, in milliseconds.
pub(super) const FIRST_SEEN: &str = "x-pubsub-first-seen";
/// From when on the event is no longer delivered, in milliseconds.
pub(super) const EXPIRES: &str = "x-pubsub-expires";
/// Where a copy out of the history lies there.
pub(super) const OFFSET: &str = "x-pubsub-offset";
/// In which life of the history that is.
pub(super) const BORN: &str = "x-pubsub-born";
/// The routing key under which a copy was first published.
const KEY: &str = "x-pubsub-key";
/// A message that is no event, and passes through a queue to mark a place in it.
pub(super) const MARK: &str = "x-pubsub-mark";
/// Where a message lies in a stream, as the broker says.
const STREAM_OFFSET: &str = "x-stream-offset";
/// How often a quorum queue had to take a message back.
const RETURNS: &str = "x-delivery-count";

/// Writes and reads events.
#[derive(Debug)]
pub(super) struct Wire {
    binding: Binding,
    source: String,
    format: WireFormat,
}

impl Wire {
    pub(super) fn new(source: &str, format: WireFormat) -> Self {
        let binding = Binding::new("cloudEvents:", HeaderText::Utf8).of_source(source);
        Self { binding, source: source.to_owned(), format }
    }

    /// The message of an event, and its body.
    ///
    /// # Errors
    /// As the codec of attributes.
    pub(super) fn encode(&self, message: &Message) -> Result<(BasicProperties, Bytes)> {
        let mut headers = FieldTable::default();
        let mut properties =
            BasicProperties::default().with_delivery_mode(2).with_message_id(short(&message.id().to_string()));
        let body = match self.format.document(message.envelope(), &self.source)? {
            Some((body, content_type)) => {
                properties = properties.with_content_type(short(content_type));
                body
            }
            None => {
                let mut content_type = None;
                self.binding.encode(message.envelope(), &self.source, |attribute, text| {
                    if attribute == Attribute::DataContentType
                        && let Ok(text) = ShortString::try_new(text)
                    {
                        content_type = Some(text);
                        return;
                    }
                    headers.insert(short(self.binding.name(attribute)), AMQPValue::LongString(LongString::from(text)));
                })?;
                if let Some(content_type) = content_type {
                    properties = properties.with_content_type(content_type);
                }
                message.payload().data().cloned().unwrap_or_default()
            }
        };
        Ok((properties.with_headers(headers), body))
    }

    /// The event of a message. What is none comes with why it could not be read.
    pub(super) fn decode(&self, raw: &Raw, channel: &ChannelName) -> (Arc<Message>, Option<Error>) {
        let mut texts: Vec<(&str, std::borrow::Cow<'_, [u8]>)> = Vec::new();
        for (name, value) in raw.headers() {
            let name = name.as_str();
            if name.starts_with("x-pubsub-") || is_the_brokers(name) {
                continue;
            }
            let time = (self.binding.attribute(name) == Some(Attribute::Time)).then(|| time_of(value)).flatten();
            let bytes = time.map(|time| time.to_string().into_bytes().into()).or_else(|| bytes_of(value));
            texts.extend(bytes.map(|bytes| (name, bytes)));
        }
        if let Some(content_type) = raw.properties.content_type() {
            texts.push(("content-type", content_type.as_str().as_bytes().into()));
        }
        let arrival = Arrival { channel, time: raw.sent().unwrap_or_else(Timestamp::now) };
        let headers = texts.iter().map(|(name, value)| (*name, value.as_ref()));
        let read = self.binding.decode(headers, Some(raw.body.clone()), arrival).map(|mut envelope| {
            // Where it came in is what counts, as for copies among dead letters of other libraries.
            envelope.channel = channel.clone();
            Message::from(envelope)
        });
        unreadable::or_raw(read, channel, || raw.foreign_id(), &raw.body)
    }
}

/// A message as it came from the broker.
#[derive(Clone, Debug)]
pub(super) struct Raw {
    pub(super) properties: BasicProperties,
    pub(super) body: Bytes,
    pub(super) routing_key: ShortString,
}

impl Raw {
    /// A delivery, taken apart.
    pub(super) fn of(delivery: lapin::message::Delivery) -> Self {
        let lapin::message::Delivery { routing_key, properties, data, .. } = delivery;
        let first =
            properties.headers().as_ref().and_then(|headers| headers.inner().get(KEY)).and_then(|key| match key {
                AMQPValue::LongString(key) => std::str::from_utf8(key.as_bytes()).ok().map(short),
                _ => None,
            });
        Self { properties, body: Bytes::from(data), routing_key: first.unwrap_or(routing_key) }
    }

    fn headers(&self) -> impl Iterator<Item = (&ShortString, &AMQPValue)> {
        self.properties.headers().iter().flat_map(|headers| headers.inner())
    }

    /// How much the properties take in their frame.
    pub(super) fn head_len(&self) -> usize {
        const FIXED: usize = 16; // flags, the length of the headers, delivery mode, time
        let of = &self.properties;
        let ids = [of.message_id(), of.correlation_id(), of.reply_to(), of.expiration()];
        let texts = ids.into_iter().chain([of.content_type(), of.content_encoding()]).flatten();
        let texts: usize = texts.map(|text| 1 + text.as_str().len()).sum();
        FIXED + texts + self.headers().map(|(name, value)| field_len(name, value)).sum::<usize>()
    }

    fn number(&self, name: &str) -> Option<i64> {
        let value = self.properties.headers().as_ref()?.inner().get(name)?;
        match value {
            AMQPValue::LongLongInt(number) => Some(*number),
            AMQPValue::LongInt(number) => Some(i64::from(*number)),
            AMQPValue::LongUInt(number) => Some(i64::from(*number)),
            AMQPValue::ShortInt(number) => Some(i64::from(*number)),
            AMQPValue::ShortUInt(number) => Some(i64::from(*number)),
            AMQPValue::ShortShortInt(number) => Some(i64::from(*number)),
            AMQPValue::ShortShortUInt(number) => Some(i64::from(*number)),
            _ => None,
        }
    }

    fn time(&self, name: &str) -> Option<Timestamp> {
        Timestamp::from_millis(self.number(name)?).ok()
    }

    /// How often the group has failed the event.
    pub(super) fn failures(&self) -> u32 {
        let attempt = self.number(ATTEMPT).and_then(|number| u32::try_from(number).ok()).unwrap_or(1);
        attempt.saturating_sub(1)
    }

    /// How often the queue took it back since the last failure, for whatever reason.
    pub(super) fn returns(&self) -> u32 {
        self.number(RETURNS).map_or(0, |number| u32::try_from(number.max(0)).unwrap_or(u32::MAX))
    }

    pub(super) fn first_seen(&self) -> Option<Timestamp> {
        self.time(FIRST_SEEN)
    }

    /// When it was sent, as far as another library says.
    fn sent(&self) -> Option<Timestamp> {
        time_of(&AMQPValue::Timestamp(*self.properties.timestamp().as_ref()?))
    }

    /// Whether its time to live is over.
    pub(super) fn is_expired(&self) -> bool {
        self.time(EXPIRES).is_some_and(|expires| expires <= Timestamp::now())
    }

    /// Where it lies in a stream, or where its original does.
    pub(super) fn offset(&self) -> Option<u64> {
        let offset = self.number(STREAM_OFFSET).or_else(|| self.number(OFFSET))?;
        u64::try_from(offset).ok()
    }

    /// In which life of a stream the original of a copy lies.
    pub(super) fn born(&self) -> u64 {
        self.number(BORN).and_then(|born| u64::try_from(born).ok()).unwrap_or(0)
    }

    /// The mark that this message is, if it is one.
    pub(super) fn mark(&self) -> Option<&[u8]> {
        match self.properties.headers().as_ref()?.inner().get(MARK)? {
            AMQPValue::LongString(text) => Some(text.as_bytes()),
            _ => None,
        }
    }

    /// What the message is called without being read.
    pub(super) fn id(&self) -> Option<&str> {
        self.properties.message_id().as_ref().map(ShortString::as_str)
    }

    fn foreign_id(&self) -> EventId {
        let by_name = self.id().and_then(|id| EventId::parse(id).ok());
        by_name.or_else(|| EventId::parse(&self.digest()).ok()).unwrap_or_else(EventId::random)
    }

    /// The same for the same message at each delivery.
    fn digest(&self) -> String {
        let mut text = format!("{}:", self.routing_key);
        for byte in &self.body {
            let _ = write!(text, "{byte:02x}");
        }
        hash(&text)
    }

    /// The message with a header more.
    #[must_use]
    pub(super) fn with(mut self, name: &str, value: AMQPValue) -> Self {
        let mut headers = self.properties.headers().clone().unwrap_or_default();
        headers.insert(short(name), value);
        self.properties = self.properties.with_headers(headers);
        self
    }

    /// A copy that may be published: without what the broker put into it, and without a time to live of its own, which
    /// would cut a delay short; [`EXPIRES`] stays.
    pub(super) fn copy(&self) -> Self {
        let mut headers = FieldTable::default();
        for (name, value) in self.headers().filter(|(name, _)| !is_the_brokers(name.as_str())) {
            headers.insert(name.clone(), value.clone());
        }
        headers.insert(short(KEY), AMQPValue::LongString(LongString::from(self.routing_key.as_str())));
        let old = &self.properties;
        let mut properties = BasicProperties::default().with_delivery_mode(2).with_headers(headers);
        if let Some(value) = old.content_type() {
            properties = properties.with_content_type(value.clone());
        }
        if let Some(value) = old.content_encoding() {
            properties = properties.with_content_encoding(value.clone());
        }
        // By its id a message is known that the broker returns: a copy must not be without one.
        let id = old.message_id().clone().unwrap_or_else(|| short(&self.foreign_id().to_string()));
        properties = properties.with_message_id(id);
        if let Some(value) = old.timestamp() {
            properties = properties.with_timestamp(*value);
        }
        if let Some(value) = old.correlation_id() {
            properties = properties.with_correlation_id(value.clone());
        }
        if let Some(value) = old.reply_to() {
            properties = properties.with_reply_to(value.clone());
        }
        Self { properties, body: self.body.clone(), routing_key: self.routing_key.clone() }
    }

    /// The channel that the routing key tells.
    pub(super) fn channel(&self) -> Option<ChannelName> {
        channel_of(self.routing_key.as_str())
    }
}

fn field_len(name: &ShortString, value: &AMQPValue) -> usize {
    2 + name.as_str().len() + value_len(value)
}

fn value_len(value: &AMQPValue) -> usize {
    match value {
        AMQPValue::LongString(text) => 4 + text.as_bytes().len(),
        AMQPValue::ShortString(text) => 1 + text.as_str().len(),
        AMQPValue::ByteArray(bytes) => 4 + bytes.as_slice().len(),
        AMQPValue::FieldArray(values) => 4 + values.as_slice().iter().map(|value| 1 + value_len(value)).sum::<usize>(),
        AMQPValue::FieldTable(fields) => {
            4 + fields.inner().iter().map(|(name, value)| field_len(name, value)).sum::<usize>()
        }
        _ => 8,
    }
}

fn is_the_brokers(name: &str) -> bool {
    name.starts_with("x-death")
        || name.starts_with("x-first-death")
        || name.starts_with("x-last-death")
        || name == STREAM_OFFSET
        || name == RETURNS
}

/// The time that other libraries write as a number: seconds in the protocol's own type, or else milliseconds.
fn time_of(value: &AMQPValue) -> Option<Timestamp> {
    let millis = match value {
        AMQPValue::Timestamp(seconds) => i64::try_from(*seconds).ok()?.checked_mul(1000)?,
        AMQPValue::LongLongInt(millis) => *millis,
        AMQPValue::LongInt(millis) => i64::from(*millis),
        _ => return None,
    };
    Timestamp::from_millis(millis).ok()
}

fn bytes_of(value: &AMQPValue) -> Option<std::borrow::Cow<'_, [u8]>> {
    Some(match value {
        AMQPValue::LongString(text) => text.as_bytes().into(),
        AMQPValue::ShortString(text) => text.as_str().as_bytes().into(),
        AMQPValue::ByteArray(bytes) => bytes.as_slice().into(),
        AMQPValue::Boolean(value) => value.to_string().into_bytes().into(),
        AMQPValue::ShortShortInt(value) => value.to_string().into_bytes().into(),
        AMQPValue::ShortShortUInt(value) => value.to_string().into_bytes().into(),
        AMQPValue::ShortInt(value) => value.to_string().into_bytes().into(),
        AMQPValue::ShortUInt(value) => value.to_string().into_bytes().into(),
        AMQPValue::LongInt(value) => value.to_string().into_bytes().into(),
        AMQPValue::LongUInt(value) => value.to_string().into_bytes().into(),
        AMQPValue::LongLongInt(value) => value.to_string().into_bytes().into(),
        AMQPValue::Timestamp(value) => value.to_string().into_bytes().into(),
        AMQPValue::Float(value) => value.to_string().into_bytes().into(),
        AMQPValue::Double(value) => value.to_string().into_bytes().into(),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn copies_have_an_id() {
        let raw = |properties| Raw { properties, body: Bytes::from_static(b"{}"), routing_key: short("-.orders") };
        let foreign = raw(BasicProperties::default());
        assert_eq!(foreign.copy().id(), Some(foreign.foreign_id().to_string().as_str()));
        assert_eq!(foreign.copy().foreign_id(), foreign.foreign_id());
        let named = raw(BasicProperties::default().with_message_id(short("no. 7")));
        assert_eq!(named.copy().id(), Some("no. 7"));
    }

    #[test]
    fn times_of_other_libraries_are_read() {
        let wire = Wire::new("/pubsub", WireFormat::Binary);
        let channel = ChannelName::parse("orders").unwrap();
        let text = |text: &str| AMQPValue::LongString(LongString::from(text));
        for (time, expected) in [
            (text("2026-01-31T12:00:00.500Z"), "2026-01-31T12:00:00.500Z"),
            (AMQPValue::LongLongInt(1_769_860_800_500), "2026-01-31T12:00:00.500Z"),
            (AMQPValue::Timestamp(1_769_860_800), "2026-01-31T12:00:00.000Z"),
            (AMQPValue::LongInt(500), "1970-01-01T00:00:00.500Z"),
        ] {
            let mut headers = FieldTable::default();
            for (name, value) in [("id", text("o-7")), ("type", text("orders:created")), ("time", time)] {
                headers.insert(short(&format!("cloudEvents_{name}")), value);
            }
            let properties = BasicProperties::default().with_headers(headers);
            let raw = Raw { properties, body: Bytes::from_static(b"{}"), routing_key: short("-.orders") };
            let (message, fault) = wire.decode(&raw, &channel);
            assert!(fault.is_none(), "{fault:?}");
            assert_eq!(message.timestamp().to_string(), expected);
        }
        let headers = FieldTable::default();
        let properties = BasicProperties::default().with_headers(headers);
        let raw = Raw { properties, body: Bytes::from_static(b"{}"), routing_key: short("-.orders") };
        assert!(wire.decode(&raw, &channel).1.is_some());
        assert!(time_of(&AMQPValue::Timestamp(u64::MAX)).is_none());
    }
}
