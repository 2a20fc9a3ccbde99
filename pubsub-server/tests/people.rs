//! Who may do what, and that nobody sees what is another's.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod common;

use std::time::Duration;

use common::{Site, actions, bus, open};
use pubsub::{
    PubSub,
    server::{Access, Cors, Operation, Server, Tokens, User, WebPolicy},
};
use reqwest::header::{HeaderMap, HeaderValue};
use serde_json::{Value, json};

async fn secured() -> (Site, PubSub) {
    let bus = bus("memory:").await;
    let secure = WebPolicy::new("secure.*")
        .read(Access::scope("reader"))
        .write(Access::scope("writer"))
        .publish(Access::scope("writer"));
    let site = Site::of(open(&bus).channel(secure).channel(WebPolicy::new("quiet.*")).cookie("session")).await;
    (site, bus)
}

fn bearer(token: &str) -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.insert("authorization", HeaderValue::from_str(&format!("Bearer {token}")).unwrap());
    headers
}

#[tokio::test]
async fn scopes_are_asked_for() {
    let (site, _bus) = secured().await;
    let event = json!({ "name": "demo:x" });
    assert_eq!(site.post("/channels/secure.a/events", &event).await.0, 401);
    assert_eq!(site.post_as("reader-token", "/channels/secure.a/events", &event).await.0, 403);
    assert_eq!(site.post_as("wrong", "/channels/secure.a/events", &event).await.0, 401);
    assert_eq!(site.post_as("wrong", "/channels/demo.a/events", &event).await.0, 401, "also where none are needed");
    assert_eq!(site.post_as("writer-token", "/channels/secure.a/events", &event).await.0, 200);
    assert_eq!(site.post_as("writer-token", "/channels/quiet.a/events", &event).await.0, 403, "nobody may");
    assert_eq!(site.stream("channel=secure.a").await.status, 401);
    assert_eq!(site.stream("channel=demo.a&channel=secure.a").await.status, 401);
    assert_eq!(site.stream_with("channel=secure.a", bearer("reader-token")).await.status, 200);
    let params = |text: &str| format!("channel=secure.a&connectionParams={text}");
    assert_eq!(site.stream(&params("%7B%22token%22%3A%22reader-token%22%7D")).await.status, 200);
    assert_eq!(site.stream(&params("%7B%22token%22%3A%22wrong%22%7D")).await.status, 401);
    let malformed = site.stream(&params("%7B%22token%22%3A7%7D")).await;
    assert_eq!(malformed.status, 400);
    assert_eq!(malformed.error().await["error"]["data"]["code"], "PARSE_ERROR");
    let mut cookie = HeaderMap::new();
    cookie.insert("cookie", HeaderValue::from_static("a=b; session=reader-token"));
    assert_eq!(site.stream_with("channel=secure.a", cookie).await.status, 200);
    let mut basic = HeaderMap::new();
    basic.insert("authorization", HeaderValue::from_static("Basic eDp5"));
    assert_eq!(site.stream_with("channel=demo.a", basic).await.status, 401);
    assert_eq!(site.get("/channels/secure.a/history").await.0, 401);
    // Lists hide what may not be read.
    let list = site.get("/channels").await.1.to_string();
    assert!(!list.contains("secure") && list.contains("quiet"), "{list}");
    let status = site.get("/status").await.1.to_string();
    assert!(!status.contains("secure"), "{status}");
    // Probes and documents answer whatever the credentials.
    for path in ["/health", "/trpc/pubsub.health", "/openapi.json", "/asyncapi.json", "/livez", "/readyz"] {
        let answer = site.client.get(format!("{}{path}", site.url)).bearer_auth("wrong").send().await.unwrap();
        assert_eq!(answer.status(), 200, "{path}");
    }
    let answer = site.client.get(format!("{}/status", site.url)).bearer_auth("wrong").send().await.unwrap();
    assert_eq!(answer.status(), 401);
}

#[tokio::test]
async fn a_ticket_opens_one_stream() {
    let (site, _bus) = secured().await;
    assert_eq!(site.post("/sse-ticket", &json!({})).await.0, 401);
    let (status, given) = site.post_as("reader-token", "/sse-ticket", &json!({})).await;
    assert_eq!(status, 200);
    assert!(given["expiresAt"].as_str().unwrap().ends_with('Z'));
    let query = format!("channel=secure.a&ticket={}", given["ticket"].as_str().unwrap());
    assert_eq!(site.stream(&query).await.status, 200);
    assert_eq!(site.stream(&query).await.status, 401, "it was used");
    assert_eq!(site.stream("channel=demo.a&ticket=forged").await.status, 401);
}

#[tokio::test]
async fn the_application_decides_in_place_of_scopes() {
    let bus = bus("memory:").await;
    let hook = |user: Option<&User>, channel: &pubsub::ChannelName, operation: Operation| {
        user.is_some_and(|user| channel.as_str() == format!("demo.{}", user.id)) && operation != Operation::Publish
    };
    let site = Site::of(open(&bus).authorize(hook)).await;
    assert_eq!(site.stream_with("channel=demo.reader", bearer("reader-token")).await.status, 200);
    assert_eq!(site.stream_with("channel=demo.writer", bearer("reader-token")).await.status, 403);
    assert_eq!(site.stream("channel=demo.reader").await.status, 401);
    let event = json!({ "name": "demo:x" });
    assert_eq!(site.post_as("reader-token", "/channels/demo.reader/events", &event).await.0, 403);
}

