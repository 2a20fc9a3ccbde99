//! The lock of the published contracts (`contracts.lock.json`): what has left the house, and who relies on it.

mod canonical;
mod changes;
mod check;

use std::collections::{BTreeMap, BTreeSet};

use pubsub_core::{ChannelName, Direction, Error, ErrorKind, EventName, Result};
use serde::{Deserialize, Serialize};
use serde_json::Value;

pub use check::Breach;

use crate::{Contract, Contracts, json};

/// The form of the file that is written.
const LOCK_VERSION: u32 = 1;

/// One version of an event as it was published.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[non_exhaustive]
pub struct Published {
    /// The canonical name.
    pub name: EventName,
    /// The version.
    pub version: u32,
    /// The channel.
    pub channel: ChannelName,
    /// Which way it crosses the web edge.
    pub direction: Direction,
    /// Whether clients call it as a query.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub query: bool,
    /// `sha256:` and the hash of the payload's schema; words for people, names of parts and order do not count.
    pub hash: String,
    /// The payload's schema without words for people.
    pub schema: Value,
    /// The hash of the reply's schema.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reply_hash: Option<String>,
    /// The reply's schema.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reply_schema: Option<Value>,
}

impl Published {
    fn of(contract: &Contract) -> Self {
        Self {
            name: contract.name.clone(),
            version: contract.version,
            channel: contract.channel.clone(),
            direction: contract.direction,
            query: contract.is_query(),
            hash: canonical::hash(&contract.payload_schema),
            schema: canonical::readable(&contract.payload_schema),
            reply_hash: contract.reply_schema.as_ref().map(canonical::hash),
            reply_schema: contract.reply_schema.as_ref().map(canonical::readable),
        }
    }
}

/// The published contracts, and which versions the consumers pin.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Lock {
    events: BTreeMap<(EventName, u32), Published>,
    /// By consumer and event, the versions that it reads.
    consumers: BTreeMap<String, BTreeMap<EventName, BTreeSet<u32>>>,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Document {
    lock_version: u32,
    events: Vec<Published>,
    consumers: BTreeMap<String, BTreeMap<String, BTreeSet<u32>>>,
}

impl Lock {
    /// Reads the text of a lock file.
    ///
    /// # Errors
    /// `Invalid` if it is no lock file, or one of a later form; also if a schema in it does not have its hash, for then
    /// somebody has edited it.
    pub fn read(text: &str) -> Result<Self> {
        let invalid = |message: String| Error::new(ErrorKind::Invalid, "read lock", message);
        let document: Document = serde_json::from_str(text).map_err(|error| invalid(error.to_string()))?;
        if document.lock_version != LOCK_VERSION {
            return Err(invalid(format!("version {} is unknown here; known: {LOCK_VERSION}", document.lock_version)));
        }
        let mut lock = Self::default();
        for event in document.events {
            let mut parts = vec![(&event.schema, Some(&event.hash))];
            parts.extend(event.reply_schema.as_ref().map(|schema| (schema, event.reply_hash.as_ref())));
            if parts.into_iter().any(|(schema, hash)| hash != Some(&canonical::hash(schema))) {
                let message = format!("event `{}` version {} has a schema of another hash", event.name, event.version);
                return Err(invalid(format!("{message}: somebody has edited it; restore the file")));
            }
            lock.events.insert((event.name.clone(), event.version), event);
        }
        for (consumer, pins) in document.consumers {
            let pins = pins.into_iter().map(|(name, versions)| Ok((EventName::parse(&name)?, versions)));
            lock.consumers.insert(consumer, pins.collect::<Result<_>>()?);
        }
        Ok(lock)
    }

    /// The text of the lock file.
    pub fn to_text(&self) -> String {
        let pins = |pins: &BTreeMap<EventName, BTreeSet<u32>>| {
            pins.iter().map(|(name, versions)| (name.as_str().to_owned(), versions.clone())).collect()
        };
        let document = Document {
            lock_version: LOCK_VERSION,
            events: self.events.values().cloned().collect(),
            consumers: self.consumers.iter().map(|(consumer, all)| (consumer.clone(), pins(all))).collect(),
        };
        json::document(&serde_json::json!(document))
    }

