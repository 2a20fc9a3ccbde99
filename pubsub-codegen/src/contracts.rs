//! `Contracts`: the events of a catalog, as everything here is written from them.

use pubsub_core::{Catalog, ChannelName, Direction, Error, ErrorKind, EventName, Fault, Result};
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// The form of `catalog.json` that [`Catalog::export`] writes.
const CATALOG_VERSION: u64 = 1;

/// One version of an event, as a catalog's export says it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct Contract {
    /// The canonical name.
    pub name: EventName,
    /// The channel, the same in all versions.
    pub channel: ChannelName,
    /// The version of the payload's schema, from 1.
    pub version: u32,
    /// The oldest version whose payloads it still reads, by its upcasters.
    pub oldest_version: u32,
    /// Which way it may cross the web edge.
    pub direction: Direction,
    /// Whether the action behind it only reads.
    pub read_only: bool,
    /// What it means, in a sentence.
    pub description: Option<String>,
    /// The JSON Schema (2020-12) of the payload: an object or a boolean.
    pub payload_schema: Value,
    /// The JSON Schema of the reply, if it is a request.
    pub reply_schema: Option<Value>,
}

impl Contract {
    /// The part of the name after the colon.
    pub fn action(&self) -> &str {
        self.name.as_str().split_once(':').map_or("", |(_, action)| action)
    }

    /// What it means: its own description, or else that of its schema.
    pub fn meaning(&self) -> Option<&str> {
        self.description.as_deref().or_else(|| self.payload_schema["description"].as_str())
    }

    /// Whether a client that calls it only reads, and gets a reply: a query.
    pub fn is_query(&self) -> bool {
        self.direction.from_clients() && self.read_only && self.reply_schema.is_some()
    }
}

/// The events of a catalog, by name and version.
///
/// Made from a [`Catalog`] in a program, or read from the file that one has exported.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Contracts {
    events: Vec<Contract>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Document {
    catalog_version: u64,
    events: Vec<Value>,
}

impl Contracts {
    /// The events of a catalog.
    pub fn of(catalog: &Catalog) -> Self {
        let events = catalog.iter().map(|definition| Contract {
            name: definition.name().clone(),
            channel: definition.channel().clone(),
            version: definition.version(),
            oldest_version: definition.oldest_version(),
            direction: definition.direction(),
            read_only: definition.is_read_only(),
            description: definition.description().map(str::to_owned),
            payload_schema: definition.payload_schema().clone(),
            reply_schema: definition.reply_schema().cloned(),
        });
        Self { events: events.collect() }
    }

    /// Reads what [`Catalog::export`] writes. Keys that are not known here are passed over.
    ///
    /// # Errors
    /// `Invalid` with every fault of the document and its place.
    pub fn read(document: &Value) -> Result<Self> {
        let refused = |faults: Vec<Fault>| {
            let texts: Vec<_> = faults.iter().map(Fault::to_string).collect();
            Error::new(ErrorKind::Invalid, "read catalog", texts.join("; ")).with_faults(faults)
        };
        let Document { catalog_version, events } = Document::deserialize(document).map_err(|error| {
            refused(vec![Fault { pointer: String::new(), message: format!("it is no exported catalog: {error}") }])
        })?;
        if catalog_version != CATALOG_VERSION {
            let message = format!("version {catalog_version} is unknown here; known: {CATALOG_VERSION}");
            return Err(refused(vec![Fault { pointer: "/catalogVersion".into(), message }]));
        }
        let mut faults = Vec::new();
        let mut read: Vec<Contract> = Vec::with_capacity(events.len());
        for (index, event) in events.iter().enumerate() {
            let outcome = Contract::deserialize(event)
                .map_err(|error| error.to_string())
                .and_then(|contract| check(&contract, &read).map(|()| contract));
            match outcome {
                Ok(contract) => read.push(contract),
                Err(message) => faults.push(Fault { pointer: format!("/events/{index}"), message }),
            }
        }
        if !faults.is_empty() {
            return Err(refused(faults));
        }
        read.sort_by(|a, b| (&a.name, a.version).cmp(&(&b.name, b.version)));
        Ok(Self { events: read })
    }

    /// All versions of all events, by name and version.
    pub fn iter(&self) -> impl Iterator<Item = &Contract> {
        self.events.iter()
    }