/// The canary: everything that is a user's own carries the user's name, and must be nowhere else.
#[tokio::test]
async fn no_event_of_one_user_reaches_another() {
    let bus = bus("memory:").await;
    let (running, _) = actions(&bus).await;
    let tokens = Tokens::new().with("a", User::new("alice", ["x"])).with("b", User::new("bob", ["x"]));
    let builder = Server::builder(&bus)
        .channel(WebPolicy::public("orders"))
        .channel(WebPolicy::public("demo.*"))
        .authenticate(tokens)
        .actions(running.clone())
        // Emitted events are the user's own by the name that the server puts there.
        .visible(|user, event| event.meta.user_id.as_deref() == user.map(|user| user.id.as_str()));
    let site = Site::of(builder).await;
    let order =
        |who: &str| json!({ "name": "orders:created", "payload": { "orderId": format!("of-{who}"), "total": 1.0 } });
    let mut cursors = Vec::new();
    for (token, who) in [("a", "alice"), ("b", "bob"), ("a", "alice"), ("b", "bob")] {
        let out = site.post_as(token, "/events", &order(who)).await.1;
        assert_eq!(out["emittedEvents"].as_array().unwrap().len(), 2, "{out}");
        let text = out["emittedEvents"].to_string();
        assert!(text.contains(who) && !text.contains(if who == "alice" { "bob" } else { "alice" }), "{text}");
        let published = json!({ "name": "demo:x", "payload": format!("of-{who}") });
        let out = site.post_as(token, "/channels/demo.a/events", &published).await.1;
        cursors.push(out["cursor"].as_str().unwrap().to_owned());
    }
    for (token, who, other) in [("a", "alice", "bob"), ("b", "bob", "alice")] {
        for query in [
            "channel=orders&lastEventId=earliest".to_owned(),
            "channel=demo.a&lastEventId=earliest".to_owned(),
            "channel=demo.a&channel=orders&lastEventId=earliest&named=false".to_owned(),
        ] {
            let mut replayed = site.stream_with(&query, bearer(token)).await;
            // Live ones of both follow; the user's own last one says that all was seen.
            site.post_as(if token == "a" { "b" } else { "a" }, "/events", &order(other)).await;
            site.post_as(token, "/events", &order(who)).await;
            let mark = json!({ "name": "demo:mark", "payload": who });
            site.post_as(token, "/channels/demo.a/events", &mark).await;
            let mut seen = 0;
            loop {
                let block = replayed.event().await.unwrap();
                let text = block.data.unwrap();
                assert!(text.contains(who) && !text.contains(other), "{token}: {text}");
                seen += 1;
                let done = if query.contains("demo.a") { text.contains("demo:mark") } else { seen >= 6 };
                if done {
                    break;
                }
            }
        }
        for path in ["/channels/orders/history", "/channels/demo.a/history?limit=2"] {
            let page = site.client.get(format!("{}{path}", site.url)).bearer_auth(token).send().await.unwrap();
            let page: Value = page.json().await.unwrap();
            let items = page["items"].to_string();
            assert!(items.contains(who) && !items.contains(other), "{items}");
        }
    }
    let nobody = site.get("/channels/orders/history").await.1;
    assert_eq!(nobody["items"], json!([]), "anonymous callers see no user's events");
}

#[tokio::test]
async fn pages_of_other_origins_are_let_in_by_name() {
    let bus = bus("memory:").await;
    let site = Site::of(open(&bus).cors(Cors::origins(["https://shop.example"]).credentials())).await;
    let preflight = |origin: &'static str| {
        let request = site.client.request(reqwest::Method::OPTIONS, format!("{}/events", site.url));
        let request = request.header("origin", origin).header("access-control-request-method", "POST");
        request.header("access-control-request-headers", "content-type,authorization").send()
    };
    let good = preflight("https://shop.example").await.unwrap();
    let header = |name: &str| good.headers().get(name).map(|value| value.to_str().unwrap().to_ascii_lowercase());
    assert_eq!(header("access-control-allow-origin").as_deref(), Some("https://shop.example"));
    assert_eq!(header("access-control-allow-credentials").as_deref(), Some("true"));
    assert_eq!(header("access-control-allow-methods").as_deref(), Some("get,post,head"));
    let allowed = header("access-control-allow-headers").unwrap();
    for name in ["content-type", "authorization", "trpc-accept", "last-event-id", "idempotency-key"] {
        assert!(allowed.contains(name), "{allowed}");
    }
    let bad = preflight("https://evil.example").await.unwrap();
    assert!(bad.headers().get("access-control-allow-origin").is_none());
    let mut origin = HeaderMap::new();
    origin.insert("origin", HeaderValue::from_static("https://shop.example"));
    for query in ["channel=demo.a", "channel=none"] {
        let stream = site.stream_with(query, origin.clone()).await;
        assert_eq!(stream.header("access-control-allow-origin"), Some("https://shop.example"), "errors, too");
        assert_eq!(stream.header("access-control-expose-headers"), Some("pubsub-last-event-id"));
    }
    assert!(open(&bus).cors(Cors::any().credentials()).build().is_err());
    assert!(open(&bus).cors(Cors::origins(["shop.example"])).build().is_err());
    tokio::time::timeout(Duration::from_secs(5), site.stop()).await.unwrap();
}
