//! From CloudEvents attributes to an envelope: what the binary and the structured form share.

use std::borrow::Cow;

use bytes::Bytes;
use serde_json::value::RawValue;

use super::{
    Arrival, FOREIGN_ID, FOREIGN_SOURCE,
    attributes::Attribute,
    bounds::{self, MAX_EXTRA_TEXT, too_long},
    fault::{DECODE, fault, misshapen, missing, refused},
    fields::Field,
    members::{Extra, Members},
};
use crate::{ChannelName, ContentType, Envelope, EventId, EventName, Key, Meta, Payload, Result, Timestamp};

/// Sources of this library start so.
pub(super) const OUR_SOURCE: &str = "/pubsub/";

/// Attributes and foreign entries as they come in.
#[derive(Default)]
pub(super) struct Gathered<'a> {
    known: [Option<Cow<'a, str>>; Attribute::ALL.len()],
    pub(super) extra: Extra,
    /// A source that is our own beside those that look so.
    pub(super) own: Option<&'a str>,
}

impl<'a> Gathered<'a> {
    pub(super) fn of(own: Option<&'a str>) -> Self {
        Self { own, ..Self::default() }
    }

    pub(super) fn put(&mut self, attribute: Attribute, text: Cow<'a, str>) -> Result<()> {
        match self.known[attribute as usize].replace(text) {
            None => Ok(()),
            Some(_) => {
                let name = attribute.as_str();
                Err(fault(&[name], format!("duplicate attribute `{name}`")))
            }
        }
    }

    pub(super) fn get(&self, attribute: Attribute) -> Option<&str> {
        self.known[attribute as usize].as_deref()
    }

    /// Whether anything says that this is a CloudEvent in binary form.
    pub(super) fn is_event(&self) -> bool {
        [Attribute::SpecVersion, Attribute::Type, Attribute::Id].iter().any(|&attribute| self.get(attribute).is_some())
    }

    /// Whether the event says of itself that it is a tombstone.
    pub(super) fn is_tombstone(&self) -> bool {
        self.get(Attribute::Tombstone) == Some("true")
    }

    pub(super) fn content_type(&self) -> Result<ContentType> {
        let text = self.get(Attribute::DataContentType);
        text.map_or(Ok(ContentType::JSON), |text| {
            ContentType::parse(text).map_err(|error| refused(&[Attribute::DataContentType.as_str()], &error))
        })
    }

    /// The payload, given the body as it is on a wire that can tell no body from an empty one.
    pub(super) fn payload(&self, body: Option<Bytes>) -> Result<Payload> {
        match body {
            Some(bytes) if self.is_tombstone() && !bytes.is_empty() => {
                Err(fault(&[Attribute::Tombstone.as_str()], "there is a body as well"))
            }
            Some(bytes) if !self.is_tombstone() => Ok(Payload::Data { bytes, content_type: self.content_type()? }),
            _ => Ok(Payload::Tombstone),
        }
    }

    pub(super) fn into_envelope(mut self, payload: Payload, arrival: Option<Arrival<'_>>) -> Result<Envelope> {
        self.check_spec_version()?;
        let name = self.get(Attribute::Type).ok_or_else(|| missing(Attribute::Type.as_str()))?;
        let name = EventName::parse(name).map_err(|error| refused(&[Attribute::Type.as_str()], &error))?;
        let key = self.get(Attribute::PartitionKey).map(Key::new).transpose();
        let key = key.map_err(|error| refused(&[Attribute::PartitionKey.as_str()], &error))?;
        let version = self.version()?;
        let timestamp = self.time(arrival)?;
        self.read_own_extra()?;
        let source = self.known[Attribute::Source as usize].take().unwrap_or_default();
        if !source.is_empty() && !source.starts_with(OUR_SOURCE) && self.own != Some(&*source) {
            self.extra.put_if_absent(FOREIGN_SOURCE, &source)?;
        }
        // Every event of ours has a version. In a foreign one the subject is what it is about, not a channel.
        let channel = self.channel(version.is_some(), &name, arrival)?;
        let id = self.known[Attribute::Id as usize].take().ok_or_else(|| missing(Attribute::Id.as_str()))?;
        let id = adopt_id(&id, &source, &mut self.extra)?;
        let meta = self.meta()?;
        Ok(Envelope { id, name, channel, version: version.unwrap_or(1), key, payload, timestamp, meta })
    }

    fn check_spec_version(&self) -> Result<()> {
        match self.get(Attribute::SpecVersion) {
            Some(version) if version != "1" && !version.starts_with("1.") => {
                Err(fault(&[Attribute::SpecVersion.as_str()], "must be 1.0"))
            }
            _ => Ok(()),
        }
    }

