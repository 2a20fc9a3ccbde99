//! Events as records: CloudEvents headers `ce_*`, the payload as the value, the key as the record's key.

use std::sync::Arc;

use bytes::Bytes;
use pubsub_core::{
    ChannelName, Error, ErrorKind, EventId, Key, Message, Meta, Result, Timestamp,
    wire::{
        Arrival, FOREIGN_SOURCE, WireFormat,
        attributes::{Attribute, Binding, HeaderText},
    },
};
use rdkafka::message::{Header, Headers, OwnedHeaders};

use crate::common::unreadable::{self, ReadOut};

/// When a scheduled event is due, in milliseconds.
pub(super) const DUE: &str = "pubsub-due";

/// Writes and reads records.
#[derive(Debug)]
pub(super) struct Wire {
    binding: Binding,
    source: String,
    format: WireFormat,
}

/// What a record is made of.
pub(super) struct Encoded {
    pub(super) headers: OwnedHeaders,
    /// The whole event as the value; otherwise that is the payload, and none for a tombstone.
    pub(super) document: Option<Bytes>,
}

impl Wire {
    pub(super) fn new(source: &str, format: WireFormat) -> Self {
        Self { binding: Binding::new("ce_", HeaderText::Utf8), source: source.to_owned(), format }
    }

    /// An event as headers and value.
    ///
    /// # Errors
    /// As [`Binding::encode`] and [`WireFormat::document`].
    pub(super) fn write(&self, message: &Message, due: Option<Timestamp>) -> Result<Encoded> {
        let envelope = message.envelope();
        let mut headers = OwnedHeaders::new_with_capacity(8);
        if let Some(due) = due {
            let text = due.as_millis().to_string();
            headers = headers.insert(Header { key: DUE, value: Some(&text) });
        }
        if let Some((body, content_type)) = self.format.document(envelope, &self.source)? {
            if self.format == WireFormat::Structured {
                headers = headers.insert(Header { key: "content-type", value: Some(content_type) });
            }
            return Ok(Encoded { headers, document: Some(body) });
        }
        let mut slot = Some(headers);
        self.binding.encode(envelope, &self.source, |attribute, text| {
            if is_told_by_record(attribute, text) {
                return;
            }
            let header = Header { key: self.binding.name(attribute), value: Some(text) };
            slot = slot.take().map(|headers| headers.insert(header));
        })?;
        Ok(Encoded { headers: slot.unwrap_or_default(), document: None })
    }

    /// The event in a record, or its bytes and why they are none. `born` tells apart the lives of the channel.
    pub(super) fn read(&self, record: &impl rdkafka::Message, channel: &ChannelName, born: u64) -> ReadOut {
        let time = arrival_of(record);
        let fault = match self.decode(record, Arrival { channel, time }) {
            Ok(message) => return (Arc::new(message), None),
            Err(fault) => fault,
        };
        let (partition, offset) = (record.partition(), record.offset());
        let id =
            || EventId::parse(&format!("kafka-{born:x}-{partition}-{offset}")).unwrap_or_else(|_| EventId::random());
        unreadable::or_raw(Err(fault), channel, id, &body_of(record).unwrap_or_default())
    }

    fn decode(&self, record: &impl rdkafka::Message, arrival: Arrival<'_>) -> Result<Message> {
        let body = body_of(record);
        let mut envelope = match record.headers() {
            Some(headers) => {
                let pairs = headers.iter().filter_map(|header| Some((header.key, header.value?)));
                self.binding.decode(pairs.filter(|(name, _)| *name != DUE), body, arrival)?
            }
            None => self.binding.decode(std::iter::empty(), body, arrival)?,
        };
        // Our own source is not foreign, whatever it is.
        let source = envelope.meta.extra.get(FOREIGN_SOURCE);
        if source.is_some_and(|source| source.as_str() == Some(self.source.as_str())) {
            envelope.meta.extra.remove(FOREIGN_SOURCE);
            if envelope.meta.is_empty() {
                // Metadata that is empty is told from none at all.
                envelope.meta = Meta::default();
            }
        }
        if envelope.key.is_none() {
            // Others' events carry their key in the record alone.
            let text = record.key().and_then(|key| std::str::from_utf8(key).ok());
            envelope.key = text.and_then(|text| Key::new(text).ok());
        }
        Ok(Message::from(envelope))
    }
}

