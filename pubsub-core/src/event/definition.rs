//! `EventDefinition`: an event type as a value.

use std::{any::TypeId, borrow::Cow, fmt, sync::OnceLock};

use serde_json::Value;

use super::{
    Direction, Event, codec,
    upcast::{Upcaster, Upcasters, unknown_version},
};
use crate::{ChannelName, Error, ErrorKind, EventName, Key, Message, Payload, Result};

/// Everything that is known of one version of an event: what catalog, validation, generators and web edge work from.
pub struct EventDefinition {
    name: EventName,
    channel: ChannelName,
    version: u32,
    direction: Direction,
    read_only: bool,
    description: Option<Cow<'static, str>>,
    payload_schema: Schema,
    reply_schema: Option<Schema>,
    upcasters: Upcasters,
    rust_type: Option<TypeId>,
    check: Option<Check>,
    key: Option<KeyOf>,
    #[cfg(feature = "validate")]
    validator: OnceLock<std::result::Result<jsonschema::Validator, String>>,
}

/// Reads a payload as the event's own type, and forgets it.
type Check = fn(&[u8]) -> Result<()>;

/// Reads a payload as the event's own type, and gives its key.
type KeyOf = fn(&[u8]) -> Result<Option<Key>>;

/// A JSON Schema that is made when somebody asks: a program that only publishes never pays for it.
struct Schema {
    make: fn() -> schemars::Schema,
    value: OnceLock<Value>,
}

impl Schema {
    fn lazy(make: fn() -> schemars::Schema) -> Self {
        Self { make, value: OnceLock::new() }
    }

    fn given(value: Value) -> Self {
        Self { make: schemars::Schema::default, value: OnceLock::from(value) }
    }

    fn get(&self) -> &Value {
        self.value.get_or_init(|| (self.make)().into())
    }
}

fn schema_of<T: schemars::JsonSchema>() -> schemars::Schema {
    schemars::SchemaGenerator::default().into_root_schema_for::<T>()
}

impl EventDefinition {
    /// The definition of an event type.
    ///
    /// # Errors
    /// `Invalid` if the type declares a bad name, channel or version.
    pub fn of<E: Event>() -> Result<Self> {
        let mut definition = Self::new(E::NAME, E::CHANNEL, E::VERSION, Schema::lazy(schema_of::<E>))?;
        definition.direction = E::DIRECTION;
        definition.read_only = E::READ_ONLY;
        definition.description = E::DESCRIPTION.map(Cow::Borrowed);
        definition.reply_schema = E::REPLY_SCHEMA.map(Schema::lazy);
        definition.rust_type = Some(TypeId::of::<E>());
        definition.check = Some(|bytes| codec::decode::<E>(bytes).map(drop));
        definition.key = Some(|bytes| codec::decode::<E>(bytes)?.key().map(|key| Key::new(&key)).transpose());
        Ok(definition)
    }

    /// A definition without a Rust type, from a JSON Schema.
    ///
    /// # Errors
    /// `Invalid` for a bad name, channel or version.
    pub fn dynamic(name: &str, channel: &str, version: u32, payload_schema: Value) -> Result<Self> {
        Self::new(name, channel, version, Schema::given(payload_schema))
    }

    fn new(name: &str, channel: &str, version: u32, payload_schema: Schema) -> Result<Self> {
        if version == 0 {
            let message = format!("field `version` of event `{name}` must be at least 1");
            return Err(Error::new(ErrorKind::Invalid, "define event", message));
        }
        Ok(Self {
            name: EventName::parse(name)?,
            channel: ChannelName::parse(channel)?,
            version,
            direction: Direction::Internal,
            read_only: false,
            description: None,
            payload_schema,
            reply_schema: None,
            upcasters: Upcasters::default(),
            rust_type: None,
            check: None,
            key: None,
            #[cfg(feature = "validate")]
            validator: OnceLock::new(),
        })
    }

    /// Adds the step that turns payloads of `version` into those of the next version.
    #[must_use]
    pub fn upcast<F>(mut self, version: u32, step: F) -> Self
    where
        F: Fn(Value) -> std::result::Result<Value, String> + Send + Sync + 'static,
    {
        let step: Upcaster = std::sync::Arc::new(step);
        self.upcasters.insert(version, step);
        self
    }

    /// Sets which way the event may cross the web edge.
    #[must_use]
    pub fn with_direction(mut self, direction: Direction) -> Self {
        self.direction = direction;
        self
    }

    /// Sets the sentence that explains the event.
    #[must_use]
    pub fn with_description(mut self, description: impl Into<Cow<'static, str>>) -> Self {
        self.description = Some(description.into());
        self
    }

    /// Sets the JSON Schema of the reply, which makes the event a request.
    #[must_use]
    pub fn with_reply_schema(mut self, schema: Value) -> Self {
        self.reply_schema = Some(Schema::given(schema));
        self
    }

    /// The canonical name.
    pub fn name(&self) -> &EventName {
        &self.name
    }

    /// The channel.
    pub fn channel(&self) -> &ChannelName {
        &self.channel
    }

    /// The version of the payload's schema.
    pub fn version(&self) -> u32 {
        self.version
    }

    /// The oldest version whose payloads can still be read.
    pub fn oldest_version(&self) -> u32 {
        self.upcasters.oldest(self.version)
    }

    /// Which way the event may cross the web edge.
    pub fn direction(&self) -> Direction {
        self.direction
    }

    /// Whether the action behind the event only reads.
    pub fn is_read_only(&self) -> bool {
        self.read_only
    }

