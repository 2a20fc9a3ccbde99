//! Events that cases publish.

use std::{borrow::Cow, ops::Range};

use pubsub_core::{__private::schemars, ChannelName, Envelope, Event, EventName, Message, Payload, PubSub, Timestamp};
use serde::{Deserialize, Serialize};

use super::{Failure, Ledger, Verdict};

/// The name of raw test events.
const NAME: &str = "conformance:item";

/// A raw event that carries a serial number as its JSON payload, and again as the header `serial`.
///
/// # Errors
/// Never for a sound library: the event's name is fixed.
pub fn numbered(channel: &ChannelName, serial: usize) -> Verdict<Envelope> {
    let mut envelope = text(channel, &serial.to_string())?;
    envelope.meta.extra.insert("serial".to_owned(), serial.into());
    Ok(envelope)
}

/// A numbered event whose payload has this many bytes: JSON allows blanks before the number.
///
/// # Errors
/// Never for a sound library: the event's name is fixed.
pub fn heavy(channel: &ChannelName, serial: usize, size: usize) -> Verdict<Envelope> {
    let mut envelope = numbered(channel, serial)?;
    envelope.payload = Payload::json(format!("{serial:>size$}"));
    Ok(envelope)
}

/// A raw event with this JSON text as its payload.
///
/// # Errors
/// Never for a sound library: the event's name is fixed.
pub fn text(channel: &ChannelName, json: &str) -> Verdict<Envelope> {
    Ok(Envelope::new(EventName::parse(NAME)?, channel.clone(), Payload::json(json.to_owned())))
}

/// Publishes numbered events as fast as the adapter takes them, and notes in the ledger what was confirmed.
///
/// # Errors
/// If one of them is refused.
pub async fn publish_numbered(
    bus: &PubSub,
    channel: &ChannelName,
    serials: Range<usize>,
    ledger: &mut Ledger,
) -> Verdict {
    let mut tickets = Vec::with_capacity(serials.len());
    for serial in serials {
        tickets.push((serial, bus.publish_envelope(numbered(channel, serial)?).enqueue().await?));
    }
    for (serial, ticket) in tickets {
        ticket.await?;
        ledger.confirm(serial);
    }
    Ok(())
}

/// The serial number of an event made by [`numbered`].
#[diagnostic::on_unimplemented(
    message = "`{Self}` has no serial number",
    note = "numbered events are made by `numbered`"
)]
pub trait Numbered {
    /// The serial number, if payload and header agree on one.
    ///
    /// # Errors
    /// A failure that shows what came instead.
    fn serial(&self) -> Verdict<usize>;
}

impl Numbered for Message {
    fn serial(&self) -> Verdict<usize> {
        let payload =
            self.payload().data().and_then(|bytes| std::str::from_utf8(bytes).ok()?.trim_start().parse::<usize>().ok());
        let header = self.meta().extra.get("serial").and_then(|value| value.as_u64());
        match (payload, header) {
            (Some(payload), Some(header)) if payload as u64 == header => Ok(payload),
            _ => Err(Failure::new("a payload and a header with the same serial", format!("{self:?}"))),
        }
    }
}

/// A small typed event, keyed by its topic.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
#[schemars(crate = "pubsub_core::__private::schemars")]
pub struct Note {
    /// What it is about; the ordering key.
    pub topic: String,
    /// Its place among the notes of that topic.
    pub number: u64,
}

impl Event for Note {
    const NAME: &'static str = "conformance:note";
    const CHANNEL: &'static str = "conformance-notes";

    fn key(&self) -> Option<Cow<'_, str>> {
        Some(Cow::Borrowed(&self.topic))
    }
}

/// One of each type that a payload is usually made of.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
#[schemars(crate = "pubsub_core::__private::schemars")]
pub struct Sample {
    /// Text, with whatever unicode.
    pub text: String,
    /// Bytes, as an array of numbers.
    pub bytes: Vec<u8>,
    /// An integer beyond 32 bits.
    pub integer: i64,
    /// A fraction.
    pub float: f64,
    /// An integer that a float field must take.
    pub whole: f64,
    /// A truth.
    pub flag: bool,
    /// Nothing.
    pub nothing: Option<String>,
    /// Names and numbers.
    pub map: std::collections::BTreeMap<String, i32>,
    /// A list of structures.
    pub list: Vec<Note>,
    /// A time as RFC 3339 text.
    pub time: Time,
}

impl Event for Sample {
    const NAME: &'static str = "conformance:sample";
    const CHANNEL: &'static str = "conformance-samples";
}

/// A [`Timestamp`] within a payload, RFC 3339 text on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
#[schemars(crate = "pubsub_core::__private::schemars")]
pub struct Time(#[schemars(with = "String")] pub Timestamp);
