//! Calls: publish, send, history, lists – and that an id is good for one effect.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod common;

use std::{sync::Arc, time::Duration};

use common::{Site, actions, bus, open};
use pubsub::EventRpc;
use serde_json::{Value, json};

fn order(id: &str, total: f64) -> Value {
    json!({ "name": "orders:created", "payload": { "orderId": id, "total": total } })
}

fn with(mut body: Value, key: &str, value: impl Into<Value>) -> Value {
    body[key] = value.into();
    body
}

fn code(answer: &Value) -> &str {
    answer["error"]["data"]["code"].as_str().unwrap_or_else(|| panic!("{answer}"))
}

#[tokio::test]
async fn publishing_follows_the_definitions() {
    let bus = bus("memory:").await;
    let site = Site::of(open(&bus)).await;
    let publish = async |channel: &str, body: Value| site.post(&format!("/channels/{channel}/events"), &body).await;
    let (status, out) = publish("orders", order("o-1", 5.0)).await;
    assert_eq!(status, 200, "{out}");
    assert_eq!((&out["success"], &out["channel"], &out["duplicate"]), (&json!(true), &json!("orders"), &json!(false)));
    let long = "x".repeat(129);
    for (channel, body, expected) in [
        ("orders", json!({ "name": "orders:other" }), "NOT_FOUND"),
        ("orders", json!({ "name": "orders:count", "payload": {} }), "FORBIDDEN"),
        ("orders", json!({ "name": "orders:audited", "payload": { "order": "x" } }), "FORBIDDEN"),
        ("demo.a", order("o-1", 5.0), "BAD_REQUEST"),
        ("orders", json!({ "name": "orders:created", "payload": { "orderId": 7 } }), "BAD_REQUEST"),
        ("orders", json!({ "name": "orders:created" }), "BAD_REQUEST"),
        ("none", json!({ "name": "demo:x" }), "NOT_FOUND"),
        ("_dlq.a.b", json!({ "name": "demo:x" }), "BAD_REQUEST"),
        ("demo.a", json!({ "name": "pubsub:gap" }), "BAD_REQUEST"),
        ("demo.a", json!({ "name": "nocolon" }), "BAD_REQUEST"),
        ("demo.a", json!({ "name": "a:b\nevent: x" }), "BAD_REQUEST"),
        ("demo.a", json!({ "name": format!("a:{long}") }), "BAD_REQUEST"),
        ("demo.a", json!({ "name": "demo:x", "id": "a b" }), "BAD_REQUEST"),
        ("demo.a", json!({ "name": "demo:x", "id": "a\nid: b" }), "BAD_REQUEST"),
        ("demo.a", json!({ "name": "demo:x", "id": long }), "BAD_REQUEST"),
        ("demo.a", json!({ "name": "demo:x", "meta": [] }), "BAD_REQUEST"),
        ("demo.a", json!({ "name": "demo:x", "id": null }), "BAD_REQUEST"),
        ("demo.a", json!({}), "BAD_REQUEST"),
    ] {
        let (status, error) = publish(channel, body.clone()).await;
        assert_eq!(code(&error), expected, "{channel} {body} {error}");
        assert_eq!(error["error"]["data"]["httpStatus"], status.as_u16());
    }
    let faults =
        publish("orders", json!({ "name": "orders:created", "payload": { "orderId": 7, "total": "x" } })).await.1;
    let issues = faults["error"]["data"]["issues"].as_array().unwrap();
    let pointers: Vec<_> = issues.iter().map(|issue| issue["pointer"].as_str().unwrap()).collect();
    assert_eq!(pointers, ["/payload/orderId", "/payload/total"]);
}