/// Whether readers know an attribute without its header: the topic is the channel, and an event is of version 1 unless it
/// says more. Each header is an allocation for its writer, and a look-up for every reader. The key is in the record and in
/// a header, as the binding wants it.
fn is_told_by_record(attribute: Attribute, text: &str) -> bool {
    match attribute {
        Attribute::Subject => true,
        Attribute::EventVersion => text == "1",
        _ => false,
    }
}

/// A copy of the body: the client's own lasts no longer than its record. Bytes that nobody else holds are one allocation.
fn body_of(record: &impl rdkafka::Message) -> Option<Bytes> {
    record.payload().map(Bytes::copy_from_slice)
}

/// When a record was stored.
pub(super) fn arrival_of(record: &impl rdkafka::Message) -> Timestamp {
    let millis = record.timestamp().to_millis();
    millis.and_then(|millis| Timestamp::from_millis(millis).ok()).unwrap_or_else(Timestamp::now)
}

/// When a scheduled record is due.
///
/// # Errors
/// `Codec` if it does not say so.
pub(super) fn due_of(record: &impl rdkafka::Message) -> Result<Timestamp> {
    let header = record.headers().and_then(|headers| headers.iter().find(|header| header.key == DUE));
    let millis = header.and_then(|header| std::str::from_utf8(header.value?).ok()?.parse().ok());
    let due = millis.and_then(|millis| Timestamp::from_millis(millis).ok());
    due.ok_or_else(|| Error::new(ErrorKind::Codec, "decode", "a scheduled event does not say when it is due"))
}

#[cfg(test)]
mod tests {
    use pubsub_core::{EventName, Payload};
    use rdkafka::{
        Message as _,
        message::{OwnedMessage, Timestamp as Time},
    };

    use super::*;

    fn channel() -> ChannelName {
        ChannelName::parse("orders").unwrap()
    }

    fn record(encoded: Encoded, message: &Message) -> OwnedMessage {
        let body = encoded.document.as_ref().or(message.payload().data()).map(|body| body.to_vec());
        let key = message.key().map(|key| key.as_str().into());
        OwnedMessage::new(body, key, "orders".to_owned(), Time::CreateTime(5), 0, 7, Some(encoded.headers))
    }

    #[test]
    fn events_read_back_in_both_forms() {
        let name = EventName::parse("orders:created").unwrap();
        for format in [WireFormat::Binary, WireFormat::Envelope, WireFormat::Structured] {
            let wire = Wire::new("/test", format);
            for payload in [Payload::json("{\"a\":1}"), Payload::bytes(Bytes::new()), Payload::Tombstone] {
                let mut message = Message::new(name.clone(), channel(), payload);
                message.envelope_mut().key = Some(Key::new("k").unwrap());
                let due = Timestamp::from_millis(99).unwrap();
                let record = record(wire.write(&message, Some(due)).unwrap(), &message);
                let (read, fault) = wire.read(&record, &channel(), 1);
                assert!(fault.is_none(), "{fault:?}");
                assert_eq!(*read, message);
                assert_eq!(due_of(&record).unwrap(), due);
            }
        }
    }

    #[test]
    fn what_the_record_tells_by_itself_has_no_header() {
        let mut message = Message::new(EventName::parse("orders:created").unwrap(), channel(), Payload::json("1"));
        message.envelope_mut().key = Some(Key::new("k").unwrap());
        for (version, more) in [(1, &[][..]), (2, &["ce_eventversion"][..])] {
            message.envelope_mut().version = version;
            let record = record(Wire::new("/test", WireFormat::Binary).write(&message, None).unwrap(), &message);
            let names: Vec<_> = record.headers().unwrap().iter().map(|header| header.key).collect();
            let always = ["ce_specversion", "ce_id", "ce_source", "ce_type", "ce_time", "content-type"];
            assert_eq!(names, [&always, more, &["ce_partitionkey"]].concat());
            assert_eq!(*Wire::new("/test", WireFormat::Binary).read(&record, &channel(), 1).0, message);
        }
    }

    #[test]
    fn foreign_bytes_are_kept_and_never_panic() {
        let wire = Wire::new("/test", WireFormat::Binary);
        let headers = OwnedHeaders::new().insert(Header { key: "ce_id", value: Some(&[0xff_u8][..]) });
        for headers in [None, Some(headers)] {
            let body = Some(b"\xff\x00".to_vec());
            let record =
                OwnedMessage::new(body, Some(vec![0xff]), "orders".to_owned(), Time::NotAvailable, 1, 2, headers);
            let (read, fault) = wire.read(&record, &channel(), 1);
            assert_eq!(read.payload().data().map(|body| body.as_ref()), Some(&b"\xff\x00"[..]));
            assert!(fault.is_some());
        }
    }
}
