//! Reading the JSON document form.

use std::borrow::Borrow;

use base64::{
    Engine, alphabet,
    engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig},
};
use bytes::Bytes;
use serde::{Deserialize, Deserializer, de::IgnoredAny};
use serde_json::value::RawValue;

use super::super::{
    bounds,
    fault::{DECODE, fault, missing, refused},
    fields::Field,
    gather::adopt_id,
    members::{Extra, Members, Text, unfit},
};
use crate::{ChannelName, ContentType, Envelope, EventName, Key, Meta, Payload, Result, Timestamp};

/// Writers disagree about padding; nothing depends on it.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// The document as it came. `R` is some owner of a [`RawValue`].
#[derive(Deserialize)]
#[serde(rename_all = "camelCase", bound(deserialize = "'de: 'a, R: Deserialize<'de>"))]
pub(super) struct Document<'a, R> {
    id: Option<Text<'a>>,
    name: Option<Text<'a>>,
    channel: Option<Text<'a>>,
    /// `null` is a value here, so an `Option` alone would not do.
    #[serde(default, deserialize_with = "present")]
    payload: Option<R>,
    payload_base64: Option<Text<'a>>,
    content_type: Option<Text<'a>>,
    timestamp: Option<Text<'a>>,
    meta: Option<Members<'a, R>>,
    pub(super) specversion: Option<IgnoredAny>,
}

/// What tells a CloudEvent from a document.
#[derive(Deserialize)]
pub(super) struct Probe {
    pub(super) specversion: Option<IgnoredAny>,
}

fn present<'de, D: Deserializer<'de>, R: Deserialize<'de>>(deserializer: D) -> Result<Option<R>, D::Error> {
    R::deserialize(deserializer).map(Some)
}

impl<R: Borrow<RawValue>> Document<'_, R> {
    pub(super) fn into_envelope(self) -> Result<Envelope> {
        let name = self.name.ok_or_else(|| missing("name"))?;
        let name = EventName::parse(&name.0).map_err(|error| refused(&["name"], &error))?;
        let channel = match self.channel {
            Some(channel) => ChannelName::parse_internal(&channel.0),
            None => ChannelName::parse(name.category()),
        };
        let channel = channel.map_err(|error| refused(&["channel"], &error))?;
        let timestamp = self.timestamp.ok_or_else(|| missing("timestamp"))?;
        let timestamp = Timestamp::parse(&timestamp.0).map_err(|error| refused(&["timestamp"], &error))?;
        let payload = payload(self.payload.as_ref().map(Borrow::borrow), self.payload_base64, self.content_type)?;

        let mut head = Head { version: None, key: None, meta: Meta::default(), extra: Extra::default() };
        for (key, raw) in self.meta.map_or_else(|| Ok(Vec::new()), Members::into_entries)? {
            head.take(&key.0, raw.borrow())?;
        }
        let id = adopt_id(&self.id.ok_or_else(|| missing("id"))?.0, "", &mut head.extra)?;
        let (version, key, mut meta) = (head.version.unwrap_or(1), head.key, head.meta);
        if !head.extra.is_empty() {
            meta.extra = head.extra.into_map();
        }
        bounds::check(&meta, DECODE)?;
        Ok(Envelope { id, name, channel, version, key, payload, timestamp, meta })
    }
}

fn payload(json: Option<&RawValue>, base64: Option<Text<'_>>, content_type: Option<Text<'_>>) -> Result<Payload> {
    let content_type = match (&json, &base64) {
        (None, None) => return Ok(Payload::Tombstone),
        _ => content_type.map(|text| ContentType::parse(&text.0)).transpose(),
    };
    let content_type = content_type.map_err(|error| refused(&["contentType"], &error))?;
    match (json, base64) {
        (Some(_), Some(_)) => Err(fault(&["payloadBase64"], "there is a `payload` as well")),
        (Some(json), None) => {
            let content_type = content_type.unwrap_or(ContentType::JSON);
            if !content_type.is_json() {
                return Err(fault(&["contentType"], "must be a JSON type where there is a `payload`"));
            }
            Ok(Payload::Data { bytes: Bytes::copy_from_slice(json.get().as_bytes()), content_type })
        }
        (None, Some(text)) => Ok(Payload::Data {
            bytes: base64_bytes(&text.0, "payloadBase64")?,
            content_type: content_type.unwrap_or(ContentType::BYTES),
        }),
        (None, None) => Ok(Payload::Tombstone),
    }
}

pub(in crate::wire) fn base64_bytes(text: &str, member: &str) -> Result<Bytes> {
    let bytes = BASE64.decode(text).map_err(|cause| fault(&[member], cause.to_string()))?;
    Ok(bytes.into())
}

/// What `meta` holds.
struct Head {
    version: Option<u32>,
    key: Option<Key>,
    meta: Meta,
    extra: Extra,
}

impl Head {
    fn take(&mut self, key: &str, raw: &RawValue) -> Result<()> {
        let path = ["meta", key];
        match key {
            "version" => once(&path, &mut self.version, parse(&path, raw)?),
            "key" => {
                let text: Option<Text<'_>> = parse(&path, raw)?;
                let key = text.map(|text| Key::new(&text.0)).transpose().map_err(|error| refused(&path, &error))?;
                once(&path, &mut self.key, key)
            }
            _ => match Field::of_key(key) {
                Some(field) => self.set(field, raw),
                None => self.extra.add(&path, key.strip_prefix('~').unwrap_or(key), raw),
            },
        }
    }

    fn set(&mut self, field: Field, raw: &RawValue) -> Result<()> {
        let path = ["meta", field.key()];
        let value = if field.is_number() {
            parse::<Option<u32>>(&path, raw)?.map(|number| number.to_string().into())
        } else {
            parse::<Option<Text<'_>>>(&path, raw)?.map(|text| text.0)
        };
        let Some(value) = value else { return Ok(()) };
        if field.get(&self.meta).is_some() {
            return Err(duplicate(&path));
        }
        field.set(&mut self.meta, &value).map_err(|problem| fault(&path, problem))
    }
}

fn parse<'a, T: Deserialize<'a>>(path: &[&str], raw: &'a RawValue) -> Result<T> {
    serde_json::from_str(raw.get()).map_err(|cause| unfit(path, cause))
}

fn once<T>(path: &[&str], slot: &mut Option<T>, value: Option<T>) -> Result<()> {
    match value {
        Some(_) if slot.is_some() => Err(duplicate(path)),
        Some(value) => {
            *slot = Some(value);
            Ok(())
        }
        None => Ok(()),
    }
}

fn duplicate(path: &[&str]) -> crate::Error {
    fault(path, format!("duplicate field `{}`", path.last().copied().unwrap_or_default()))
}
