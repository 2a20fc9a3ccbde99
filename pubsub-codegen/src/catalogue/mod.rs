//! The events as a page for people, in Markdown and in HTML.

mod fields;
mod html;
mod markdown;

use std::collections::BTreeMap;

use pubsub_core::Result;

use crate::{Contract, Contracts, Procedure, procedures};
use fields::Field;

/// One version of an event, as the page shows it.
struct Entry<'a> {
    contract: &'a Contract,
    /// Paths by which clients call it; the newest version has them.
    procedures: Vec<String>,
    /// The newest version, if this is an older one.
    newest: Option<u32>,
    payload: Vec<Field>,
    reply: Option<Vec<Field>>,
}

/// The events by channel; the newest version of each first.
fn entries(contracts: &Contracts) -> Result<BTreeMap<&str, Vec<Entry<'_>>>> {
    // Those that clients do not see have none.
    let public = contracts.public();
    let procedures = procedures(&public)?;
    let mut channels: BTreeMap<&str, Vec<Entry<'_>>> = BTreeMap::new();
    for newest in contracts.newest() {
        let list = channels.entry(newest.channel.as_str()).or_default();
        for contract in contracts.versions(&newest.name).iter().rev() {
            let is_newest = contract.version == newest.version;
            let named = |procedure: &&Procedure<'_>| is_newest && procedure.contract.name == contract.name;
            list.push(Entry {
                contract,
                procedures: procedures.iter().filter(named).map(Procedure::path).collect(),
                newest: (!is_newest).then_some(newest.version),
                payload: fields::of(&contract.payload_schema),
                reply: contract.reply_schema.as_ref().map(fields::of),
            });
        }
    }
    Ok(channels)
}

/// What the page says of a version below its name.
fn facts(entry: &Entry<'_>) -> Vec<(&'static str, String)> {
    let contract = entry.contract;
    let mut facts = vec![("direction", contract.direction.to_string())];
    if contract.oldest_version < contract.version {
        facts.push(("reads versions from", contract.oldest_version.to_string()));
    }
    if contract.read_only {
        facts.push(("read-only", "yes".into()));
    }
    if let Some(newest) = entry.newest {
        facts.push(("newest version", newest.to_string()));
    }
    if !entry.procedures.is_empty() {
        facts.push(("procedures", entry.procedures.join(", ")));
    }
    facts
}

/// The event catalogue in Markdown.
///
/// # Errors
/// As [`procedures`].
pub fn markdown(contracts: &Contracts, title: &str) -> Result<String> {
    Ok(markdown::page(title, &entries(contracts)?))
}

/// The event catalogue as one HTML page, without scripts and without anything from elsewhere.
///
/// # Errors
/// As [`procedures`].
pub fn html(contracts: &Contracts, title: &str) -> Result<String> {
    Ok(html::page(title, &entries(contracts)?))
}
