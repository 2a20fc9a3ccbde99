//! The procedures that clients get for the events of a catalog, beside those of the library itself.

use std::collections::BTreeMap;

use pubsub_core::{Error, ErrorKind, Result};

use crate::{
    Contract, Contracts,
    names::{camel_case, pascal_case},
};

/// The router of the library's own procedures.
pub(crate) const OWN_ROUTER: &str = "pubsub";

/// Names that tRPC's clients keep for themselves: a procedure of such a name could not be called.
const KEPT_BY_TRPC: &[&str] = &["then", "call", "apply"];

/// What a procedure is, and so how it is called.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProcedureKind {
    /// Reads; by `GET`.
    Query,
    /// Changes something; by `POST`.
    Mutation,
    /// Answers with a stream of events; by `GET`.
    Subscription,
}

/// A procedure that stands for an event.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Procedure<'a> {
    /// The channel in camel case.
    pub router: String,
    /// The event's own part of its name in camel case; with `on` before it for a subscription.
    pub name: String,
    /// What it is.
    pub kind: ProcedureKind,
    /// The newest version of the event.
    pub contract: &'a Contract,
}

impl Procedure<'_> {
    /// The path by which clients call it, such as `orders.created`.
    pub fn path(&self) -> String {
        format!("{}.{}", self.router, self.name)
    }
}

/// The procedures of a catalog, by path: a mutation or a query for what clients may send, a subscription for what they may
/// be sent, always in the newest version.
///
/// # Errors
/// `Conflict` with every collision: two channels that are one router, two events that are one procedure, and names that
/// `pubsub` or tRPC's clients keep for themselves. `Invalid` where nothing is left of a name in camel case.
pub fn procedures(contracts: &Contracts) -> Result<Vec<Procedure<'_>>> {
    let mut channels = BTreeMap::new();
    let mut found: BTreeMap<String, Procedure<'_>> = BTreeMap::new();
    let mut faults = Vec::new();
    for contract in contracts.newest() {
        for procedure in of(contract) {
            let path = procedure.path();
            let Procedure { router, name, .. } = &procedure;
            if router.is_empty() || name.is_empty() {
                let message = format!("nothing is left of event `{}` in camel case", contract.name);
                return Err(Error::new(ErrorKind::Invalid, "name procedures", message).on(&contract.channel));
            }
            if router == OWN_ROUTER {
                faults
                    .push(format!("channel `{}` is the router `{OWN_ROUTER}` of the library itself", contract.channel));
                continue;
            }
            if let Some(kept) = KEPT_BY_TRPC.iter().find(|kept| [router, name].map(String::as_str).contains(*kept)) {
                faults.push(format!("event `{}` needs the name `{kept}`, which tRPC keeps for itself", contract.name));
                continue;
            }
            let first = *channels.entry(router.clone()).or_insert(&contract.channel);
            if *first != contract.channel {
                faults.push(format!("channels `{first}` and `{}` are both the router `{router}`", contract.channel));
            } else if let Some(other) = found.get(&path) {
                let (one, two) = (&other.contract.name, &contract.name);
                faults.push(format!("events `{one}` and `{two}` are both the procedure `{path}`"));
            } else {
                found.insert(path, procedure);
            }
        }
    }
    faults.dedup();
    if faults.is_empty() {
        return Ok(found.into_values().collect());
    }
    Err(Error::new(ErrorKind::Conflict, "name procedures", faults.join("; ")))
}

fn of(contract: &Contract) -> impl Iterator<Item = Procedure<'_>> {
    let router = camel_case(contract.channel.as_str());
    let new = |name, kind| Procedure { router: router.clone(), name, kind, contract };
    let kind = if contract.is_query() { ProcedureKind::Query } else { ProcedureKind::Mutation };
    let call = contract.direction.from_clients().then(|| new(camel_case(contract.action()), kind));
    let stream = contract.direction.to_clients().then(|| {
        let action = pascal_case(contract.action());
        // Nothing but `on` is no name either.
        let name = if action.is_empty() { action } else { format!("on{action}") };
        new(name, ProcedureKind::Subscription)
    });
    call.into_iter().chain(stream)
}

#[cfg(test)]
mod tests {
    use pubsub_core::{Catalog, Direction, EventDefinition};
    use serde_json::json;

    use super::*;

    fn contracts(events: &[(&str, &str, Direction)]) -> Contracts {
        let mut catalog = Catalog::new();
        for (name, channel, direction) in events {
            let definition = EventDefinition::dynamic(name, channel, 1, json!({})).unwrap();
            catalog.insert(definition.with_direction(*direction)).unwrap();
        }
        Contracts::of(&catalog)
    }

    #[test]
    fn directions_decide_which_procedures_there_are() {
        let contracts = contracts(&[
            ("speed-tests:run-requested", "speed-tests", Direction::Cse),
            ("orders:created", "orders", Direction::Both),
            ("orders:paid", "orders", Direction::Sse),
            ("orders:audited", "orders", Direction::Internal),
        ]);
        let found: Vec<_> = procedures(&contracts).unwrap().iter().map(|one| (one.path(), one.kind)).collect();
        let expected = [
            ("orders.created", ProcedureKind::Mutation),
            ("orders.onCreated", ProcedureKind::Subscription),
            ("orders.onPaid", ProcedureKind::Subscription),
            ("speedTests.runRequested", ProcedureKind::Mutation),
        ];
        assert_eq!(found, expected.map(|(path, kind)| (path.to_owned(), kind)));
    }

    #[test]
    fn all_collisions_are_told() {
        let contracts = contracts(&[
            ("a:x-y", "one", Direction::Cse),
            ("b:x_y", "one", Direction::Cse),
            ("a:z", "t-w", Direction::Sse),
            ("b:z", "tW", Direction::Sse),
            ("c:z", "pubsub", Direction::Sse),
            ("jobs:apply", "jobs", Direction::Both),
        ]);
        let error = procedures(&contracts).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Conflict);
        for text in
            ["are both the procedure `one.xY`", "are both the router `tW`", "`pubsub` of the library", "`apply`"]
        {
            assert!(error.message().contains(text), "{error}");
        }
        let error = procedures(&self::contracts(&[("a:---", "a", Direction::Sse)])).map(drop).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Invalid);
    }

    #[test]
    fn a_request_that_only_reads_is_a_query() {
        let mut document = Catalog::new();
        let list = EventDefinition::dynamic("targets:list", "targets", 1, json!({})).unwrap();
        document.insert(list.with_direction(Direction::Cse).with_reply_schema(json!({}))).unwrap();
        let mut document = document.export();
        document["events"][0]["readOnly"] = json!(true);
        let contracts = Contracts::read(&document).unwrap();
        assert_eq!(procedures(&contracts).unwrap()[0].kind, ProcedureKind::Query);
    }
}
