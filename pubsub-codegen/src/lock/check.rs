//! Whether a catalog keeps what was published.

use std::{collections::BTreeSet, fmt};

use pubsub_core::{Direction, EventName};
use serde_json::Value;

use super::{Lock, Published, canonical, changes};
use crate::{Contract, Contracts};

/// A way in which a catalog breaks what was published, and the smallest change that is legal instead.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Breach {
    /// The event.
    pub name: EventName,
    /// The version that is broken.
    pub version: u32,
    /// What is wrong.
    pub what: String,
    /// Where, one line for each place.
    pub details: Vec<String>,
    /// The smallest legal change.
    pub remedy: String,
}

impl fmt::Display for Breach {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "event `{}` version {} {}", self.name, self.version, self.what)?;
        for detail in &self.details {
            write!(f, "\n    {detail}")?;
        }
        write!(f, "\n  smallest legal change: {}", self.remedy)
    }
}

pub(super) fn breaches(lock: &Lock, contracts: &Contracts) -> Vec<Breach> {
    let mut names: BTreeSet<&EventName> = lock.events().map(|event| &event.name).collect();
    names.extend(contracts.iter().map(|event| &event.name));
    let mut breaches = Vec::new();
    for name in names {
        let event = Event { lock, name, now: contracts.versions(name) };
        for published in lock.events().filter(|event| event.name == *name) {
            breaches.extend(event.version(published));
        }
        breaches.extend(event.upcasters());
    }
    breaches
}

/// One event, before and now.
struct Event<'a> {
    lock: &'a Lock,
    name: &'a EventName,
    now: &'a [Contract],
}

