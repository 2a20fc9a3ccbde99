//! `Catalog`: the explicit list of the events that a program knows.

use std::{
    collections::{BTreeMap, btree_map::Entry},
    sync::Arc,
};

use serde_json::{Value, json};

use super::{Event, definition::EventDefinition};
use crate::{Error, ErrorKind, EventName, Payload, Result};

/// The events of a program, by name and version. There is no global list: what is not registered is not exposed.
#[derive(Clone, Debug, Default)]
pub struct Catalog {
    definitions: BTreeMap<(EventName, u32), Arc<EventDefinition>>,
}

impl Catalog {
    /// An empty catalog.
    pub fn new() -> Self {
        Self::default()
    }

    /// Registers an event type.
    ///
    /// # Errors
    /// `Invalid` for a bad name, channel or version; `Conflict` if the name and version are registered already.
    pub fn register<E: Event>(&mut self) -> Result<&mut Self> {
        self.insert(EventDefinition::of::<E>()?)
    }

    /// Registers an event type and returns the catalog, for chains.
    ///
    /// # Errors
    /// As [`Catalog::register`].
    pub fn with<E: Event>(mut self) -> Result<Self> {
        self.register::<E>()?;
        Ok(self)
    }

    /// Registers a definition.
    ///
    /// # Errors
    /// `Conflict` if the name and version are registered already, `Invalid` if the definition's upcasters have a hole
    /// between the oldest version they read and its own, two versions of the event are on different channels, or a schema
    /// is neither an object nor a boolean; with the feature `validate`, also if a schema does not compile.
    pub fn insert(&mut self, definition: EventDefinition) -> Result<&mut Self> {
        definition.check_upcasters()?;
        definition.check_schemas()?;
        let name = definition.name().clone();
        if let Some(other) = self.versions(&name).find(|other| other.channel() != definition.channel()) {
            let message = format!("event `{name}` is on channel `{}` in version {}", other.channel(), other.version());
            return Err(Error::new(ErrorKind::Invalid, "register event", message).on(definition.channel()));
        }
        match self.definitions.entry((name, definition.version())) {
            Entry::Vacant(place) => {
                place.insert(Arc::new(definition));
                Ok(self)
            }
            Entry::Occupied(place) => {
                let (name, version) = place.key();
                let message = format!("event `{name}` version {version} is registered already");
                Err(Error::new(ErrorKind::Conflict, "register event", message))
            }
        }
    }

    /// The definition of one version.
    pub fn get(&self, name: &EventName, version: u32) -> Option<&Arc<EventDefinition>> {
        self.definitions.get(&(name.clone(), version))
    }

    /// The definition that reads payloads of `version`: that version itself, or the lowest above it that upcasts it.
    pub fn reader(&self, name: &EventName, version: u32) -> Option<&Arc<EventDefinition>> {
        self.versions(name).find(|definition| definition.oldest_version() <= version && version <= definition.version())
    }

    /// All versions of an event, oldest first.
    pub fn versions(&self, name: &EventName) -> impl Iterator<Item = &Arc<EventDefinition>> {
        self.definitions.range((name.clone(), 0)..=(name.clone(), u32::MAX)).map(|(_, definition)| definition)
    }

