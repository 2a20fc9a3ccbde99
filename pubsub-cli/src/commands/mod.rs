//! The commands.

pub(crate) mod catalog;
pub(crate) mod contracts;
pub(crate) mod dlq;
pub(crate) mod publish;
pub(crate) mod request;
pub(crate) mod tail;

use std::io::Read;

use pubsub::{ChannelName, Envelope, EventName, Key, Payload};

use crate::{Fault, args};

/// The event that the command line describes.
fn envelope(event: &args::Publish) -> Result<Envelope, Fault> {
    let name = EventName::parse(&event.name)?;
    let channel = ChannelName::parse(event.channel.as_deref().unwrap_or_else(|| name.category()))?;
    let mut data = event.data.clone();
    if data == "-" {
        data.clear();
        std::io::stdin().read_to_string(&mut data)?;
    }
    serde_json::from_str::<serde_json::Value>(&data).map_err(|error| format!("the payload is no JSON: {error}"))?;
    let mut envelope = Envelope::new(name, channel, Payload::json(data.trim().to_owned()));
    envelope.version = event.event_version;
    envelope.key = event.key.as_deref().map(Key::new).transpose()?;
    if let Some(id) = &event.id {
        envelope.id = id.clone();
    }
    Ok(envelope)
}
