//! Writing the JSON document form.

use std::borrow::Cow;

use base64::{Engine, engine::general_purpose::STANDARD};
use serde::{
    Serialize, Serializer,
    ser::{SerializeMap, SerializeStruct},
};
use serde_json::value::RawValue;

use super::super::fields::{Field, FieldValue};
use crate::{ContentType, Envelope, Key, Meta, Payload};

/// What stands in the place of the payload.
pub(super) enum Body<'a, T: ?Sized> {
    /// `payload`, and `contentType` unless it is the usual one.
    Json(&'a T, Option<&'a ContentType>),
    /// `payloadBase64` and `contentType`.
    Base64(&'a [u8], &'a ContentType),
    /// Nothing: a tombstone.
    Nothing,
}

impl<'a> Body<'a, RawValue> {
    pub(super) fn of(payload: &'a Payload) -> Self {
        match payload {
            Payload::Tombstone => Self::Nothing,
            Payload::Data { bytes, content_type } => match json_text(bytes, content_type) {
                Some(raw) => Self::Json(raw, (*content_type != ContentType::JSON).then_some(content_type)),
                None => Self::Base64(bytes, content_type),
            },
        }
    }
}

/// The bytes as JSON text, if that is what they are and what their type says.
pub(in crate::wire) fn json_text<'a>(bytes: &'a [u8], content_type: &ContentType) -> Option<&'a RawValue> {
    if *content_type == ContentType::JSON || content_type.is_json() { serde_json::from_slice(bytes).ok() } else { None }
}

/// An envelope with its body made ready.
pub(super) struct Parts<'a, P, T: ?Sized> {
    pub(super) envelope: &'a Envelope<P>,
    pub(super) body: Body<'a, T>,
}

impl<P, T: Serialize + ?Sized> Serialize for Parts<'_, P, T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Self { envelope, body } = self;
        let mut out = serializer.serialize_struct("Envelope", 7)?;
        out.serialize_field("id", &envelope.id)?;
        out.serialize_field("name", &envelope.name)?;
        out.serialize_field("channel", &envelope.channel)?;
        let content_type = match body {
            Body::Json(payload, content_type) => {
                out.serialize_field("payload", payload)?;
                *content_type
            }
            Body::Base64(bytes, content_type) => {
                out.serialize_field("payloadBase64", &STANDARD.encode(bytes))?;
                Some(*content_type)
            }
            Body::Nothing => None,
        };
        if let Some(content_type) = content_type {
            out.serialize_field("contentType", content_type.as_str())?;
        }
        out.serialize_field("timestamp", &envelope.timestamp)?;
        let meta = MetaParts { version: envelope.version, key: envelope.key.as_ref(), meta: &envelope.meta };
        out.serialize_field("meta", &meta)?;
        out.end()
    }
}

struct MetaParts<'a> {
    version: u32,
    key: Option<&'a Key>,
    meta: &'a Meta,
}

impl Serialize for MetaParts<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut out = serializer.serialize_map(None)?;
        out.serialize_entry("version", &self.version)?;
        if let Some(key) = self.key {
            out.serialize_entry("key", key.as_str())?;
        }
        if !self.meta.is_empty() {
            for field in Field::ALL {
                match field.get(self.meta) {
                    Some(FieldValue::Text(text)) => out.serialize_entry(field.key(), text)?,
                    Some(FieldValue::Number(number)) => out.serialize_entry(field.key(), &number)?,
                    Some(FieldValue::Time(time)) => out.serialize_entry(field.key(), &time)?,
                    None => {}
                }
            }
            for (key, value) in &self.meta.extra {
                out.serialize_entry(&escape(key), value)?;
            }
        }
        out.end()
    }
}

/// The member of `meta` for a key of the caller's own.
fn escape(key: &str) -> Cow<'_, str> {
    let taken = key.starts_with('~') || matches!(key, "version" | "key") || Field::of_key(key).is_some();
    if taken { Cow::Owned(format!("~{key}")) } else { Cow::Borrowed(key) }
}
