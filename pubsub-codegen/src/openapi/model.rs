//! The schemas that the HTTP surface has whatever the catalog holds.

use serde_json::{Map, Value, json};

use super::schema_ref;
use crate::{Contract, Contracts, names::Types};

const CHANNEL: &str = "^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$";
const EVENT: &str = r"^[^:\s]+:[^:\s]+$";

pub(super) fn channel() -> Value {
    json!({ "type": "string", "pattern": CHANNEL })
}

pub(super) fn event_name() -> Value {
    json!({ "type": "string", "pattern": EVENT, "maxLength": 128 })
}

fn id() -> Value {
    json!({ "type": "string", "pattern": "^[!-~]{1,128}$" })
}

pub(super) fn on_gap() -> Value {
    json!({ "type": "string", "enum": ["replay", "error"], "default": "replay" })
}

/// An object of these properties, of which these are required.
fn object(properties: &Value, required: &[&str]) -> Value {
    json!({ "type": "object", "properties": properties, "required": required })
}

/// An object all of whose properties are always there.
fn whole(properties: &Value) -> Value {
    let mut names: Vec<&str> =
        properties.as_object().into_iter().flat_map(|map| map.keys().map(String::as_str)).collect();
    names.sort_unstable(); // in whatever order a map keeps them
    object(properties, &names)
}

pub(super) fn schemas(contracts: &Contracts, types: &Types) -> Map<String, Value> {
    let mut schemas = Map::new();
    for part in [values(), answers(), inputs(contracts, types)] {
        if let Value::Object(mut part) = part {
            schemas.append(&mut part);
        }
    }
    schemas
}

/// Events, and what goes with them.
fn values() -> Value {
    let meta = json!({
        "type": "object",
        "description": "What goes with an event. `clientEventId`, `correlationId`, `userId` and `source` are the server's.",
        "properties": {
            "clientEventId": id(), "correlationId": { "type": "string" }, "userId": { "type": "string" },
            "source": { "enum": ["api", "action"] }, "version": { "type": "integer", "minimum": 1 },
            "key": { "type": "string" },
        },
        "additionalProperties": true,
    });
    let envelope = json!({
        "type": "object",
        "description": "An event. A payload that is not JSON comes as `payloadBase64` with its `contentType`.",
        "properties": {
            "id": id(), "name": event_name(), "channel": channel(), "payload": true,
            "payloadBase64": { "type": "string", "contentEncoding": "base64" }, "contentType": { "type": "string" },
            "timestamp": { "type": "string", "format": "date-time" }, "meta": schema_ref("EventMeta"),
        },
        "required": ["id", "name", "channel", "timestamp"],
    });
    let error = whole(&json!({
        "message": { "type": "string" },
        "code": { "type": "integer", "description": "The number of JSON-RPC." },
        "data": object(
            &json!({
                "code": { "type": "string", "description": "The name, such as `NOT_FOUND`." },
                "httpStatus": { "type": "integer", "minimum": 400, "maximum": 599 },
                "path": { "type": "string", "description": "The procedure that was called." },
                "issues": { "type": "array", "items": schema_ref("Issue") },
            }),
            &["code", "httpStatus"],
        ),
    }));
    json!({
        "Cursor": {
            "type": "string", "minLength": 1, "maxLength": 2048,
            "description": "A position in a channel, or in several. Opaque: clients never read it.",
        },
        "EventMeta": meta,
        "EventEnvelope": envelope,
        "Item": whole(&json!({ "id": schema_ref("Cursor"), "data": schema_ref("EventEnvelope") })),
        "Issue": whole(&json!({
            "pointer": { "type": "string", "description": "JSON pointer (RFC 6901) into the payload or the input." },
            "message": { "type": "string" },
        })),
        "ErrorObject": error,
        "ErrorResponse": whole(&json!({ "error": schema_ref("ErrorObject") })),
    })
}