    /// The newest version of each event, by name.
    pub fn newest(&self) -> impl Iterator<Item = &Contract> {
        self.events.chunk_by(|a, b| a.name == b.name).filter_map(<[_]>::last)
    }

    /// All versions of one event, oldest first.
    pub fn versions(&self, name: &EventName) -> &[Contract] {
        let (from, to) = (
            self.events.partition_point(|event| event.name < *name),
            self.events.partition_point(|event| event.name <= *name),
        );
        &self.events[from..to]
    }

    /// Whether this is the newest version of its event.
    pub fn is_newest(&self, contract: &Contract) -> bool {
        self.versions(&contract.name).last().is_some_and(|last| last.version == contract.version)
    }

    /// Whether there is no event.
    pub fn is_empty(&self) -> bool {
        self.events.is_empty()
    }

    /// Those alone that the web edge shows: what clients may send or be sent.
    #[must_use]
    pub fn public(&self) -> Self {
        let events = self.events.iter().filter(|event| event.direction != Direction::Internal);
        Self { events: events.cloned().collect() }
    }
}

/// What a catalog would have refused.
fn check(contract: &Contract, before: &[Contract]) -> Result<(), String> {
    let Contract { name, version, oldest_version, .. } = contract;
    if *version == 0 || *oldest_version == 0 || oldest_version > version {
        return Err(format!("event `{name}`: version {version} cannot read version {oldest_version} and later"));
    }
    for (what, schema) in [("payload", Some(&contract.payload_schema)), ("reply", contract.reply_schema.as_ref())] {
        if schema.is_some_and(|schema| !schema.is_object() && !schema.is_boolean()) {
            return Err(format!("the {what} schema of event `{name}` must be an object or a boolean"));
        }
    }
    for other in before.iter().filter(|other| other.name == *name) {
        if other.version == *version {
            return Err(format!("event `{name}` version {version} is there twice"));
        }
        if other.channel != contract.channel {
            let (here, there) = (&contract.channel, &other.channel);
            return Err(format!("event `{name}` is on channel `{there}` in version {}, not `{here}`", other.version));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use pubsub_core::EventDefinition;
    use serde_json::json;

    use super::*;

    fn catalog() -> Catalog {
        let mut catalog = Catalog::new();
        let new = |name, version| EventDefinition::dynamic(name, "orders", version, json!({"type": "object"})).unwrap();
        catalog.insert(new("orders:created", 2).upcast(1, Ok).with_direction(Direction::Both)).unwrap();
        catalog.insert(new("orders:created", 1).with_direction(Direction::Both)).unwrap();
        catalog.insert(new("orders:audit", 1).with_description("who looked")).unwrap();
        catalog
    }

    #[test]
    fn an_export_is_read_back_as_the_catalog_it_came_from() {
        let contracts = Contracts::of(&catalog());
        assert_eq!(Contracts::read(&catalog().export()).unwrap(), contracts);
        let newest: Vec<_> = contracts.newest().map(|event| (event.name.as_str(), event.version)).collect();
        assert_eq!(newest, [("orders:audit", 1), ("orders:created", 2)]);
        assert_eq!(contracts.versions(&EventName::parse("orders:created").unwrap()).len(), 2);
        assert_eq!(contracts.public().iter().count(), 2);
    }

    #[test]
    fn every_fault_of_a_catalog_file_is_told_with_its_place() {
        let mut document = catalog().export();
        document["events"][0]["payloadSchema"] = json!(7);
        document["events"][1]["name"] = json!("no name");
        document["events"][2]["oldestVersion"] = json!(3);
        let error = Contracts::read(&document).unwrap_err();
        let places: Vec<_> = error.faults().iter().map(|fault| fault.pointer.as_str()).collect();
        assert_eq!(places, ["/events/0", "/events/1", "/events/2"], "{error}");

        let mut twice = catalog().export();
        twice["events"][2] = twice["events"][1].clone();
        assert!(Contracts::read(&twice).unwrap_err().message().contains("is there twice"));
        let mut moved = catalog().export();
        moved["events"][2]["channel"] = json!("elsewhere");
        assert!(Contracts::read(&moved).unwrap_err().message().contains("is on channel"));
        for bad in [json!({}), json!([]), json!({"catalogVersion": 2, "events": []})] {
            assert_eq!(Contracts::read(&bad).unwrap_err().kind(), ErrorKind::Invalid, "{bad}");
        }
    }
}
