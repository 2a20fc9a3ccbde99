//! The binary form: the payload is the body, everything else is in attributes with CloudEvents 1.0 names.
//!
//! An adapter makes one [`Binding`] with the prefix and the text rules of its broker's headers, and then:
//!
//! - writes with [`Binding::encode`], which hands over one attribute after the other without building a list;
//! - reads with [`Binding::decode`], which also takes CloudEvents of other libraries, CloudEvents structured JSON, and
//!   the JSON document form where the headers say nothing about an event.
//!
//! | attribute | value |
//! |---|---|
//! | `specversion`, `id`, `source`, `type`, `time`, `subject` | `1.0`, id, the publisher's source, name, timestamp, channel |
//! | `datacontenttype` | content type; in headers it is called `content-type`, without a prefix |
//! | `eventversion`, `partitionkey` | version (always written), key |
//! | `correlationid`, `causationid`, `replyto`, `deadline`, `clienteventid`, `userid`, `pubsuborigin`, `traceparent`, `tracestate`, `attempt`, `firstseen`, `deadreason`, `deadattempts`, `deadsource`, `deadtime` | the metadata field of that name |
//! | `pubsubmeta` | all extra metadata as one JSON object |
//! | `pubsubtombstone` | `true` for a tombstone, which has no `datacontenttype` either |
//!
//! A tombstone has an empty body on brokers that cannot send none, so the attribute is written everywhere, and a
//! missing body is a tombstone even without it.
//!
//! Of a foreign event, `subject` and unknown attributes are kept as extra metadata under their names, and `source`
//! under [`FOREIGN_SOURCE`](super::FOREIGN_SOURCE). So are headers that are no attributes, where they are UTF-8; others
//! are dropped. A plain `traceparent` or `tracestate` header stands in for the attribute.

mod binding;
mod names;

#[cfg(test)]
mod tests;

use std::borrow::Cow;

use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};

pub use self::{binding::Binding, names::Attribute};
use super::{
    bounds,
    fault::ENCODE,
    fields::{Field, FieldValue},
};
use crate::{Envelope, Error, ErrorKind, Result};

/// What the CloudEvents HTTP binding (3.1.3.2) escapes beside everything that is not ASCII.
const ESCAPED: &AsciiSet = &CONTROLS.add(b' ').add(b'"').add(b'%');

/// What a broker's headers can hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum HeaderText {
    /// Printable ASCII only: other characters, and `%`, are percent-encoded, as over HTTP and NATS.
    Ascii,
    /// Any text, as on Kafka and AMQP.
    Utf8,
}

impl HeaderText {
    fn escape(self, text: &str) -> Cow<'_, str> {
        match self {
            Self::Ascii => utf8_percent_encode(text, ESCAPED).into(),
            Self::Utf8 => Cow::Borrowed(text),
        }
    }
}

/// Hands every attribute of an event to `put`, in a fixed order. The body is the payload's bytes.
///
/// `source` is the publisher's own, `/pubsub/<service>`. Nothing is handed over if there is an error.
///
/// # Errors
/// `TooLarge` if the metadata passes the limits of [`wire`](super).
pub fn encode(
    envelope: &Envelope,
    source: &str,
    header_text: HeaderText,
    mut put: impl FnMut(Attribute, &str),
) -> Result<()> {
    bounds::check(&envelope.meta, ENCODE)?;
    let meta = &envelope.meta;
    let extra = if meta.extra.is_empty() { None } else { Some(serde_json::to_string(&meta.extra)) };
    let extra = extra.transpose().map_err(|cause| {
        Error::new(ErrorKind::Codec, ENCODE, "the metadata cannot be written as JSON").because(cause)
    })?;

    put(Attribute::SpecVersion, "1.0");
    put(Attribute::Id, &header_text.escape(envelope.id.encode(&mut [0; 36])));
    put(Attribute::Source, &header_text.escape(source));
    put(Attribute::Type, &header_text.escape(envelope.name.as_str()));
    put(Attribute::Time, envelope.timestamp.encode(&mut [0; 24]));
    put(Attribute::Subject, envelope.channel.as_str());
    match envelope.payload.content_type() {
        Some(content_type) => put(Attribute::DataContentType, content_type.as_str()),
        None => put(Attribute::Tombstone, "true"),
    }
    match envelope.version {
        1 => put(Attribute::EventVersion, "1"),
        version => put(Attribute::EventVersion, &version.to_string()),
    }
    if let Some(key) = &envelope.key {
        put(Attribute::PartitionKey, &header_text.escape(key.as_str()));
    }
    if !meta.is_empty() {
        for field in Field::ALL {
            match field.get(meta) {
                Some(FieldValue::Text(text)) => put(field.attribute(), &header_text.escape(text)),
                Some(FieldValue::Number(number)) => put(field.attribute(), &number.to_string()),
                Some(FieldValue::Time(time)) => put(field.attribute(), time.encode(&mut [0; 24])),
                None => {}
            }
        }
    }
    if let Some(extra) = extra {
        put(Attribute::Meta, &header_text.escape(&extra));
    }
    Ok(())
}
