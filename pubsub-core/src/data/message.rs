//! `Message`: an event as drivers carry it.

use std::{
    any::Any,
    fmt,
    sync::{Arc, OnceLock},
};

use super::{
    channel::ChannelName, envelope::Envelope, id::EventId, key::Key, meta::Meta, name::EventName, payload::Payload,
    timestamp::Timestamp,
};
use crate::{Event, EventDefinition, Result};

/// How many characters of the reason a dead letter carries.
const MAX_REASON: usize = 2_000;

// A reason of the longest characters still fits into a field of metadata.
const _: () = assert!(4 * MAX_REASON <= crate::wire::MAX_FIELD_LEN);

/// An event on its way: the raw envelope, built once and shared by everything that forwards it.
///
/// Fan-out, retry and dead letters clone the `Arc` around it. The payload stays bytes; a subscriber that decodes it
/// for many may leave the value here, so that it is decoded once per process.
pub struct Message {
    envelope: Envelope,
    decoded: OnceLock<Arc<dyn Any + Send + Sync>>,
}

impl Message {
    /// A message with a new id, the present time and version 1.
    pub fn new(name: EventName, channel: ChannelName, payload: Payload) -> Self {
        Envelope::new(name, channel, payload).into()
    }

    /// The envelope.
    pub fn envelope(&self) -> &Envelope {
        &self.envelope
    }

    /// The envelope, to be changed before the message is shared.
    pub fn envelope_mut(&mut self) -> &mut Envelope {
        self.decoded = OnceLock::new();
        &mut self.envelope
    }

    /// The envelope by value.
    pub fn into_envelope(self) -> Envelope {
        self.envelope
    }

    /// The id.
    pub fn id(&self) -> &EventId {
        &self.envelope.id
    }

    /// The event's name.
    pub fn name(&self) -> &EventName {
        &self.envelope.name
    }

    /// The channel.
    pub fn channel(&self) -> &ChannelName {
        &self.envelope.channel
    }

    /// The version of the payload's schema.
    pub fn version(&self) -> u32 {
        self.envelope.version
    }

    /// The ordering key.
    pub fn key(&self) -> Option<&Key> {
        self.envelope.key.as_ref()
    }

    /// The payload.
    pub fn payload(&self) -> &Payload {
        &self.envelope.payload
    }

    /// When the event happened, by its publisher's clock.
    pub fn timestamp(&self) -> Timestamp {
        self.envelope.timestamp
    }

    /// The metadata.
    pub fn meta(&self) -> &Meta {
        &self.envelope.meta
    }

    /// Decodes the message as an event of type `E`, of its present version.
    ///
    /// # Errors
    /// `Codec` if the payload does not fit or is of another version, `Invalid` if the message is another event.
    pub fn decode<E: Event>(&self) -> Result<E> {
        let definition = EventDefinition::of::<E>()?;
        definition.check_name(self)?;
        definition.decode(self).map_err(|error| error.on(self.channel()))
    }

    /// A copy for a channel of dead letters: the original id and bytes, and why it lies there. Of the reason at most 2,000
    /// characters are kept.
    #[must_use]
    pub fn dead_letter(
        &self,
        channel: ChannelName,
        reason: &str,
        attempts: u32,
        first_seen: Option<Timestamp>,
        now: Timestamp,
    ) -> Self {
        let mut copy = self.clone();
        let envelope = copy.envelope_mut();
        envelope.channel = channel;
        let cut = reason.char_indices().nth(MAX_REASON).map_or(reason.len(), |(cut, _)| cut);
        let meta = &mut envelope.meta;
        meta.first_seen = meta.first_seen.or(first_seen).or(Some(now));
        meta.dead_reason = Some(reason[..cut].to_owned());
        meta.dead_attempts = Some(attempts);
        meta.dead_source = Some(self.channel().clone());
        meta.dead_time = Some(now);
        copy
    }

    /// How many bytes the message takes on a wire, roughly: payload, key and the text of its metadata.
    pub fn wire_len(&self) -> usize {
        let envelope = &self.envelope;
        let key = envelope.key.as_ref().map_or(0, |key| key.as_str().len());
        envelope.payload.len() + key + envelope.meta.text_len()
    }

    /// The value that a subscriber decoded first, if it was of this type.
    pub(crate) fn decoded<T: Send + Sync + 'static>(&self) -> Option<&T> {
        self.decoded.get()?.downcast_ref()
    }

    /// The same behind a pointer of its own.
    pub(crate) fn decoded_arc<T: Send + Sync + 'static>(&self) -> Option<Arc<T>> {
        self.decoded.get()?.clone().downcast().ok()
    }

    /// Leaves a decoded value for later subscribers; false if there is one already.
    pub(crate) fn keep_decoded<T: Send + Sync + 'static>(&self, value: Arc<T>) -> bool {
        self.decoded.set(value).is_ok()
    }
}

impl From<Envelope> for Message {
    fn from(envelope: Envelope) -> Self {
        Self { envelope, decoded: OnceLock::new() }
    }
}

impl Clone for Message {
    fn clone(&self) -> Self {
        self.envelope.clone().into()
    }
}

impl PartialEq for Message {
    fn eq(&self, other: &Self) -> bool {
        self.envelope == other.envelope
    }
}

impl fmt::Debug for Message {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.envelope, f)
    }
}