impl Event<'_> {
    fn breach(&self, version: u32, what: impl Into<String>, details: Vec<String>, remedy: String) -> Breach {
        Breach { name: self.name.clone(), version, what: what.into(), details, remedy }
    }

    /// Every version that anybody knows of.
    fn known(&self) -> BTreeSet<u32> {
        let published = self.lock.events().filter(|event| event.name == *self.name).map(|event| event.version);
        self.now.iter().map(|event| event.version).chain(published).collect()
    }

    fn next(&self) -> u32 {
        self.known().last().map_or(1, |last| last.saturating_add(1))
    }

    fn version(&self, published: &Published) -> Vec<Breach> {
        match self.now.iter().find(|event| event.version == published.version) {
            Some(now) => self.changed(published, now),
            None => self.dropped(published.version).into_iter().collect(),
        }
    }

    fn changed(&self, before: &Published, now: &Contract) -> Vec<Breach> {
        let version = before.version;
        let mut breaches = Vec::new();
        let mut add = |what: String, details, remedy| breaches.push(self.breach(version, what, details, remedy));
        if before.channel != now.channel {
            let what = format!("was published on channel `{}`, and is on `{}` now", before.channel, now.channel);
            let remedy = format!(
                "put it back on `{}`, and give what goes to `{}` a name of its own",
                before.channel, now.channel
            );
            add(what, Vec::new(), remedy);
        }
        if !widens(before.direction, now.direction) {
            let what = format!("was published as {}, and is {} now", before.direction, now.direction);
            let both = if now.direction == Direction::Internal { before.direction } else { Direction::Both };
            add(what, Vec::new(), format!("let it be {both}: clients rely on what they could do"));
        } else if before.direction.from_clients() && before.query != now.is_query() {
            let call = |query| if query { "a query" } else { "a mutation" };
            let what = format!("was called by clients as {}, and is {} now", call(before.query), call(now.is_query()));
            let remedy = format!("let `read_only` be {} as it was", before.query);
            add(what, Vec::new(), remedy);
        }
        if before.hash != canonical::hash(&now.payload_schema) {
            let changes = changes::between(&before.schema, &canonical::readable(&now.payload_schema));
            add(
                "was published with another payload schema".into(),
                changes.lines,
                self.new_version(version, &changes.repairs),
            );
        }
        match (&before.reply_schema, &now.reply_schema) {
            (None, None) => {}
            (Some(reply), Some(now)) => {
                if before.reply_hash.as_ref() != Some(&canonical::hash(now)) {
                    let changes = changes::between(reply, &canonical::readable(now));
                    let details = changes.lines.iter().map(|line| line.replace("the payload", "the reply")).collect();
                    let remedy = format!(
                        "put the reply back as it was, and give the new one to a request of another name: a caller of \
                         version {version} reads the reply that it knows",
                    );
                    add("was published with another reply schema".into(), details, remedy);
                }
            }
            (Some(_), None) => add("had a reply".into(), Vec::new(), "answer it as before".into()),
            (None, Some(_)) if before.direction.from_clients() => {
                let remedy = "leave it without, and give the reply to a request of another name".into();
                add("had no declared reply, and clients call it".into(), Vec::new(), remedy);
            }
            (None, Some(_)) => {}
        }
        breaches
    }

    /// How a changed payload may be published: as a new version that reads the old one.
    fn new_version(&self, version: u32, repairs: &[String]) -> String {
        let next = self.next();
        let upcaster = match repairs {
            [] => format!("`.upcast({version}, Ok)`, for older payloads fit as they are"),
            some => format!("`.upcast({version}, …)`, which must {}", some.join(", ")),
        };
        let upcaster = if next == version.saturating_add(1) {
            upcaster
        } else {
            let last = next.saturating_sub(1);
            format!("`.upcast({last}, …)` behind those that lead from version {version} to {last}")
        };
        let consumers: Vec<&str> = self.lock.consumers_of(self.name, version).collect();
        let keep = if consumers.is_empty() {
            String::new()
        } else {
            format!("; keep version {version} beside it as it was published, for {} pins it", consumers.join(" and "))
        };
        format!("make the new form version {next} (`version = {next}`), with the upcaster {upcaster}{keep}")
    }

    fn dropped(&self, version: u32) -> Option<Breach> {
        let consumers: Vec<&str> = self.lock.consumers_of(self.name, version).collect();
        if !consumers.is_empty() {
            let who = consumers.join(" and ");
            let unpin = format!("`contracts unpin {} {} {version}`", consumers[0], self.name);
            let remedy = format!("keep version {version} until {who} reads a later one, and then {unpin}");
            return Some(self.breach(version, format!("is gone, and {who} pins it"), Vec::new(), remedy));
        }
        // What a later version reads may go.
        self.now.is_empty().then(|| {
            let remedy = format!(
                "put it back; or, when no channel, outbox or dead letter holds one any more, \
                 `contracts retire {} {version}`",
                self.name
            );
            self.breach(version, "is gone, and with it the whole event", Vec::new(), remedy)
        })
    }

    /// The newest version must read all that is older: it lies in channels, outboxes and among dead letters.
    fn upcasters(&self) -> Option<Breach> {
        let newest = self.now.last()?;
        let missing: Vec<u32> = self.known().into_iter().filter(|version| *version < newest.oldest_version).collect();
        let first = *missing.first()?;
        let steps = (first..newest.oldest_version).map(|step| format!("`.upcast({step}, …)`")).collect::<Vec<_>>();
        let schema = self.schema_of(first);
        let details = match (steps.len(), schema) {
            (1, Some(old)) => {
                changes::between(&canonical::readable(&old), &canonical::readable(&newest.payload_schema)).lines
            }
            _ => Vec::new(),
        };
        let what = format!("cannot be read by version {}: an upcaster is missing", newest.version);
        let remedy = format!("add {} to the definition of version {}", steps.join(", "), newest.version);
        Some(self.breach(first, what, details, remedy))
    }

    fn schema_of(&self, version: u32) -> Option<Value> {
        let now = self.now.iter().find(|event| event.version == version).map(|event| event.payload_schema.clone());
        now.or_else(|| Some(self.lock.events.get(&(self.name.clone(), version))?.schema.clone()))
    }
}

/// Whether all that clients could do they still can.
fn widens(before: Direction, now: Direction) -> bool {
    (now.to_clients() || !before.to_clients()) && (now.from_clients() || !before.from_clients())
}