    /// The sentence that explains the event.
    pub fn description(&self) -> Option<&str> {
        self.description.as_deref()
    }

    /// The JSON Schema (2020-12) of the payload.
    pub fn payload_schema(&self) -> &Value {
        self.payload_schema.get()
    }

    /// The JSON Schema of the reply, if the event is a request.
    pub fn reply_schema(&self) -> Option<&Value> {
        self.reply_schema.as_ref().map(Schema::get)
    }

    /// Checks the steps between versions.
    pub(crate) fn check_upcasters(&self) -> Result<()> {
        self.upcasters.check(self.name.as_str(), self.version)
    }

    /// Checks that payload and reply have schemas. Those that are made from types are looked at with the feature
    /// `validate` only, or they would be made although nobody asks for them.
    pub(crate) fn check_schemas(&self) -> Result<()> {
        let invalid = |what: &str, why: &str| {
            let message = format!("the {what} schema of event `{}` {why}", self.name);
            Err(Error::new(ErrorKind::Invalid, "register event", message).on(&self.channel))
        };
        for (what, schema) in [("payload", Some(&self.payload_schema)), ("reply", self.reply_schema.as_ref())] {
            let Some(given) = schema.and_then(|schema| schema.value.get()) else { continue };
            if !given.is_object() && !given.is_boolean() {
                return invalid(what, "must be an object or a boolean");
            }
        }
        #[cfg(feature = "validate")]
        {
            if let Err(why) = self.validator() {
                return invalid("payload", &format!("cannot be used: {why}"));
            }
            if let Some(Err(why)) = self.reply_schema().map(super::validate::compile) {
                return invalid("reply", &format!("cannot be used: {why}"));
            }
        }
        Ok(())
    }

    /// Whether another definition of the same name and version says the same.
    pub(crate) fn agrees_with(&self, other: &Self) -> bool {
        self.channel == other.channel
            && self.direction == other.direction
            && match (self.rust_type, other.rust_type) {
                (Some(mine), Some(theirs)) => mine == theirs,
                _ => true,
            }
    }

    /// Checks a payload of this version. By default the first fault is found, as serde reads the type; with the
    /// feature `validate`, all faults by JSON Schema, each with its JSON pointer. Tombstones have nothing to check.
    ///
    /// # Errors
    /// `Codec` with the faults.
    pub fn validate(&self, payload: &Payload) -> Result<()> {
        let Payload::Data { bytes, content_type } = payload else { return Ok(()) };
        if !content_type.is_json() {
            let message = format!("event `{}` takes JSON, not `{content_type}`", self.name);
            return Err(Error::new(ErrorKind::Codec, "validate", message).on(&self.channel));
        }
        self.find_faults(bytes).map_err(|error| error.on(&self.channel))
    }

    #[cfg(not(feature = "validate"))]
    fn find_faults(&self, bytes: &[u8]) -> Result<()> {
        match self.check {
            Some(check) => check(bytes),
            None => codec::decode::<serde::de::IgnoredAny>(bytes).map(drop),
        }
    }

    #[cfg(feature = "validate")]
    fn find_faults(&self, bytes: &[u8]) -> Result<()> {
        super::validate::find_faults(self.validator(), bytes)?;
        // A schema cannot say everything that the type's own `Deserialize` demands.
        self.check.map_or(Ok(()), |check| check(bytes))
    }

    #[cfg(feature = "validate")]
    fn validator(&self) -> &std::result::Result<jsonschema::Validator, String> {
        self.validator.get_or_init(|| super::validate::compile(self.payload_schema()))
    }

    /// The ordering key that the event's type gives to a payload of this version; none for a definition without a type, for
    /// whose events the publisher sets it.
    ///
    /// # Errors
    /// `Codec` if the payload does not fit, `Invalid` if the key is too long.
    pub fn key_of(&self, payload: &Payload) -> Result<Option<Key>> {
        match (self.key, payload.data()) {
            (Some(key), Some(bytes)) => key(bytes).map_err(|error| error.on(&self.channel)),
            _ => Ok(None),
        }
    }

    /// Checks that a message is this event at all.
    pub(crate) fn check_name(&self, message: &Message) -> Result<()> {
        if message.name() == self.name() {
            return Ok(());
        }
        let text = format!("the message is `{}`, not `{}`", message.name(), self.name);
        Err(Error::new(ErrorKind::Invalid, "decode", text).on(message.channel()))
    }

    /// Decodes a message as `E`, which must be the type of this definition.
    pub(crate) fn decode<E: Event>(&self, message: &Message) -> Result<E> {
        let found = message.version();
        if found == self.version {
            let event = message.payload().decode();
            #[cfg(feature = "validate")]
            let event = super::validate::both(event, self.validate(message.payload()));
            return event;
        }
        if found > self.version || found < self.oldest_version() {
            return Err(unknown_version(found, self.oldest_version(), self.version));
        }
        let old = message.payload().decode::<Value>()?;
        let new = self.upcasters.run(old, found, self.version)?;
        let event = codec::read(&new);
        #[cfg(feature = "validate")]
        let event = super::validate::both(event, super::validate::find_faults_in(self.validator(), &new));
        event.map_err(|error| {
            let message = format!("{}, after upcasting from version {found}", error.message());
            error.reworded("decode", message)
        })
    }
}

impl fmt::Debug for EventDefinition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EventDefinition")
            .field("name", &self.name)
            .field("channel", &self.channel)
            .field("version", &self.version)
            .field("direction", &self.direction)
            .field("upcasts_from", &self.upcasters)
            .finish_non_exhaustive()
    }
}
