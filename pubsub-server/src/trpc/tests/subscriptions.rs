//! Event streams.

use super::*;

const CONNECTED: &str = "retry: 2000\nevent: connected\ndata: {\"reconnectAfterInactivityMs\":45000}\n\n";

/// What the stream that was opened was told.
fn opened(got: &Got) -> Value {
    assert_eq!((got.status, got.header("vary")), (StatusCode::OK, "trpc-accept, accept"));
    got.json()
}

/// The code of the error that ends a stream which says nothing else.
fn failed(got: &Got) -> String {
    assert_eq!(got.status, StatusCode::OK);
    assert_eq!(got.header("content-type"), "text/event-stream");
    assert_eq!(got.header("cache-control"), "no-cache, no-transform");
    assert_eq!(got.header("x-accel-buffering"), "no");
    assert_eq!(got.header("vary"), "trpc-accept, accept");
    let error = got.text.split_once("\n\nevent: serialized-error\ndata: ").unwrap().1;
    let error: Value = serde_json::from_str(error.strip_suffix("\n\n").unwrap()).unwrap();
    assert!(error["code"].is_i64() && error["message"].is_string());
    assert!(error["data"]["path"].is_string());
    error["data"]["code"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn a_subscription_is_opened_with_what_the_url_says() {
    let asking = asking();
    let input = json!({ "channel": "orders" });
    let params = encoded(&json!({ "token": "me" }));
    let got = asking.get(&format!("/trpc/live?connectionParams={params}&input={}", encoded(&input))).await;
    assert_eq!(opened(&got), json!({ "caller": "me", "input": input.to_string(), "position": null }));
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
