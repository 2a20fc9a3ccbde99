//! `Envelope`: an event as users see it.

use super::{
    channel::ChannelName, id::EventId, key::Key, meta::Meta, name::EventName, payload::Payload, timestamp::Timestamp,
};
use crate::{Event, Result};

/// An event with everything that travels with it. `P` is [`Payload`] for raw events, or the event's own type.
///
/// The JSON document form of `Envelope<Payload>` is read and written by serde and by [`crate::wire::document`].
#[derive(Clone, Debug, PartialEq)]
pub struct Envelope<P = Payload> {
    /// Unique id; retries and copies keep it.
    pub id: EventId,
    /// Canonical name, `category:event`.
    pub name: EventName,
    /// The channel it is published on.
    pub channel: ChannelName,
    /// Version of the payload's schema; the first is 1.
    pub version: u32,
    /// Ordering key.
    pub key: Option<Key>,
    /// What happened.
    pub payload: P,
    /// When it happened, by the publisher's clock.
    pub timestamp: Timestamp,
    /// Everything else.
    pub meta: Meta,
}

impl Envelope {
    /// A raw envelope with a new random id, the present time and version 1.
    pub fn new(name: EventName, channel: ChannelName, payload: Payload) -> Self {
        Self {
            id: EventId::random(),
            name,
            channel,
            version: 1,
            key: None,
            payload,
            timestamp: Timestamp::now(),
            meta: Meta::default(),
        }
    }
}

impl<E: Event> Envelope<E> {
    /// Puts an event into an envelope with a new random id and the present time.
    ///
    /// # Errors
    /// `Invalid` if the event's type declares a bad name or channel, or its key is too long.
    pub fn of(event: E) -> Result<Self> {
        let key = event.key().map(|key| Key::new(&key)).transpose()?;
        Ok(Self {
            id: EventId::random(),
            name: EventName::from_static(E::NAME)?,
            channel: ChannelName::from_static(E::CHANNEL)?,
            version: E::VERSION,
            key,
            payload: event,
            timestamp: Timestamp::now(),
            meta: Meta::default(),
        })
    }

    /// Encodes the event as JSON.
    ///
    /// # Errors
    /// `Codec` if the event cannot be written as JSON.
    pub fn encode(&self) -> Result<Envelope> {
        let payload = crate::event::codec::encode(&self.payload)?;
        Ok(self.with_payload(payload))
    }
}

impl<P> Envelope<P> {
    /// The same envelope around another payload.
    pub(crate) fn with_payload<Q>(&self, payload: Q) -> Envelope<Q> {
        Envelope {
            id: self.id.clone(),
            name: self.name.clone(),
            channel: self.channel.clone(),
            version: self.version,
            key: self.key.clone(),
            payload,
            timestamp: self.timestamp,
            meta: self.meta.clone(),
        }
    }
}
