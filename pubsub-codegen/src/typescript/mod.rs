//! TypeScript: one file of types, and a small client that is built on them.

mod fixed;
mod print;
mod router;
mod types;

use pubsub_core::Result;

use crate::{Contracts, names::Types, procedures};
use types::Declarations;

/// The file of types (`contracts.d.ts`): the payloads and replies of all versions that clients may see, the map of events,
/// and `AppRouter` for `createTRPCClient<AppRouter>` of `@trpc/client` 11. It imports types of `@trpc/server`, which
/// `@trpc/client` needs anyway, and nothing else.
///
/// # Errors
/// As [`procedures`]; `Unsupported` for a schema that refers to another document or to nothing.
pub fn typescript(contracts: &Contracts) -> Result<String> {
    let contracts = &contracts.public();
    let procedures = procedures(contracts)?;
    let types = Types::of(contracts);
    let mut declarations = Declarations::new(types.taken.clone());
    for contract in contracts.iter() {
        let names = types.get(contract);
        let what = format!("Event `{}`, version {}.", contract.name, contract.version);
        let meaning = contract.meaning().map_or_else(|| what.clone(), |meaning| format!("{meaning}\n\n{what}"));
        declarations
            .root(&names.payload, &contract.payload_schema, &meaning)
            .map_err(|error| error.on(&contract.channel))?;
        if let Some(reply) = &contract.reply_schema {
            let what = format!("The reply to event `{}`, version {}.", contract.name, contract.version);
            let meaning = reply["description"].as_str().map_or_else(|| what.clone(), |own| format!("{own}\n\n{what}"));
            declarations.root(&names.reply, reply, &meaning).map_err(|error| error.on(&contract.channel))?;
        }
    }
    let parts = [
        fixed::HEAD.to_owned(),
        declarations.finish(),
        router::maps(contracts, &types),
        fixed::CALLS.to_owned(),
        router::app_router(&procedures, &types),
    ];
    Ok(parts.iter().map(|part| part.trim()).filter(|part| !part.is_empty()).collect::<Vec<_>>().join("\n\n") + "\n")
}

/// The helper client (`client.ts`), which lies beside `contracts.d.ts`: `publish`, `sendEvent`, and `subscribe` with tickets
/// and resume. The same for every catalog: all that differs is in the types.
pub fn typescript_client() -> &'static str {
    include_str!("client.ts")
}
