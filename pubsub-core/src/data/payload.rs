//! `Payload`: the bytes of an event and what they are, or a tombstone.

use std::{fmt, str::FromStr};

use bytes::Bytes;
use serde::{Serialize, de::DeserializeOwned};
use smol_str::SmolStr;

use super::name::shorten;
use crate::{Error, ErrorKind, Result};

/// A media type, such as `application/json`: at most 127 printable ASCII characters.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct ContentType(SmolStr);

impl ContentType {
    /// `application/json`, the default.
    pub const JSON: Self = Self(SmolStr::new_static("application/json"));
    /// `application/octet-stream`, bytes of no declared meaning.
    pub const BYTES: Self = Self(SmolStr::new_static("application/octet-stream"));

    /// Checks a media type.
    ///
    /// # Errors
    /// `Invalid` unless it looks like `type/subtype` in at most 127 printable ASCII characters.
    pub fn parse(text: &str) -> Result<Self> {
        let printable = text.bytes().all(|b| b.is_ascii_graphic() || b == b' ');
        match text.split_once('/') {
            Some((kind, rest)) if !kind.is_empty() && !rest.is_empty() && printable && text.len() <= 127 => {
                Ok(if text == Self::JSON.as_str() { Self::JSON } else { Self(SmolStr::new(text)) })
            }
            _ => Err(Error::new(
                ErrorKind::Invalid,
                "parse content type",
                format!("field `contentType` must be a media type such as application/json: {}", shorten(text)),
            )),
        }
    }

    /// The media type as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether this is JSON: `application/json`, `text/json` or any `+json` (RFC 6839), parameters aside.
    pub fn is_json(&self) -> bool {
        if *self == Self::JSON {
            return true;
        }
        let essence = self.0.split(';').next().unwrap_or("").trim().to_ascii_lowercase();
        matches!(essence.as_str(), "application/json" | "text/json") || essence.ends_with("+json")
    }
}

impl Default for ContentType {
    fn default() -> Self {
        Self::JSON
    }
}

impl FromStr for ContentType {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        Self::parse(text)
    }
}

impl fmt::Display for ContentType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for ContentType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.as_str())
    }
}

/// What an event carries. A tombstone says that the subject of the key is gone; it is not the same as no bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Payload {
    /// Bytes and their media type.
    Data {
        /// The bytes, shared and never parsed on the way.
        bytes: Bytes,
        /// What they are.
        content_type: ContentType,
    },
    /// The subject was deleted.
    Tombstone,
}

impl Payload {
    /// JSON text, not checked here.
    pub fn json(bytes: impl Into<Bytes>) -> Self {
        Self::Data { bytes: bytes.into(), content_type: ContentType::JSON }
    }

    /// A value as JSON.
    ///
    /// # Errors
    /// `Codec` if it cannot be written as JSON.
    pub fn encode<T: Serialize + ?Sized>(value: &T) -> Result<Self> {
        crate::event::codec::encode(value)
    }

    /// Bytes of no declared meaning.
    pub fn bytes(bytes: impl Into<Bytes>) -> Self {
        Self::Data { bytes: bytes.into(), content_type: ContentType::BYTES }
    }

    /// The bytes, or `None` for a tombstone.
    pub fn data(&self) -> Option<&Bytes> {
        match self {
            Self::Data { bytes, .. } => Some(bytes),
            Self::Tombstone => None,
        }
    }

    /// The media type, or `None` for a tombstone.
    pub fn content_type(&self) -> Option<&ContentType> {
        match self {
            Self::Data { content_type, .. } => Some(content_type),
            Self::Tombstone => None,
        }
    }

    /// Decodes JSON as `T`.
    ///
    /// # Errors
    /// `Codec` with the first fault and where it is, also for a tombstone or a payload that is not JSON.
    pub fn decode<T: DeserializeOwned>(&self) -> Result<T> {
        let refuse = |text: String| Err(Error::new(ErrorKind::Codec, "decode", text));
        match self {
            Self::Data { bytes, content_type } if content_type.is_json() => crate::event::codec::decode(bytes),
            Self::Data { content_type, .. } => refuse(format!("the payload is `{content_type}`, not JSON")),
            Self::Tombstone => refuse("a tombstone has no payload to decode".to_owned()),
        }
    }

    /// The number of bytes.
    pub fn len(&self) -> usize {
        self.data().map_or(0, Bytes::len)
    }

    /// Whether there are no bytes; true for a tombstone too.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether this is a tombstone.
    pub fn is_tombstone(&self) -> bool {
        matches!(self, Self::Tombstone)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_is_known_by_its_type() {
        for (text, json) in [
            ("application/json", true),
            ("application/json; charset=utf-8", true),
            ("application/vnd.shop+json", true),
            ("text/plain", false),
            ("application/jsonl", false),
        ] {
            assert_eq!(ContentType::parse(text).unwrap().is_json(), json, "{text}");
        }
        for bad in ["", "json", "/", "a/", "a/b\n", &format!("a/{}", "b".repeat(200))] {
            assert!(ContentType::parse(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn a_tombstone_is_not_an_empty_payload() {
        assert_ne!(Payload::Tombstone, Payload::json(""));
        assert!(Payload::Tombstone.data().is_none() && Payload::json("").data().is_some());
    }
}