    fn version(&self) -> Result<Option<u32>> {
        let version = self.get(Attribute::EventVersion).map(str::parse).transpose();
        version.map_err(|_| fault(&[Attribute::EventVersion.as_str()], "must be a whole number below 2^32"))
    }

    fn time(&self, arrival: Option<Arrival<'_>>) -> Result<Timestamp> {
        match (self.get(Attribute::Time), arrival) {
            (Some(text), _) => Timestamp::parse(text).map_err(|error| refused(&[Attribute::Time.as_str()], &error)),
            (None, Some(arrival)) => Ok(arrival.time),
            (None, None) => Err(missing(Attribute::Time.as_str())),
        }
    }

    fn channel(&mut self, ours: bool, name: &EventName, arrival: Option<Arrival<'_>>) -> Result<ChannelName> {
        let attribute = Attribute::Subject.as_str();
        match self.known[Attribute::Subject as usize].take() {
            Some(subject) if ours => {
                if let Some(arrival) = arrival.filter(|arrival| arrival.channel.as_str() == subject) {
                    return Ok(arrival.channel.clone());
                }
                return ChannelName::parse_internal(&subject).map_err(|error| refused(&[attribute], &error));
            }
            Some(subject) => self.extra.put_if_absent(attribute, &subject)?,
            None => {}
        }
        match arrival {
            Some(arrival) => Ok(arrival.channel.clone()),
            None => ChannelName::parse(name.category()).map_err(|error| refused(&[attribute], &error)),
        }
    }

    /// Reads the extra entries that a publisher of ours sent; they win over what came as single headers.
    fn read_own_extra(&mut self) -> Result<()> {
        let attribute = Attribute::Meta.as_str();
        let Some(text) = self.known[Attribute::Meta as usize].take() else { return Ok(()) };
        if text.len() > MAX_EXTRA_TEXT {
            return Err(too_long(DECODE));
        }
        let members: Members<'_, &RawValue> = match serde_json::from_str(&text) {
            Ok(members) => members,
            Err(cause) => {
                let error = misshapen::<Members<'_, &RawValue>>(text.as_bytes(), cause);
                return Err(error.with_faults(vec![crate::Fault {
                    pointer: format!("/{attribute}"),
                    message: "must be a JSON object".into(),
                }]));
            }
        };
        let mut own = Extra::default();
        for (key, raw) in members.into_entries()? {
            own.add(&[attribute, &key.0], &key.0, raw)?;
        }
        self.extra.override_with(own)
    }

    /// Adds what came in headers to the metadata of an event that was read from the body; the body wins.
    pub(super) fn add_to(mut self, meta: &mut Meta) -> Result<()> {
        for (attribute, field) in
            [(Attribute::Traceparent, Field::Traceparent), (Attribute::Tracestate, Field::Tracestate)]
        {
            if let (Some(text), None) = (self.known[attribute as usize].take(), field.get(meta)) {
                field.set(meta, &text).map_err(|problem| fault(&[attribute.as_str()], problem))?;
            }
        }
        if !self.extra.is_empty() {
            let own = std::mem::replace(&mut meta.extra, self.extra.into_map());
            meta.extra.extend(own);
        }
        bounds::check(meta, DECODE)
    }

    fn meta(mut self) -> Result<Meta> {
        let mut meta = Meta::default();
        for field in Field::ALL {
            if let Some(text) = &self.known[field.attribute() as usize] {
                let path = [field.attribute().as_str()];
                field.set(&mut meta, text).map_err(|problem| fault(&path, problem))?;
            }
        }
        if !self.extra.is_empty() {
            meta.extra = std::mem::take(&mut self.extra).into_map();
        }
        bounds::check(&meta, DECODE)?;
        Ok(meta)
    }
}

/// Takes an id, or makes one of an id outside the grammar, which is kept among the extra entries.
pub(super) fn adopt_id(text: &str, source: &str, extra: &mut Extra) -> Result<EventId> {
    if text.is_empty() {
        return Err(fault(&["id"], "field `id` is empty"));
    }
    if let Ok(id) = EventId::parse(text) {
        return Ok(id);
    }
    extra.put(FOREIGN_ID, text)?;
    // Derived rather than random: a redelivered event must be known again.
    let hash = |seed: &[u8]| {
        let parts = [seed, source.as_bytes(), &[0], text.as_bytes()];
        parts
            .concat()
            .into_iter()
            .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3))
    };
    let bytes = (u128::from(hash(b"1")) << 64) | u128::from(hash(b"2"));
    Ok(uuid::Builder::from_custom_bytes(bytes.to_be_bytes()).into_uuid().into())
}
