//! Event streams.

use std::time::Duration;

use futures_util::StreamExt;
use tokio::time::Instant;

use super::*;

const CONNECTED: &str = "retry: 2000\nevent: connected\ndata: {\"reconnectAfterInactivityMs\":45000}\n\n";

fn opened(got: &Got) -> Value {
    assert_eq!(got.status, StatusCode::OK);
    assert_eq!(got.header("content-type"), "text/event-stream");
    assert_eq!(got.header("cache-control"), "no-cache, no-transform");
    assert_eq!(got.header("x-accel-buffering"), "no");
    assert_eq!(got.header("vary"), "trpc-accept, accept");
    let events = got.text.strip_prefix(CONNECTED).unwrap();
    let (first, second) = events.split_once("\n\n").unwrap();
    assert_eq!(second, "id: c2\ndata: 2\n\n");
    serde_json::from_str(first.strip_prefix("id: c1\ndata: ").unwrap()).unwrap()
}

/// The code of the error that ends a stream which says nothing else.
fn failed(got: &Got) -> String {
    assert_eq!(got.status, StatusCode::OK);
    assert_eq!(got.header("content-type"), "text/event-stream");
    let error = got.text.split_once("\n\nevent: serialized-error\ndata: ").unwrap().1;
    let error: Value = serde_json::from_str(error.strip_suffix("\n\n").unwrap()).unwrap();
    assert!(error["code"].is_i64() && error["message"].is_string());
    assert!(error["data"]["path"].is_string());
    error["data"]["code"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn a_subscription_is_a_stream_of_events_with_ids() {
    let asking = asking();
    let input = json!({ "channel": "orders" });
    let params = encoded(&json!({ "token": "me" }));
    let got = asking.get(&format!("/trpc/live?connectionParams={params}&input={}", encoded(&input))).await;
    assert_eq!(opened(&got), json!({ "caller": "me", "input": input.to_string(), "position": null }));
    let plain = asking_with(|settings| settings.reconnect_after_inactivity = None);
    assert!(plain.get("/trpc/live").await.text.starts_with("retry: 2000\nevent: connected\ndata: {}\n\n"));
}

#[tokio::test]
async fn where_it_starts_is_said_by_the_header_then_by_the_query() {
    let asking = asking();
    let position = async |header: Option<&str>, query: &str| {
        let mut request = Request::get(format!("/trpc/live?input=1{query}"));
        if let Some(header) = header {
            request = request.header("Last-Event-ID", header);
        }
        opened(&asking.ask(request.body(Body::empty()).unwrap()).await)["position"].clone()
    };
    assert_eq!(position(None, "").await, Value::Null);
    assert_eq!(position(Some("h"), "&lastEventId=q&Last-Event-Id=Q").await, "h");
    assert_eq!(position(Some(""), "&Last-Event-Id=Q&lastEventId=q").await, "q");
    assert_eq!(position(None, "&Last-Event-Id=Q").await, "Q");
    assert_eq!(position(None, "&lastEventId=&Last-Event-Id=Q").await, "Q");
    assert_eq!(position(Some(""), "&lastEventId=").await, Value::Null);
}

#[tokio::test]
async fn a_foreign_position_is_told_as_it_is() {
    let value = http::HeaderValue::from_bytes(b"\xff").unwrap();
    let request = Request::get("/trpc/live").header("last-event-id", value).body(Body::empty()).unwrap();
    assert_eq!(opened(&asking().ask(request).await)["position"], "\u{fffd}");
}

#[tokio::test]
async fn errors_of_a_subscription_that_exists_are_in_the_stream() {
    let asking = asking();
    assert_eq!(failed(&asking.get("/trpc/live?input=%7B").await), "BAD_REQUEST");
    let token = encoded(&json!({ "token": "bad" }));
    let got = asking.get(&format!("/trpc/live?connectionParams={token}")).await;
    assert_eq!(failed(&got), "UNAUTHORIZED");
    assert!(got.text.starts_with(CONNECTED));
    let got = asking.post("/trpc/live", "1").await;
    assert_eq!((failed(&got).as_str(), got.header("allow")), ("METHOD_NOT_SUPPORTED", "GET"));
    let got = asking.get("/trpc/live?input=%22later%22").await;
    assert_eq!(failed(&got), "SERVICE_UNAVAILABLE");
    assert!(got.text.starts_with("retry: 700\nevent: connected\n"), "{}", got.text);
    let request = Request::get("/trpc/no.such").header("accept", "text/event-stream").body(Body::empty()).unwrap();
    assert_eq!(asking.ask(request).await.refusal(), "NOT_FOUND");
}

#[tokio::test]
async fn a_subscription_comes_by_post_where_that_is_allowed() {
    let asking = asking_with(|settings| settings.method_override = true);
    assert_eq!(opened(&asking.post("/trpc/live", "{\"a\":1}").await)["input"], "{\"a\":1}");
}

#[tokio::test(start_paused = true)]
async fn silence_is_broken_by_pings() {
    let begun = Instant::now();
    let mut body =
        asking().send(Request::get("/trpc/silent").body(Body::empty()).unwrap()).await.into_body().into_data_stream();
    assert_eq!(body.next().await.unwrap().unwrap(), CONNECTED);
    assert_eq!(begun.elapsed(), Duration::ZERO);
    for round in 1..=3 {
        assert_eq!(body.next().await.unwrap().unwrap(), "event: ping\ndata: \n\n");
        assert!((15 * round..=15 * round + 1).contains(&begun.elapsed().as_secs()));
    }
}

#[tokio::test(start_paused = true)]
async fn a_ping_comes_after_silence_only() {
    let events = futures_util::stream::unfold(0, |count| async move {
        tokio::time::sleep(Duration::from_secs(if count < 3 { 10 } else { 20 })).await;
        (count < 5).then(|| (bytes::Bytes::from(count.to_string()), count + 1))
    });
    let body = crate::sse::EventBody::new("first".into(), events, |_| "beat".into(), Duration::from_secs(15));
    let parts = Body::new(body).into_data_stream().map(|part| String::from_utf8(part.unwrap().into()).unwrap());
    let parts: Vec<_> = parts.collect().await;
    assert_eq!(parts, ["first", "0", "1", "2", "beat", "3", "beat", "4", "beat"]);
}