    /// What has been published, by name and version.
    pub fn events(&self) -> impl Iterator<Item = &Published> {
        self.events.values()
    }

    /// The consumers that pin a version.
    pub fn consumers_of(&self, name: &EventName, version: u32) -> impl Iterator<Item = &str> {
        let pins = move |pins: &BTreeMap<EventName, BTreeSet<u32>>| {
            pins.get(name).is_some_and(|versions| versions.contains(&version))
        };
        self.consumers.iter().filter(move |(_, all)| pins(all)).map(|(consumer, _)| consumer.as_str())
    }

    /// Notes that a consumer reads a version: it cannot be dropped then.
    ///
    /// # Errors
    /// `NotFound` if that version was never published.
    pub fn pin(&mut self, consumer: &str, name: &EventName, version: u32) -> Result<()> {
        self.published("pin", name, version)?;
        let pins = self.consumers.entry(consumer.to_owned()).or_default();
        pins.entry(name.clone()).or_default().insert(version);
        Ok(())
    }

    /// Notes that a consumer no longer reads a version.
    ///
    /// # Errors
    /// `NotFound` if it did not pin it.
    pub fn unpin(&mut self, consumer: &str, name: &EventName, version: u32) -> Result<()> {
        let pins = self.consumers.get_mut(consumer).and_then(|pins| pins.get_mut(name));
        if !pins.is_some_and(|versions| versions.remove(&version)) {
            let message = format!("consumer `{consumer}` does not pin event `{name}` version {version}");
            return Err(Error::new(ErrorKind::NotFound, "unpin", message));
        }
        for pins in self.consumers.values_mut() {
            pins.retain(|_, versions| !versions.is_empty());
        }
        self.consumers.retain(|_, pins| !pins.is_empty());
        Ok(())
    }

    /// Forgets a version that is nowhere any more: neither in a channel, an outbox or among dead letters, nor at a consumer.
    ///
    /// # Errors
    /// `NotFound` if it was never published, `Conflict` if a consumer pins it.
    pub fn retire(&mut self, name: &EventName, version: u32) -> Result<()> {
        self.published("retire", name, version)?;
        let consumers: Vec<&str> = self.consumers_of(name, version).collect();
        if !consumers.is_empty() {
            let message = format!("event `{name}` version {version} is pinned by {}", consumers.join(", "));
            return Err(Error::new(ErrorKind::Conflict, "retire", message));
        }
        self.events.remove(&(name.clone(), version));
        Ok(())
    }

    fn published(&self, operation: &'static str, name: &EventName, version: u32) -> Result<()> {
        if self.events.contains_key(&(name.clone(), version)) {
            return Ok(());
        }
        let message = format!("event `{name}` version {version} was never published");
        Err(Error::new(ErrorKind::NotFound, operation, message))
    }

    /// Everything in which a catalog breaks what was published; nothing if it may be published itself.
    pub fn breaches(&self, contracts: &Contracts) -> Vec<Breach> {
        check::breaches(self, contracts)
    }

    /// The versions of a catalog that the lock does not know yet.
    pub fn unlocked<'a>(&self, contracts: &'a Contracts) -> Vec<&'a Contract> {
        contracts.iter().filter(|event| !self.events.contains_key(&(event.name.clone(), event.version))).collect()
    }

    /// Takes a catalog as published: adds what is new, widened directions, and replies that are declared now.
    ///
    /// # Errors
    /// `Conflict` with all breaches, and then nothing is changed.
    pub fn publish(&mut self, contracts: &Contracts) -> Result<()> {
        let breaches = self.breaches(contracts);
        if !breaches.is_empty() {
            let texts: Vec<String> = breaches.iter().map(Breach::to_string).collect();
            return Err(Error::new(ErrorKind::Conflict, "publish contracts", texts.join("\n")));
        }
        for contract in contracts.iter() {
            // What was published stays in the words in which it was, as long as it means the same.
            let now = Published::of(contract);
            let entry = self.events.entry((contract.name.clone(), contract.version)).or_insert_with(|| now.clone());
            (entry.direction, entry.query) = (now.direction, now.query);
            if entry.reply_schema.is_none() {
                (entry.reply_hash, entry.reply_schema) = (now.reply_hash, now.reply_schema);
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
