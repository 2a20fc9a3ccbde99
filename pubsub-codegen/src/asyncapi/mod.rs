//! Channels and messages as AsyncAPI 3.0.

mod draft7;

use std::collections::BTreeMap;

use pubsub_core::Direction;
use serde_json::{Map, Value, json};

use crate::{Contract, Contracts, DocumentOptions, names::Types};

/// The AsyncAPI 3.0 document of channels and messages, all versions of them, as the application sees it: it sends what it
/// pushes to clients, and receives what clients send. Internal events, if they are asked for, are sent and received.
///
/// AsyncAPI's own schemas are those of draft 7, and so are these: what has no other words there (`unevaluatedProperties`,
/// `minContains`) is left out, and the schema takes more than the event does.
pub fn asyncapi(contracts: &Contracts, options: &DocumentOptions) -> Value {
    let public = contracts.public();
    let contracts = if options.internal { contracts } else { &public };
    let types = Types::of(contracts);
    let mut parts = Parts::default();
    for contract in contracts.iter() {
        parts.add(contract, &types);
    }

    let mut info = json!({ "title": options.title, "version": options.version });
    if let Some(description) = &options.description {
        info["description"] = json!(description);
    }
    let mut document = json!({
        "asyncapi": "3.0.0",
        "info": info,
        "defaultContentType": "application/json",
        "channels": parts.channels,
        "operations": parts.operations,
        "components": { "messages": parts.messages, "schemas": parts.schemas },
    });
    let servers: Map<String, Value> = options.servers.iter().enumerate().map(server).collect();
    if !servers.is_empty() {
        document["servers"] = json!(servers);
    }
    document
}

fn server((index, url): (usize, &String)) -> (String, Value) {
    let (protocol, rest) = url.split_once("://").unwrap_or(("https", url));
    let (host, path) = rest.split_once('/').unwrap_or((rest, ""));
    let mut server = json!({ "host": host, "protocol": protocol });
    if !path.is_empty() {
        server["pathname"] = json!(format!("/{path}"));
    }
    (format!("server{}", index + 1), server)
}

#[derive(Default)]
struct Parts {
    channels: BTreeMap<String, Value>,
    operations: BTreeMap<String, Value>,
    messages: BTreeMap<String, Value>,
    schemas: BTreeMap<String, Value>,
}

impl Parts {
    fn add(&mut self, contract: &Contract, types: &Types) {
        let names = types.get(contract);
        let channel = contract.channel.as_str().to_owned();
        self.message(&names.payload, contract, &contract.payload_schema);
        self.on_channel(&channel, &json!(channel), &names.payload);
        let on_channel = |channel: &str, message: &str| {
            let channel = channel.replace('/', "~1");
            json!({ "$ref": format!("#/channels/{channel}/messages/{message}") })
        };
        let operation = |action: &str, does: &str| {
            json!({
                "action": action,
                "channel": { "$ref": format!("#/channels/{channel}") },
                "summary": format!("{does} `{}` version {}", contract.name, contract.version),
                "messages": [on_channel(&channel, &names.payload)],
            })
        };
        let reply = contract.reply_schema.as_ref().map(|schema| {
            // No channel of a catalog begins with an underscore. Each caller has an inbox of its own.
            let inbox = format!("_replies.{channel}");
            self.message(&names.reply, contract, schema);
            self.on_channel(&inbox, &Value::Null, &names.reply);
            json!({
                "channel": { "$ref": format!("#/channels/{inbox}") },
                "messages": [on_channel(&inbox, &names.reply)],
            })
        });
        let internal = contract.direction == Direction::Internal;
        if contract.direction.to_clients() || internal {
            self.operations.insert(format!("send{}", names.payload), operation("send", "Sends"));
        }
        if contract.direction.from_clients() || internal {
            let mut receive = operation("receive", "Receives");
            if let Some(reply) = reply {
                receive["reply"] = reply;
            }
            self.operations.insert(format!("receive{}", names.payload), receive);
        }
    }

    fn message(&mut self, name: &str, contract: &Contract, schema: &Value) {
        let mut message = json!({
            "name": contract.name,
            "title": name,
            "contentType": "application/json",
            "payload": { "$ref": format!("#/components/schemas/{name}") },
            "x-version": contract.version,
            "x-oldest-version": contract.oldest_version,
            "x-direction": contract.direction,
        });
        if let Some(meaning) = contract.meaning() {
            message["description"] = json!(meaning);
        }
        self.messages.insert(name.to_owned(), message);
        self.schemas.insert(name.to_owned(), draft7::of(schema, &format!("#/components/schemas/{name}")));
    }

    fn on_channel(&mut self, channel: &str, address: &Value, message: &str) {
        let entry = self.channels.entry(channel.to_owned());
        let channel = entry.or_insert_with(|| json!({ "address": address, "messages": {} }));
        channel["messages"][message] = json!({ "$ref": format!("#/components/messages/{message}") });
    }
}
