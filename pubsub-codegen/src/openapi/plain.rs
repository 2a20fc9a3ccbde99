//! The plain endpoints: bare JSON, and SSE.

use pubsub_core::rpc::FailureCode::{
    BadRequest, Conflict, Forbidden, NotFound, PayloadTooLarge, PreconditionFailed, ServiceUnavailable,
    TooManyRequests, Unauthorized, UnsupportedMediaType,
};
use serde_json::{Map, Value, json};

use super::{
    model::{channel, event_name, limit, on_gap},
    operation::{answer, body, header, in_path, position, query, responses, stream},
    schema_ref,
};

pub(super) fn paths() -> Map<String, Value> {
    let mut paths = Map::new();
    for part in [events(), channels(), service()] {
        if let Value::Object(mut part) = part {
            paths.append(&mut part);
        }
    }
    paths
}

/// An operation that needs nothing but its name and its answers.
fn operation(id: &str, tag: &str, summary: &str, responses: &Value) -> Value {
    json!({ "operationId": id, "tags": [tag], "summary": summary, "responses": responses })
}

fn events() -> Value {
    let several = |items: Value, least: u32, most: u32| json!({ "type": "array", "items": items, "minItems": least, "maxItems": most });
    let mut channels = query("channel", "The channels; repeat it for several.", &several(channel(), 1, 32));
    channels["required"] = json!(true);
    let [last_event_id, position] = position();
    let mut live = stream(
        "`event`, `id` (a cursor) and `data` of each event. `pubsub:gap` tells where events may be missing.",
        "EventEnvelope",
    );
    live["headers"] = json!({
        "pubsub-last-event-id": {
            "description": "The cursor after which the stream starts, or `earliest`, when a position was asked for.",
            "schema": { "type": "string" },
        },
    });
    let mut listen = operation(
        "streamEvents",
        "events",
        "The events of channels as they come",
        &responses(
            &[("200", live)],
            &[BadRequest, Unauthorized, Forbidden, NotFound, PreconditionFailed, TooManyRequests],
        ),
    );
    listen["parameters"] = json!([
        channels,
        query("event", "Only events of these names.", &json!({ "type": "array", "items": event_name() })),
        last_event_id,
        position,
        query("onGap", "What to do when the position is gone.", &on_gap()),
        query(
            "named",
            "`false` leaves out `event:`, so that `onmessage` fires.",
            &json!({ "type": "boolean", "default": true })
        ),
    ]);
    listen["security"] = json!([{}, { "bearer": [] }, { "connectionParams": [] }, { "ticket": [] }]);

    let mut send = operation(
        "sendEvent",
        "events",
        "Sends an event as a client: its action runs, then it is published",
        &responses(
            &[(
                "200",
                answer("Done, now or by an earlier call of the same `clientEventId`.", &schema_ref("SendEventOutput")),
            )],
            &CALL_FAILURES,
        ),
    );
    send["parameters"] = json!([header(
        "idempotency-key",
        "The `clientEventId`, when the body has none.",
        &json!({ "type": "string", "pattern": "^[!-~]{1,128}$" }),
    )]);
    send["requestBody"] = body(&schema_ref("SendEventInput"), true);
    json!({ "/events": { "get": listen, "post": send } })
}

/// How a call with a body may fail.
pub(super) const CALL_FAILURES: [pubsub_core::rpc::FailureCode; 9] = [
    BadRequest,
    Unauthorized,
    Forbidden,
    NotFound,
    Conflict,
    PayloadTooLarge,
    UnsupportedMediaType,
    TooManyRequests,
    ServiceUnavailable,
];

fn channels() -> Value {
    let reading = [BadRequest, Unauthorized, Forbidden, NotFound, PreconditionFailed, ServiceUnavailable];
    let mut list = operation(
        "listChannels",
        "events",
        "The channels that the caller may read",
        &responses(&[("200", answer("The channels.", &schema_ref("ChannelList")))], &[BadRequest, Unauthorized]),
    );
    list["parameters"] = json!([query("family", "Only channels of this family.", &json!({ "type": "string" }))]);

    let mut publish = operation(
        "publish",
        "events",
        "Puts an event on a channel; no action runs",
        &responses(&[("200", answer("The broker has it.", &schema_ref("PublishOutput")))], &CALL_FAILURES),
    );
    publish["parameters"] = json!([in_path("channel", "The channel.", &channel())]);
    publish["requestBody"] = body(&schema_ref("PublishToChannelInput"), true);

    let mut history = operation(
        "fetchHistory",
        "events",
        "Past events of a channel, oldest first",
        &responses(&[("200", answer("The events.", &schema_ref("History")))], &reading),
    );
    history["parameters"] = json!([
        in_path("channel", "The channel.", &channel()),
        query("after", "The cursor after which to start.", &json!({ "type": "string", "maxLength": 2048 })),
        query("since", "Only events later than this.", &json!({ "type": "string", "format": "date-time" })),
        query("limit", "The most events to answer.", &limit()),
    ]);
    json!({
        "/channels": { "get": list },
        "/channels/{channel}/events": { "post": publish },
        "/channels/{channel}/history": { "get": history },
    })
}

fn service() -> Value {
    let either = |id: &str, summary: &str, schema: &str| {
        let schema = schema_ref(schema);
        let answers = [("200", answer("Yes.", &schema)), ("503", answer("No.", &schema))];
        operation(id, "service", summary, &responses(&answers, &[]))
    };
    let document = |id: &str, summary: &str| {
        let found = answer("The document.", &json!({ "type": "object" }));
        operation(id, "service", summary, &responses(&[("200", found)], &[]))
    };
    let text = |media: &str| {
        let content = json!({ (media): { "schema": { "type": "string" } } });
        json!({ "description": "The text.", "content": content })
    };
    let status = responses(&[("200", answer("The status.", &schema_ref("ServiceStatus")))], &[Unauthorized]);
    let ticket = responses(
        &[("200", answer("It serves once, within 60 seconds.", &schema_ref("SseTicket")))],
        &[Unauthorized, TooManyRequests, ServiceUnavailable],
    );
    let plain = responses(&[("200", text("text/plain"))], &[]);
    let page = responses(&[("200", text("text/html"))], &[Unauthorized, NotFound]);
    json!({
        "/status": { "get": operation("getServiceStatus", "service", "What the service does", &status) },
        "/health": { "get": either("health", "Whether the service is healthy", "HealthReport") },
        "/livez": { "get": operation("livez", "service", "Whether the process lives", &plain) },
        "/readyz": { "get": either("readyz", "Whether all that is needed is up, part by part", "Readiness") },
        "/metrics": { "get": operation("metrics", "service", "Counters in the text form of Prometheus", &plain) },
        "/sse-ticket": {
            "post": operation("createSseTicket", "events", "A ticket for a stream whose headers cannot be set", &ticket),
        },
        "/_dashboard": { "get": operation("dashboard", "service", "The live page, where it is mounted", &page) },
        "/openapi.json": { "get": document("openapi", "This document") },
        "/asyncapi.json": { "get": document("asyncapi", "Channels and messages as AsyncAPI 3.0") },
    })
}
