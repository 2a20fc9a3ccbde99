//! The JSON document form: one object per event.
//!
//! ```json
//! {"id":"8d5f…","name":"orders:created","channel":"orders","payload":{"total":9.5},
//!  "timestamp":"2026-01-31T12:00:00.000Z","meta":{"version":1,"key":"o-7","userId":"u-1"}}
//! ```
//!
//! - `id`, `name` and `timestamp` are required; a missing `channel` is the category of the name. Members that are not
//!   known here are ignored.
//! - `payload` is any JSON. White space around it is not kept. A payload that is not JSON by its type, or not valid
//!   JSON text, is `payloadBase64` with `contentType`; JSON of another type than `application/json` keeps its
//!   `contentType` beside `payload`. An event with neither member is a tombstone.
//! - `meta` holds `version` (1 if missing), `key`, the known fields and the caller's own entries side by side. An own
//!   entry whose key is a known one, or starts with `~`, is written with a further `~` before it.
//!
//! The reader also takes CloudEvents structured JSON, which it knows by `specversion`.

mod read;
mod write;

#[cfg(test)]
mod tests;

use bytes::Bytes;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de, ser};
use serde_json::value::RawValue;

pub(super) use self::{read::base64_bytes, write::json_text};
use self::{
    read::{Document, Probe},
    write::{Body, Parts},
};
use super::{
    Arrival, bounds, cloudevents,
    fault::{ENCODE, misshapen},
    gather::Gathered,
};
use crate::{Envelope, Error, ErrorKind, Event, Result};

/// Room for everything but payload and metadata, so that most documents are written without growing the buffer.
const FRAME: usize = 320;

/// Writes an envelope as a JSON document.
///
/// # Errors
/// `TooLarge` if the metadata passes the limits of [`wire`](super).
pub fn encode(envelope: &Envelope) -> Result<Bytes> {
    bounds::check(&envelope.meta, ENCODE)?;
    let mut out = Vec::with_capacity(FRAME + envelope.payload.len());
    let parts = Parts { envelope, body: Body::of(&envelope.payload) };
    match serde_json::to_writer(&mut out, &parts) {
        Ok(()) => Ok(out.into()),
        Err(cause) => Err(Error::new(ErrorKind::Codec, ENCODE, "the event cannot be written as JSON").because(cause)),
    }
}

/// Reads an envelope from a JSON document, or from CloudEvents structured JSON.
///
/// # Errors
/// `Codec` with the place of the fault if the bytes are no such document, `TooLarge` if the metadata passes the
/// limits of [`wire`](super).
pub fn decode(bytes: &[u8]) -> Result<Envelope> {
    read(bytes, None, None)
}

/// Like [`decode`], for bytes that came in on a channel: a foreign CloudEvent takes channel and time from there.
///
/// # Errors
/// As [`decode`].
pub fn decode_arrived(bytes: &[u8], arrival: Arrival<'_>) -> Result<Envelope> {
    read(bytes, Some(arrival), None)
}

/// Reads a document that came with foreign headers, which are kept unless the document has entries of these names.
pub(super) fn merged(bytes: &[u8], arrival: Arrival<'_>, headers: Gathered<'_>) -> Result<Envelope> {
    let mut envelope = read(bytes, Some(arrival), headers.own)?;
    headers.add_to(&mut envelope.meta)?;
    Ok(envelope)
}

fn read(bytes: &[u8], arrival: Option<Arrival<'_>>, own: Option<&str>) -> Result<Envelope> {
    // As this library writes it; it need not be looked through as something else before.
    if bytes.starts_with(br#"{"specversion":"#) {
        return cloudevents::read(bytes, arrival, own);
    }
    match serde_json::from_slice::<Document<'_, &RawValue>>(bytes) {
        Ok(document) if document.specversion.is_none() => document.into_envelope(),
        Ok(_) => cloudevents::read(bytes, arrival, own),
        // An extension attribute of a CloudEvent may be called like one of our members.
        Err(_) if serde_json::from_slice::<Probe>(bytes).is_ok_and(|probe| probe.specversion.is_some()) => {
            cloudevents::read(bytes, arrival, own)
        }
        Err(cause) => Err(misshapen::<Document<'_, &RawValue>>(bytes, cause)),
    }
}

/// The JSON document form. Works with `serde_json` only, as the payload is embedded as it is.
impl Serialize for Envelope {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        bounds::check(&self.meta, ENCODE).map_err(ser::Error::custom)?;
        Parts { envelope: self, body: Body::of(&self.payload) }.serialize(serializer)
    }
}

/// The JSON document form of a typed event.
impl<E: Event> Serialize for Envelope<E> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        bounds::check(&self.meta, ENCODE).map_err(ser::Error::custom)?;
        Parts { envelope: self, body: Body::Json(&self.payload, None) }.serialize(serializer)
    }
}

/// The JSON document form. Works with `serde_json` only, and not below `#[serde(flatten)]` or in untagged enums, which
/// would lose the payload's own text. [`decode`] is faster and tells more about a fault.
impl<'de> Deserialize<'de> for Envelope {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let document = Document::<'de, Box<RawValue>>::deserialize(deserializer)?;
        document.into_envelope().map_err(de::Error::custom)
    }
}
