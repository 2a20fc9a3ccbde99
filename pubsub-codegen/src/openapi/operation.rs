//! What operations are made of: parameters, bodies, answers, and the errors that all of them share.

use std::collections::BTreeMap;

use pubsub_core::rpc::FailureCode;
use serde_json::{Map, Value, json};

use super::schema_ref;
use crate::names::pascal_case;

/// `NOT_FOUND` as `NotFound`.
fn response_name(code: FailureCode) -> String {
    pascal_case(&code.as_str().to_ascii_lowercase())
}

/// The answer of each failure code, and `Failure` for all others: one object, whatever the endpoint.
pub(super) fn error_responses() -> Map<String, Value> {
    let response = |description: &str, waits: bool| {
        let mut response = json!({
            "description": description,
            "content": { "application/json": { "schema": schema_ref("ErrorResponse") } },
        });
        if waits {
            response["headers"] = json!({
                "retry-after": { "description": "Seconds to wait.", "schema": { "type": "integer", "minimum": 0 } },
            });
        }
        response
    };
    let of = |&code: &FailureCode| {
        let waits = matches!(code, FailureCode::TooManyRequests | FailureCode::ServiceUnavailable);
        (response_name(code), response(&format!("`{}`", code.as_str()), waits))
    };
    let mut all: Map<String, Value> = FailureCode::ALL.iter().map(of).collect();
    all.insert("Failure".into(), response("Any other failure.", false));
    all
}

/// The answers of an operation: those of success, the failures that the contract names, and any other.
pub(super) fn responses(success: &[(&str, Value)], failures: &[FailureCode]) -> Value {
    let named = |name: &str| json!({ "$ref": format!("#/components/responses/{name}") });
    let mut all: BTreeMap<String, Value> =
        failures.iter().map(|&code| (code.http_status().to_string(), named(&response_name(code)))).collect();
    all.extend(success.iter().map(|(status, response)| ((*status).to_owned(), response.clone())));
    all.insert("default".into(), named("Failure"));
    json!(all)
}

/// An answer in JSON.
pub(super) fn answer(description: &str, schema: &Value) -> Value {
    json!({ "description": description, "content": { "application/json": { "schema": schema } } })
}

/// An answer that is a stream of events, each with data of this schema.
pub(super) fn stream(description: &str, data: &Value) -> Value {
    json!({
        "description": description,
        "content": { "text/event-stream": { "schema": { "type": "string" }, "x-sse-data": data } },
    })
}

/// A body in JSON.
pub(super) fn body(schema: &Value, required: bool) -> Value {
    json!({ "required": required, "content": { "application/json": { "schema": schema } } })
}

/// A parameter of the query.
pub(super) fn query(name: &str, description: &str, schema: &Value) -> Value {
    json!({ "name": name, "in": "query", "description": description, "schema": schema })
}

/// A header.
pub(super) fn header(name: &str, description: &str, schema: &Value) -> Value {
    json!({ "name": name, "in": "header", "description": description, "schema": schema })
}

/// A parameter of the path.
pub(super) fn in_path(name: &str, description: &str, schema: &Value) -> Value {
    json!({ "name": name, "in": "path", "required": true, "description": description, "schema": schema })
}

/// A parameter of the query that is JSON text.
pub(super) fn json_query(name: &str, description: &str, schema: &Value, required: bool) -> Value {
    json!({
        "name": name, "in": "query", "required": required, "description": description,
        "content": { "application/json": { "schema": schema } },
    })
}

/// What a stream starts after.
pub(super) fn position() -> [Value; 2] {
    let position = json!({ "type": "string", "maxLength": 2048 });
    [
        header("last-event-id", "The cursor after which to start; wins over the query.", &position),
        query("lastEventId", "The cursor after which to start, or `earliest`; empty counts as none.", &position),
    ]
}
