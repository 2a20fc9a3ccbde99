//! The maps of events by name, and the router.

use std::collections::BTreeMap;

use super::{
    fixed::OWN_ROUTER,
    print::{doc, key, quoted},
};
use crate::{Contract, Contracts, Procedure, ProcedureKind, names::Types};

/// Where a type with one entry per event has its entries.
fn map(meaning: &str, name: &str, entries: impl Iterator<Item = (String, String)>) -> String {
    let lines: String = entries.map(|(name, value)| format!("  {}: {value};\n", quoted(&name))).collect();
    format!("{}export interface {name} {{\n{lines}}}\n", doc(meaning, 0))
}

fn names(meaning: &str, name: &str, events: impl Iterator<Item = String>) -> String {
    let events: Vec<String> = events.map(|event| quoted(&event)).collect();
    let union = if events.is_empty() { "never".to_owned() } else { events.join(" | ") };
    format!("{}export type {name} = {union};\n", doc(meaning, 0))
}

/// Payload, channel and result of each event by its name, and which names go which way.
pub(super) fn maps(contracts: &Contracts, types: &Types) -> String {
    let newest = || contracts.newest();
    let name = |contract: &Contract| contract.name.as_str().to_owned();
    let from_clients = || newest().filter(|contract| contract.direction.from_clients());
    let to_clients = newest().filter(|contract| contract.direction.to_clients());
    let payload = |contract: &Contract| (name(contract), types.get(contract).payload);
    let channel = |contract: &Contract| (name(contract), quoted(contract.channel.as_str()));
    let result = |contract: &Contract| (name(contract), result(contract, types));
    [
        map("The payload of each event, in its newest version.", "Events", newest().map(payload)),
        map("The channel of each event.", "EventChannels", newest().map(channel)),
        map("What the action behind each event returns.", "EventResults", from_clients().map(result)),
        names("The events that the server sends to clients.", "ServerEventName", to_clients.map(name)),
        names("The events that clients may send.", "ClientEventName", from_clients().map(name)),
    ]
    .join("\n")
}

/// What a caller gets back.
fn result(contract: &Contract, types: &Types) -> String {
    // Without a declared reply anything may come, and `null` without action.
    contract.reply_schema.as_ref().map_or_else(|| "unknown".to_owned(), |_| types.get(contract).reply)
}

pub(super) fn app_router(procedures: &[Procedure<'_>], types: &Types) -> String {
    let mut routers: BTreeMap<&str, String> = BTreeMap::new();
    for procedure in procedures {
        let contract = procedure.contract;
        let payload = types.get(contract).payload;
        let value = match procedure.kind {
            ProcedureKind::Query => format!("Query<{payload}, {}>", result(contract, types)),
            ProcedureKind::Mutation => format!("Mutation<{payload}, {}>", result(contract, types)),
            ProcedureKind::Subscription => {
                format!("Subscription<ResumeInput | void, EventOf<{}>>", quoted(contract.name.as_str()))
            }
        };
        let lines = routers.entry(&procedure.router).or_default();
        *lines += &doc(contract.meaning().unwrap_or_default(), 4);
        *lines += &format!("    {}: {value};\n", key(&procedure.name));
    }
    let routers: String = routers.iter().map(|(name, lines)| format!("  {}: {{\n{lines}  }};\n", key(name))).collect();
    format!(
        "{}export type AppRouter = TRPCBuiltRouter<\n  {{ ctx: object; meta: object; errorShape: ErrorShape; \
         transformer: false }},\n  AppRecord\n>;\n\ntype AppRecord = {{\n{OWN_ROUTER}{routers}}};\n",
        doc("The type for `createTRPCClient<AppRouter>`.", 0)
    )
}
