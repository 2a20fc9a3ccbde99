//! The HTTP surface of `pubsub-server` as OpenAPI 3.1.

mod model;
mod operation;
mod plain;
mod trpc;

use pubsub_core::Result;
use serde_json::{Map, Value, json};

use crate::{Contracts, DocumentOptions, names::Types, procedures, schema::embedded};

/// The OpenAPI 3.1 document of the HTTP surface of `pubsub-server` for these events: the plain endpoints, the procedures of
/// `pubsub.*`, and those that stand for events. A tRPC subscription is described as far as OpenAPI can say it: as a stream
/// of text, whose items are under `x-sse-data`.
///
/// # Errors
/// As [`procedures`]: what has no procedures has no paths either.
pub fn openapi(contracts: &Contracts, options: &DocumentOptions) -> Result<Value> {
    let contracts = &contracts.public();
    let types = Types::of(contracts);
    let mut paths = plain::paths();
    paths.append(&mut trpc::paths(&procedures(contracts)?, &types));

    let mut info = json!({ "title": options.title, "version": options.version });
    if let Some(description) = &options.description {
        info["description"] = json!(description);
    }
    let base = if options.base_path.is_empty() { "/" } else { &options.base_path };
    let servers: Vec<Value> = match options.servers.as_slice() {
        [] => vec![json!({ "url": base })],
        some => some.iter().map(|url| json!({ "url": format!("{url}{}", options.base_path) })).collect(),
    };
    Ok(json!({
        "openapi": "3.1.0",
        "info": info,
        "servers": servers,
        "tags": [
            { "name": "events", "description": "Live push, client-sent events and history, as plain JSON and SSE." },
            { "name": "service", "description": "What the service says of itself." },
            { "name": "trpc", "description": "The same as procedures of tRPC 11, and a procedure for each event." },
        ],
        // Without credentials a caller may do what the policy of a channel leaves open.
        "security": [{}, { "bearer": [] }, { "connectionParams": [] }],
        "paths": paths,
        "components": {
            "schemas": schemas(contracts, &types),
            "responses": operation::error_responses(),
            "securitySchemes": {
                "bearer": { "type": "http", "scheme": "bearer" },
                "connectionParams": {
                    "type": "apiKey", "in": "query", "name": "connectionParams",
                    "description": "A JSON object of strings; the default hook reads `token`.",
                },
                "ticket": {
                    "type": "apiKey", "in": "query", "name": "ticket",
                    "description": "A single-use ticket from `POST /sse-ticket`, where no header can be set.",
                },
            },
        },
    }))
}

/// Where a schema of this document lies.
fn schema_ref(name: &str) -> Value {
    json!({ "$ref": format!("#/components/schemas/{name}") })
}

/// The fixed ones, and for each version of an event its payload, its envelope and its reply.
fn schemas(contracts: &Contracts, types: &Types) -> Map<String, Value> {
    let mut schemas = model::schemas(contracts, types);
    for contract in contracts.iter() {
        let names = types.get(contract);
        let place = |name: &str| format!("#/components/schemas/{name}");
        let mut payload = embedded(&contract.payload_schema, &place(&names.payload));
        if let (Value::Object(payload), Some(meaning)) = (&mut payload, contract.meaning()) {
            payload.insert("description".into(), json!(meaning));
        }
        if let Some(reply) = &contract.reply_schema {
            schemas.insert(names.reply.clone(), embedded(reply, &place(&names.reply)));
        }
        if contract.direction.to_clients() {
            let envelope = json!({
                "allOf": [
                    schema_ref("EventEnvelope"),
                    {
                        "type": "object",
                        "properties": {
                            "name": { "const": contract.name },
                            "channel": { "const": contract.channel },
                            "payload": schema_ref(&names.payload),
                        },
                        "required": ["payload"],
                    },
                ],
            });
            schemas.insert(names.envelope, envelope);
        }
        schemas.insert(names.payload, payload);
    }
    schemas
}
