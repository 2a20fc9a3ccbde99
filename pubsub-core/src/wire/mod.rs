//! Wire forms of an envelope: what crosses a broker, an HTTP connection or a file.
//!
//! - [`document`]: one JSON object, camelCase, on transports without headers and at the web edge.
//! - [`attributes`]: the binary form, payload as body and the rest as headers with CloudEvents 1.0 names.
//! - [`cloudevents`]: CloudEvents 1.0 structured JSON.
//!
//! All readers take foreign bytes: they return typed errors that locate the fault, never panic, and keep no more
//! metadata than the limits of this module allow. The writers hold to the same limits, so that what was written can
//! be read.

pub mod attributes;
pub(crate) mod bounds;
pub mod cloudevents;
pub mod document;
mod fault;
mod fields;
mod gather;
mod members;
#[cfg(test)]
mod samples;

use std::{fmt, str::FromStr};

pub use bounds::{MAX_EXTRA_DEPTH, MAX_EXTRA_ENTRIES, MAX_EXTRA_LEN, MAX_FIELD_LEN};

use bytes::Bytes;

use crate::{ChannelName, Envelope, Error, ErrorKind, Payload, Result, Timestamp};

/// The key of [`MetaFields::extra`](crate::MetaFields::extra) that keeps an id outside the grammar of
/// [`EventId`](crate::EventId).
///
/// Such an id is replaced by one derived from it and from its source, so that a redelivered event keeps its id.
pub const FOREIGN_ID: &str = "foreignId";

/// The key of [`MetaFields::extra`](crate::MetaFields::extra) that keeps the CloudEvents `source` of an event that
/// this library did not publish.
pub const FOREIGN_SOURCE: &str = "foreignSource";

/// The form in which an adapter writes events. Readers take every form, whatever this says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum WireFormat {
    /// Payload as body, everything else in headers with CloudEvents names: `binary`.
    #[default]
    Binary,
    /// One JSON document in the body: `envelope`.
    Envelope,
    /// CloudEvents structured JSON in the body, for events whose payload is JSON; others as with `Binary`: `structured`.
    Structured,
}

impl WireFormat {
    /// `binary`, `envelope` or `structured`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Binary => "binary",
            Self::Envelope => "envelope",
            Self::Structured => "structured",
        }
    }

    /// The whole event as one body with its media type, if that is how it is written; `source` is the publisher's own.
    ///
    /// # Errors
    /// `TooLarge` if the metadata passes the limits of [`wire`](self).
    pub fn document(self, envelope: &Envelope, source: &str) -> Result<Option<(Bytes, &'static str)>> {
        match self {
            Self::Binary => Ok(None),
            Self::Envelope => Ok(Some((document::encode(envelope)?, "application/json"))),
            Self::Structured => match &envelope.payload {
                // White space around JSON would not be kept.
                Payload::Data { bytes, content_type }
                    if content_type.is_json() && bytes.trim_ascii().len() == bytes.len() =>
                {
                    Ok(Some((cloudevents::encode(envelope, source)?, cloudevents::CONTENT_TYPE)))
                }
                _ => Ok(None),
            },
        }
    }
}

impl fmt::Display for WireFormat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for WireFormat {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        match text {
            "binary" => Ok(Self::Binary),
            "envelope" => Ok(Self::Envelope),
            "structured" => Ok(Self::Structured),
            _ => Err(Error::new(
                ErrorKind::Invalid,
                "parse wire format",
                format!("field `wire` must be binary, envelope or structured: {}", crate::data::name::shorten(text)),
            )),
        }
    }
}

/// Where and when an event came in: fills what a foreign event leaves out.
#[derive(Clone, Copy, Debug)]
pub struct Arrival<'a> {
    /// The channel that it came in on.
    pub channel: &'a ChannelName,
    /// When the broker stored it, or else the time of its arrival.
    pub time: Timestamp,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn formats_read_back() {
        for format in [WireFormat::Binary, WireFormat::Envelope, WireFormat::Structured] {
            assert_eq!(format.to_string().parse::<WireFormat>().unwrap(), format);
        }
        assert!("json".parse::<WireFormat>().unwrap_err().message().contains("`wire`"));
    }
}