/// What endpoints answer.
fn answers() -> Value {
    let text = || json!({ "type": "string" });
    let count = || json!({ "type": "integer", "minimum": 0 });
    let time = || json!({ "type": "string", "format": "date-time" });
    let texts = || json!({ "type": "array", "items": { "type": "string" } });
    let maybe = |kind: &str| json!({ "type": [kind, "null"] });
    let cursor_or_null = || json!({ "anyOf": [schema_ref("Cursor"), { "type": "null" }] });
    let definition = whole(&json!({
        "name": event_name(), "channel": channel(), "direction": { "enum": ["SSE", "CSE", "BOTH", "INTERNAL"] },
        "description": maybe("string"), "version": { "type": ["integer", "null"], "minimum": 1 },
        "payloadSchema": { "type": ["object", "boolean", "null"], "description": "JSON Schema." },
    }));
    json!({
        "PublishOutput": whole(&json!({
            "success": { "const": true }, "eventId": text(), "channel": channel(), "cursor": cursor_or_null(),
            "timestamp": time(), "duplicate": { "type": "boolean" },
        })),
        "SendEventOutput": whole(&json!({
            "success": { "const": true }, "status": { "const": "success" }, "eventId": text(), "channel": channel(),
            "requestId": text(), "result": { "description": "What the action returned; `null` without action." },
            "emittedEvents": { "type": "array", "items": schema_ref("EventEnvelope") },
            "duplicate": { "type": "boolean" }, "message": text(),
        })),
        "History": whole(&json!({
            "channel": channel(), "items": { "type": "array", "items": schema_ref("Item") },
            "hasMore": { "type": "boolean" }, "latest": cursor_or_null(),
        })),
        "ChannelInfo": whole(&json!({
            "name": text(), "pattern": { "type": "boolean" }, "family": maybe("string"),
            "description": maybe("string"), "eventTypes": texts(), "ordered": { "type": "boolean" },
            "historySize": maybe("integer"), "historyRetentionMs": maybe("integer"),
            "maxSubscribers": maybe("integer"), "maxEventSize": maybe("integer"), "activeSubscribers": count(),
            "latest": cursor_or_null(),
        })),
        "ChannelList": whole(&json!({ "channels": { "type": "array", "items": schema_ref("ChannelInfo") } })),
        "EventDefinition": definition,
        "EventDefinitions": whole(&json!({
            "events": texts(),
            "definitions": { "type": "object", "additionalProperties": schema_ref("EventDefinition") },
            "totalEvents": count(),
        })),
        "ServiceStatus": whole(&json!({
            "status": { "enum": ["running", "draining", "degraded"] }, "version": text(), "adapter": text(),
            "eventsRegistered": count(), "channels": texts(), "activeSubscribers": count(),
            "uptime": { "type": "number", "minimum": 0, "description": "Seconds." }, "timestamp": time(),
        })),
        "SubscriptionStats": whole(&json!({
            "totalSubscriptions": count(), "activeChannels": texts(),
            "perChannel": { "type": "object", "additionalProperties": count() }, "slowConsumersDropped": count(),
            "connectionStatus": text(), "lastActivity": { "type": ["string", "null"] },
        })),
        "HealthReport": whole(&json!({ "healthy": { "type": "boolean" }, "details": true })),
        "Readiness": whole(&json!({
            "ready": { "type": "boolean" },
            "parts": { "type": "object", "additionalProperties": object(
                &json!({ "ready": { "type": "boolean" }, "reason": text() }),
                &["ready"],
            ) },
        })),
        "SseTicket": whole(&json!({ "ticket": text(), "expiresAt": time() })),
    })
}

/// What callers send.
fn inputs(contracts: &Contracts, types: &Types) -> Value {
    let publishable: Vec<_> = contracts.newest().filter(|contract| contract.direction.to_clients()).collect();
    let sendable: Vec<_> = contracts.newest().filter(|contract| contract.direction.from_clients()).collect();
    let payloads = |events: &[&Contract]| -> Vec<Value> {
        let named = |contract: &&Contract| {
            let properties = json!({
                "name": { "const": contract.name }, "payload": schema_ref(&types.get(contract).payload),
            });
            json!({ "properties": properties })
        };
        events.iter().map(named).collect()
    };
    let declared: Vec<_> = publishable.iter().map(|contract| contract.name.as_str()).collect();
    let undeclared = json!({ "properties": { "name": { "not": { "enum": declared } } } });
    let mut published = payloads(&publishable);
    published.push(undeclared);

    let event = json!({
        "name": event_name(), "payload": { "description": "Absent is `null`." }, "id": id(),
        "meta": { "type": "object" }, "correlationId": { "type": "string" },
    });
    let mut publish = object(&event, &["name"]);
    publish["anyOf"] = json!(published);
    let mut publish_input = publish.clone();
    publish_input["properties"]["channel"] = channel();
    publish_input["required"] = json!(["channel", "name"]);

    let mut send = object(
        &json!({
            "name": event_name(), "payload": { "description": "Absent is `null`." }, "channel": channel(),
            "clientEventId": id(), "correlationId": { "type": "string" },
            "options": object(
                &json!({
                    "clientEventId": id(), "correlationId": { "type": "string" }, "immediate": { "type": "boolean" },
                }),
                &[],
            ),
        }),
        &["name"],
    );
    if !sendable.is_empty() {
        send["anyOf"] = json!(payloads(&sendable));
    }
    json!({
        "PublishToChannelInput": publish,
        "PublishInput": publish_input,
        "SendEventInput": send,
        "FetchHistoryInput": object(
            &json!({
                "channel": channel(), "after": schema_ref("Cursor"),
                "since": { "type": "string", "format": "date-time" }, "limit": limit(),
            }),
            &["channel"],
        ),
        "ListChannelsInput": object(&json!({ "family": { "type": "string" } }), &[]),
        "GetChannelInfoInput": object(&json!({ "channel": channel() }), &["channel"]),
        "ResumeInput": object(&resume(), &[]),
        "SubscribeInput": subscribe(),
    })
}

pub(super) fn limit() -> Value {
    json!({ "type": "integer", "minimum": 1, "maximum": 1000, "default": 100 })
}

fn resume() -> Value {
    json!({ "lastEventId": { "type": "string", "maxLength": 2048 }, "onGap": on_gap() })
}

fn subscribe() -> Value {
    let mut properties = resume();
    for (name, schema) in [
        ("channel", channel()),
        ("channels", json!({ "type": "array", "items": channel(), "minItems": 1, "maxItems": 32 })),
        ("eventTypes", json!({ "type": "array", "items": { "type": "string" } })),
        ("cursor", json!({ "type": "string", "maxLength": 2048 })),
    ] {
        properties[name] = schema;
    }
    let names = json!({ "anyOf": [{ "type": "string" }, { "type": "array", "items": { "type": "string" } }] });
    properties["filters"] = object(&json!({ "name": names }), &[]);
    let mut subscribe = object(&properties, &[]);
    subscribe["oneOf"] = json!([{ "required": ["channel"] }, { "required": ["channels"] }]);
    subscribe
}