#[tokio::test]
async fn what_the_server_says_of_an_event_is_not_the_callers_to_say() {
    let (site, _bus) = Site::simple().await;
    let meta = json!({ "userId": "root", "source": "action", "clientEventId": "x", "correlationId": "y", "mine": [1],
        "key": "k-1", "replyTo": "_inbox.x" });
    let body = json!({ "name": "demo:x", "payload": { "big": 1e300 }, "meta": meta, "correlationId": "c-1" });
    assert_eq!(site.post_as("writer-token", "/channels/demo.a/events", &body).await.0, 200);
    let raw = "{\"name\":\"demo:raw\", \"payload\": {\r\n \"n\" : 12345678901234567890.5,\n\"t\":\"a\\nb\" } }";
    let sent = site.client.post(format!("{}/channels/demo.a/events", site.url));
    let sent = sent.header("content-type", "application/json").body(raw).send().await.unwrap();
    assert_eq!(sent.status(), 200);
    let text = reqwest::get(format!("{}/channels/demo.a/history", site.url)).await.unwrap().text().await.unwrap();
    assert!(text.contains(r#""payload":{"n":12345678901234567890.5,"t":"a\nb"}"#), "digits are kept: {text}");
    let page: Value = serde_json::from_str(&text).unwrap();
    let expected = json!({ "version": 1, "key": "k-1", "userId": "writer", "source": "api", "correlationId": "c-1",
        "mine": [1], "~replyTo": "_inbox.x" });
    assert_eq!(page["items"][0]["data"]["meta"], expected);
    let stamp = page["items"][0]["data"]["timestamp"].as_str().unwrap();
    assert!(stamp.len() == 24 && stamp.ends_with('Z'), "{stamp}");
    let none = site.post("/channels/demo.a/events", &json!({ "name": "demo:none" })).await.1;
    let last = site.get("/channels/demo.a/history?limit=1").await.1["items"][0].clone();
    assert_eq!((&last["data"]["payload"], &last["id"]), (&Value::Null, &none["cursor"]));
}

#[tokio::test]
async fn an_id_is_published_once() {
    let (site, _bus) = Site::simple().await;
    let body = json!({ "name": "demo:x", "payload": 1, "id": "mine-1" });
    let first = site.post("/channels/demo.a/events", &body).await.1;
    let again = site.post("/channels/demo.a/events", &with(body.clone(), "name", "demo:y")).await.1;
    assert_eq!(first["duplicate"], false);
    assert_eq!(again, with(first, "duplicate", true));
    let other = site.post("/channels/demo.b/events", &body).await.1;
    assert_eq!(other["duplicate"], false, "another channel");
    let page = site.get("/channels/demo.a/history").await.1;
    assert_eq!(page["items"].as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn a_sent_event_runs_its_action_and_all_is_published_in_order() {
    let bus = bus("memory:").await;
    let (running, ran) = actions(&bus).await;
    let site = Site::of(open(&bus).actions(running.clone())).await;
    let mut stream = site.stream("channel=orders").await;
    let body = with(order("o-1", 5.0), "correlationId", "c-9");
    let (status, out) = site.post_as("writer-token", "/events", &body).await;
    assert_eq!(status, 200, "{out}");
    assert_eq!((&out["status"], &out["result"]), (&json!("success"), &json!({ "number": 1 })));
    let emitted = out["emittedEvents"].as_array().unwrap();
    let names: Vec<_> = emitted.iter().map(|event| event["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["orders:created", "orders:noted"], "internal ones are not shown");
    assert_eq!(emitted[0]["id"], out["eventId"]);
    for (event, source) in emitted.iter().zip(["api", "action"]) {
        let seen = stream.event().await.unwrap().json();
        assert_eq!(seen, *event);
        assert_eq!((&event["meta"]["source"], &event["meta"]["userId"]), (&json!(source), &json!("writer")));
        assert_eq!(event["meta"]["correlationId"], "c-9");
    }
    assert_eq!(emitted[0]["meta"]["key"], "o-1", "the event's own key");
    // A failure: nothing is published, and its code is passed on.
    let (status, error) = site.post("/events", &order("o-2", -1.0)).await;
    assert_eq!((status.as_u16(), code(&error)), (422, "UNPROCESSABLE_CONTENT"));
    for (body, expected) in [
        (json!({ "name": "orders:nope" }), "NOT_FOUND"),
        (json!({ "name": "orders:noted", "payload": { "order": "x" } }), "FORBIDDEN"),
        (with(order("o-3", 1.0), "channel", "demo.a"), "BAD_REQUEST"),
        (json!({ "name": "orders:created", "payload": {} }), "BAD_REQUEST"),
        (with(order("o-3", 1.0), "clientEventId", "a b"), "BAD_REQUEST"),
        (with(order("o-3", 1.0), "options", json!({ "immediate": "yes" })), "BAD_REQUEST"),
    ] {
        assert_eq!(code(&site.post("/events", &body).await.1), expected, "{body}");
    }
    assert_eq!(ran.count(), 1);
    assert_eq!(site.get("/channels/orders/history").await.1["items"].as_array().unwrap().len(), 2);
    // Generated procedures.
    let made = site.post("/trpc/orders.created", &json!({ "orderId": "o-4", "total": 1 })).await.1;
    assert_eq!(made, json!({ "result": { "data": { "number": 2 } } }));
    let faulty = site.post("/trpc/orders.created", &json!({ "orderId": 4, "total": 1 })).await.1;
    assert_eq!(faulty["error"]["data"]["issues"][0]["pointer"], "/orderId");
    let count = site.get("/trpc/orders.count?input=%7B%7D").await.1;
    assert_eq!(count, json!({ "result": { "data": { "number": 2 } } }));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_id_is_one_effect_however_often_it_is_sent() {
    let bus = bus("memory:").await;
    let (running, ran) = actions(&bus).await;
    let site = Site::of(open(&bus).actions(running.clone())).await;
    let body = with(order("o-1", 2_000.0), "clientEventId", "c-1");
    let calls = (0..12).map(|_| site.post_as("writer-token", "/events", &body));
    let answers = futures_util::future::join_all(calls).await;
    assert_eq!(ran.count(), 1);
    let firsts = answers.iter().filter(|(_, out)| out["duplicate"] == false).count();
    assert_eq!(firsts, 1);
    for (status, out) in &answers {
        assert_eq!(
            (status.as_u16(), &out["eventId"], &out["result"]),
            (200, &answers[0].1["eventId"], &json!({"number": 1}))
        );
    }
    assert_eq!(site.get("/channels/orders/history").await.1["items"].as_array().unwrap().len(), 2);
    // Another payload under the id, and another user's id.
    let other = with(order("o-2", 1.0), "clientEventId", "c-1");
    let (status, error) = site.post_as("writer-token", "/events", &other).await;
    assert_eq!((status.as_u16(), code(&error)), (409, "CONFLICT"));
    assert_eq!(site.post_as("reader-token", "/events", &other).await.1["duplicate"], false);
    // The header counts where the body has none; a failure is not remembered.
    let send = async |total: f64| {
        let request = site.client.post(format!("{}/events", site.url)).header("idempotency-key", "c-7");
        request.json(&order("o-7", total)).send().await.unwrap().json::<Value>().await.unwrap()
    };
    assert_eq!(code(&send(-1.0).await), "UNPROCESSABLE_CONTENT");
    assert_eq!(send(3.0).await["duplicate"], false);
    assert_eq!(send(3.0).await["duplicate"], true);
    assert_eq!(code(&send(4.0).await), "CONFLICT");
}

#[tokio::test]
async fn what_was_begun_ends_also_when_its_client_goes_away() {
    let bus = bus("memory:").await;
    let (running, ran) = actions(&bus).await;
    let site = Site::of(open(&bus).actions(running.clone())).await;
    let body = with(order("o-1", 2_000.0), "clientEventId", "c-1");
    let impatient = site.client.post(format!("{}/events", site.url)).json(&body);
    assert!(impatient.timeout(Duration::from_millis(30)).send().await.unwrap_err().is_timeout());
    let again = site.post("/events", &body).await.1;
    assert_eq!((&again["duplicate"], ran.count()), (&json!(true), 1), "{again}");
}

#[tokio::test]
async fn a_request_without_an_action_here_is_passed_on() {
    let name = format!("memory://{}", uuid::Uuid::new_v4());
    let (edge, service) = (bus(&name).await, bus(&name).await);
    let (running, ran) = actions(&service).await;
    let rpc = Arc::new(EventRpc::new(&edge));
    let site = Site::of(open(&edge).forward(rpc)).await;
    let mut stream = site.stream("channel=orders").await;
    let body = with(order("o-1", 5.0), "clientEventId", "c-1");
    let (status, out) = site.post_as("writer-token", "/events", &body).await;
    assert_eq!((status.as_u16(), &out["result"]), (200, &json!({ "number": 1 })), "{out}");
    // The request itself is the event, once; what the service emits comes by itself.
    let mut seen = [stream.event().await.unwrap().json(), stream.event().await.unwrap().json()];
    seen.sort_by_key(|event| event["name"].as_str().unwrap().to_owned());
    assert_eq!((&seen[0]["id"], &seen[0]["meta"]["userId"]), (&out["eventId"], &json!("writer")));
    assert!(seen[0]["meta"].get("replyTo").is_none() && seen[0]["meta"].get("deadline").is_none());
    assert_eq!(seen[1]["name"], "orders:noted");
    assert_eq!(site.post("/events", &order("o-2", -1.0)).await.0, 422);
    assert_eq!(site.post_as("writer-token", "/events", &body).await.1["duplicate"], true);
    assert_eq!(ran.count(), 1);
    drop(running);
}

#[tokio::test]
async fn history_is_read_forwards_and_from_the_end() {
    let (site, _bus) = Site::simple().await;
    let empty = site.get("/channels/demo.a/history").await.1;
    assert_eq!(empty, json!({ "channel": "demo.a", "items": [], "hasMore": false, "latest": null }));
    let cursors = site.publish("demo.a", 0..30).await;
    let numbers = |page: &Value| -> Vec<u64> {
        let items = page["items"].as_array().unwrap_or_else(|| panic!("{page}")).iter();
        items.map(|item| item["data"]["payload"]["n"].as_u64().unwrap()).collect()
    };
    let page = site.get("/channels/demo.a/history?limit=4").await.1;
    assert_eq!((numbers(&page), &page["hasMore"]), (vec![26, 27, 28, 29], &json!(true)));
    assert_eq!((&page["latest"], &page["items"][3]["id"]), (&json!(cursors[29]), &json!(cursors[29])));
    let page = site.get(&format!("/channels/demo.a/history?limit=4&after={}", cursors[9])).await.1;
    assert_eq!((numbers(&page), &page["hasMore"]), (vec![10, 11, 12, 13], &json!(true)));
    let page = site.get(&format!("/channels/demo.a/history?after={}", cursors[27])).await.1;
    assert_eq!((numbers(&page), &page["hasMore"]), (vec![28, 29], &json!(false)));
    let whole = site.get("/channels/demo.a/history?limit=30").await.1;
    assert_eq!((numbers(&whole).len(), &whole["hasMore"]), (30, &json!(false)));
    let since = whole["items"][0]["data"]["timestamp"].as_str().unwrap().to_owned();
    let later = site.get(&format!("/channels/demo.a/history?since={since}")).await.1;
    assert!(numbers(&later).first().is_some_and(|first| *first > 0));
    let future = site.get("/channels/demo.a/history?since=2999-01-01T00:00:00.000Z").await.1;
    assert_eq!((numbers(&future), &future["hasMore"]), (vec![], &json!(false)));
    let shorts = site.publish("short.a", 0..20).await;
    let (status, error) = site.get(&format!("/channels/short.a/history?after={}", shorts[2])).await;
    assert_eq!((status.as_u16(), code(&error)), (412, "PRECONDITION_FAILED"));
    assert_eq!(site.get(&format!("/channels/short.a/history?after={}", cursors[2])).await.0, 412, "of another channel");
    for bad in ["limit=0", "limit=1001", "limit=x", "since=yesterday", "after=x"] {
        assert_eq!(site.get(&format!("/channels/demo.a/history?{bad}")).await.0, 400, "{bad}");
    }
    assert_eq!(site.get("/channels/none/history").await.0, 404);
}

#[tokio::test]
async fn the_service_tells_of_itself() {
    let bus = bus("memory:").await;
    let site = Site::of(open(&bus).ready_check("database", || Err("it is not there yet".to_owned()))).await;
    site.publish("demo.a", 0..1).await;
    let channels = site.get("/channels").await.1;
    let names: Vec<_> = channels["channels"].as_array().unwrap().iter().map(|info| info["name"].clone()).collect();
    assert_eq!(names, ["demo.*", "short.*", "demo.a", "orders"]);
    let orders = &channels["channels"][3];
    assert_eq!(orders["eventTypes"], json!(["orders:count", "orders:created", "orders:noted"]));
    assert_eq!(site.get("/channels?family=demo").await.1["channels"].as_array().unwrap().len(), 2);
    let events = site.get("/trpc/pubsub.getEventDefinitions").await.1["result"]["data"].clone();
    assert_eq!(events["totalEvents"], 3);
    assert_eq!(events["definitions"]["orders:created"]["direction"], "BOTH");
    assert!(events["definitions"]["orders:created"]["payloadSchema"]["properties"].is_object());
    let status = site.get("/status").await.1;
    assert_eq!((&status["status"], &status["adapter"]), (&json!("running"), &json!("memory")));
    assert_eq!(site.get("/health").await.1["healthy"], true);
    let (code, ready) = site.get("/readyz").await;
    assert_eq!((code.as_u16(), &ready["parts"]["database"]["reason"]), (503, &json!("it is not there yet")));
    for (path, key, version) in [("/openapi.json", "openapi", "3.1"), ("/asyncapi.json", "asyncapi", "3.0")] {
        let document = site.get(path).await.1;
        assert!(document[key].as_str().is_some_and(|text| text.starts_with(version)), "{path}");
    }
    for (path, status) in
        [("/nothing", 404), ("/trpc/nothing", 404), ("/sse-ticket", 405), ("/channels/%ff/history", 400)]
    {
        let (got, error) = site.get(path).await;
        assert_eq!(got, status);
        assert!(error["error"]["code"].is_i64() && error["error"]["message"].is_string(), "{path} {error}");
    }
}
