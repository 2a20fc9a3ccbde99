//! CloudEvents 1.0 structured JSON: all attributes and the data in one object.
//!
//! The attributes are those of the [binary form](super::attributes), written as strings. JSON data is `data`, anything
//! else `data_base64`; white space around JSON is not kept. A tombstone has neither and says so by `pubsubtombstone`,
//! for in CloudEvents an event without data is not a deletion.
//!
//! Extension attributes of other libraries are kept as extra metadata under their names.

#[cfg(test)]
mod tests;

use std::borrow::Cow;

use base64::{Engine, engine::general_purpose::STANDARD};
use bytes::Bytes;
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

use super::{
    Arrival,
    attributes::{self, Attribute, HeaderText},
    document::{base64_bytes, json_text},
    fault::{ENCODE, fault, misshapen},
    gather::Gathered,
    members::{Members, Text, unfit},
};
use crate::{ContentType, Envelope, Error, ErrorKind, Payload, Result};

/// The media type of this form.
pub const CONTENT_TYPE: &str = "application/cloudevents+json";

/// Writes an envelope as a CloudEvent. `source` is the publisher's own, `/pubsub/<service>`.
///
/// # Errors
/// `TooLarge` if the metadata passes the limits of [`wire`](super).
pub fn encode(envelope: &Envelope, source: &str) -> Result<Bytes> {
    let mut out = Vec::with_capacity(512 + envelope.payload.len());
    let mut written = Ok(());
    out.push(b'{');
    attributes::encode(envelope, source, HeaderText::Utf8, |attribute, text| {
        out.extend_from_slice(if out.len() > 1 { b",\"" } else { b"\"" });
        out.extend_from_slice(attribute.as_str().as_bytes());
        out.extend_from_slice(b"\":");
        if let Err(cause) = serde_json::to_writer(&mut out, text) {
            written = Err(cause);
        }
    })?;
    written
        .map_err(|cause| Error::new(ErrorKind::Codec, ENCODE, "the event cannot be written as JSON").because(cause))?;
    if let Payload::Data { bytes, content_type } = &envelope.payload {
        match json_text(bytes, content_type) {
            Some(raw) => {
                out.extend_from_slice(b",\"data\":");
                out.extend_from_slice(raw.get().as_bytes());
            }
            None => {
                out.extend_from_slice(b",\"data_base64\":\"");
                out.extend_from_slice(STANDARD.encode(bytes).as_bytes());
                out.push(b'"');
            }
        }
    }
    out.push(b'}');
    Ok(out.into())
}

/// Reads a CloudEvent. Channel and time of a foreign one come from `arrival`; without it, the channel is the category
/// of the event's type and the time is required.
///
/// # Errors
/// `Codec` with the attribute at fault, `TooLarge` if the metadata passes the limits of [`wire`](super).
pub fn decode(bytes: &[u8], arrival: Option<Arrival<'_>>) -> Result<Envelope> {
    read(bytes, arrival, None)
}

/// Reads a CloudEvent that came with foreign headers, which are kept unless it has entries of these names.
pub(super) fn merged(bytes: &[u8], arrival: Arrival<'_>, headers: Gathered<'_>) -> Result<Envelope> {
    let mut envelope = read(bytes, Some(arrival), headers.own)?;
    headers.add_to(&mut envelope.meta)?;
    Ok(envelope)
}

pub(super) fn read(bytes: &[u8], arrival: Option<Arrival<'_>>, own: Option<&str>) -> Result<Envelope> {
    match serde_json::from_slice::<Plain<'_>>(bytes) {
        Ok(plain) if plain.specversion.is_some() => plain.into_envelope(arrival, own),
        // It is another library's, or none at all.
        _ => read_any(bytes, arrival, own),
    }
}