    /// All definitions by name and version.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<EventDefinition>> {
        self.definitions.values()
    }

    /// How many definitions there are.
    pub fn len(&self) -> usize {
        self.definitions.len()
    }

    /// Whether nothing is registered.
    pub fn is_empty(&self) -> bool {
        self.definitions.is_empty()
    }

    /// Holds a payload against the definition of its name and version.
    ///
    /// # Errors
    /// `NotFound` if there is no such definition, `Codec` with the faults.
    pub fn validate(&self, name: &EventName, version: u32, payload: &Payload) -> Result<()> {
        let definition = self.get(name, version).ok_or_else(|| {
            let message = format!("event `{name}` version {version} is not in the catalog");
            Error::new(ErrorKind::NotFound, "validate", message)
        })?;
        definition.validate(payload)
    }

    /// The catalog as the JSON document that generators and the command line work from (`catalog.json`).
    pub fn export(&self) -> Value {
        let events: Vec<Value> = self
            .iter()
            .map(|definition| {
                json!({
                    "name": definition.name(),
                    "channel": definition.channel(),
                    "version": definition.version(),
                    "oldestVersion": definition.oldest_version(),
                    "direction": definition.direction(),
                    "readOnly": definition.is_read_only(),
                    "description": definition.description(),
                    "payloadSchema": definition.payload_schema(),
                    "replySchema": definition.reply_schema(),
                })
            })
            .collect();
        json!({ "catalogVersion": 1, "events": events })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn definition(version: u32) -> EventDefinition {
        EventDefinition::dynamic("orders:created", "orders", version, json!({"type": "object"})).unwrap()
    }

    #[test]
    fn duplicates_and_bad_names_are_errors_at_registration() {
        let mut catalog = Catalog::new();
        catalog.insert(definition(1)).unwrap();
        assert_eq!(catalog.insert(definition(1)).unwrap_err().kind(), ErrorKind::Conflict);
        assert!(EventDefinition::dynamic("orders", "orders", 1, json!({})).is_err());
        assert!(EventDefinition::dynamic("orders:x", "_orders", 1, json!({})).is_err());
        assert!(EventDefinition::dynamic("orders:x", "orders", 0, json!({})).is_err());
        assert_eq!(catalog.len(), 1);
    }

    #[test]
    fn a_hole_between_upcasters_is_named() {
        let holed = definition(4).upcast(1, Ok).upcast(3, Ok);
        let error = Catalog::new().insert(holed).map(drop).unwrap_err();
        assert!(error.message().contains("lacks the upcaster from version 2 to 3"), "{error}");
        let beyond = definition(2).upcast(1, Ok).upcast(2, Ok);
        assert!(Catalog::new().insert(beyond).is_err());
        let whole = definition(3).upcast(1, Ok).upcast(2, Ok);
        assert!(Catalog::new().insert(whole).is_ok());
    }

    #[test]
    fn a_schema_that_is_none_is_refused() {
        let dynamic = |schema: &Value| EventDefinition::dynamic("a:b", "a", 1, schema.clone()).unwrap();
        for good in [json!({}), json!(true), json!(false), json!({"type": "string"})] {
            Catalog::new().insert(dynamic(&good)).unwrap();
            Catalog::new().insert(dynamic(&json!({})).with_reply_schema(good)).unwrap();
        }
        let mut bad = vec![json!(5), json!("x"), json!(null), json!([])];
        if cfg!(feature = "validate") {
            bad.extend([json!({"type": "nosuch"}), json!({"$ref": "#/nope"})]);
        }
        for bad in bad {
            let error = Catalog::new().insert(dynamic(&bad)).map(drop).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Invalid, "{bad}");
            assert!(error.message().contains("payload schema"), "{error}");
            let reply = dynamic(&json!({})).with_reply_schema(bad);
            assert!(Catalog::new().insert(reply).map(drop).unwrap_err().message().contains("reply schema"));
        }
    }

    #[test]
    fn versions_of_one_event_share_a_channel() {
        let mut catalog = Catalog::new();
        catalog.insert(definition(1)).unwrap();
        let moved = EventDefinition::dynamic("orders:created", "elsewhere", 2, json!({})).unwrap();
        assert_eq!(catalog.insert(moved).unwrap_err().kind(), ErrorKind::Invalid);
    }

    #[test]
    fn the_reader_of_an_old_version_is_the_one_that_upcasts_it() {
        let mut catalog = Catalog::new();
        catalog.insert(definition(3).upcast(2, Ok)).unwrap();
        let name = EventName::parse("orders:created").unwrap();
        assert_eq!(catalog.reader(&name, 2).map(|definition| definition.version()), Some(3));
        assert!(catalog.reader(&name, 1).is_none() && catalog.reader(&name, 4).is_none());
    }
}