fn read_any(bytes: &[u8], arrival: Option<Arrival<'_>>, own: Option<&str>) -> Result<Envelope> {
    let members = serde_json::from_slice::<Members<'_, &RawValue>>(bytes);
    let members = members.map_err(|cause| misshapen::<Members<'_, &RawValue>>(bytes, cause))?;
    let mut gathered = Gathered::of(own);
    let (mut data, mut base64) = (None, None);
    for (name, raw) in members.into_entries()? {
        let name = &*name.0;
        let duplicate = match (name, Attribute::parse(name)) {
            ("data", _) => data.replace(raw).is_some(),
            ("data_base64", _) => base64.replace(raw).is_some(),
            (_, Some(attribute)) => {
                if let Some(text) = scalar(name, raw)? {
                    gathered.put(attribute, text)?;
                }
                false
            }
            (_, None) if raw.get() == "null" => false, // an attribute that is null is not there
            (_, None) => {
                gathered.extra.add(&[name], name, raw)?;
                false
            }
        };
        if duplicate {
            return Err(fault(&[name], format!("duplicate field `{name}`")));
        }
    }
    if gathered.get(Attribute::SpecVersion).is_none() {
        return Err(super::fault::missing(Attribute::SpecVersion.as_str()));
    }
    let payload = payload(&gathered, data, base64)?;
    gathered.into_envelope(payload, arrival)
}

fn payload(gathered: &Gathered<'_>, data: Option<&RawValue>, base64: Option<&RawValue>) -> Result<Payload> {
    let base64 = match base64 {
        Some(raw) => scalar("data_base64", raw)?,
        None => None,
    };
    payload_of(gathered, data, base64)
}

fn payload_of(gathered: &Gathered<'_>, data: Option<&RawValue>, base64: Option<Cow<'_, str>>) -> Result<Payload> {
    let body = match (data, base64) {
        (Some(_), Some(_)) => return Err(fault(&["data_base64"], "there is `data` as well")),
        (Some(raw), None) => Some(data_bytes(raw, &gathered.content_type()?)?),
        (None, Some(text)) => Some(base64_bytes(&text, "data_base64")?),
        (None, None) if gathered.is_tombstone() => None,
        (None, None) => Some(Bytes::new()),
    };
    gathered.payload(body)
}

/// `data` that is not JSON by its type is a string that holds the text itself.
fn data_bytes(raw: &RawValue, content_type: &ContentType) -> Result<Bytes> {
    let json = raw.get();
    if json.starts_with('"') && !content_type.is_json() {
        let text: Text<'_> = serde_json::from_str(json).map_err(|cause| unfit(&["data"], cause))?;
        return Ok(Bytes::copy_from_slice(text.0.as_bytes()));
    }
    Ok(Bytes::copy_from_slice(json.as_bytes()))
}

/// A CloudEvent with attributes of ours only, all of them strings: it is read in one pass.
macro_rules! plain {
    ($($field:ident = $attribute:ident,)*) => {
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Plain<'a> {
            $(#[serde(borrow)] $field: Option<Text<'a>>,)*
            /// `null` is a value here, so an `Option` alone would not do.
            #[serde(default, borrow, deserialize_with = "present")]
            data: Option<&'a RawValue>,
            #[serde(borrow)]
            data_base64: Option<Text<'a>>,
        }

        impl Plain<'_> {
            fn into_envelope(self, arrival: Option<Arrival<'_>>, own: Option<&str>) -> Result<Envelope> {
                let mut gathered = Gathered::of(own);
                $(if let Some(text) = self.$field {
                    gathered.put(Attribute::$attribute, text.0)?;
                })*
                let payload = payload_of(&gathered, self.data, self.data_base64.map(|text| text.0))?;
                gathered.into_envelope(payload, arrival)
            }
        }
    };
}

plain! {
    specversion = SpecVersion,
    id = Id,
    source = Source,
    r#type = Type,
    time = Time,
    subject = Subject,
    datacontenttype = DataContentType,
    eventversion = EventVersion,
    partitionkey = PartitionKey,
    correlationid = CorrelationId,
    causationid = CausationId,
    replyto = ReplyTo,
    deadline = Deadline,
    traceparent = Traceparent,
    tracestate = Tracestate,
    pubsubmeta = Meta,
}

fn present<'de: 'a, 'a, D: Deserializer<'de>>(deserializer: D) -> Result<Option<&'a RawValue>, D::Error> {
    <&RawValue>::deserialize(deserializer).map(Some)
}

/// The text of an attribute's value, which may also be a number or a boolean; `None` for `null`.
fn scalar<'a>(name: &str, raw: &'a RawValue) -> Result<Option<Cow<'a, str>>> {
    match raw.get().as_bytes().first() {
        Some(b'"') => {
            let text: Text<'_> = serde_json::from_str(raw.get()).map_err(|cause| unfit(&[name], cause))?;
            Ok(Some(text.0))
        }
        Some(b'{' | b'[') => Err(fault(&[name], "must be a string, a number or a boolean")),
        Some(b'n') => Ok(None),
        _ => Ok(Some(Cow::Borrowed(raw.get()))),
    }
}
