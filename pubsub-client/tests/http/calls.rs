//! Calls and the offline queue.

use std::{
    sync::atomic::{AtomicU32, Ordering},
    time::Duration,
};

use pubsub::{Envelope, ErrorKind, FailureCode, Payload, rpc::CallError};
use pubsub_client::http::HttpClient;
use serde_json::{Value, json};
use tokio::time::timeout;

use crate::{
    GetQuote, Quote, order,
    script::{LIMIT, Seen, Server, json as answer, status},
};

fn published(seen: &Seen) -> Value {
    json!({
        "success": true, "eventId": seen.body["id"], "channel": "orders", "cursor": "c1",
        "timestamp": "2026-01-31T12:00:00.000Z", "duplicate": false,
    })
}

fn sent(seen: &Seen, result: &Value) -> Value {
    json!({
        "success": true, "status": "success", "eventId": "e", "channel": "orders", "requestId": "r", "result": result,
        "emittedEvents": [{
            "id": "e", "name": "orders:created", "channel": "orders", "payload": seen.body["payload"],
            "timestamp": "2026-01-31T12:00:00.000Z",
        }],
        "duplicate": false, "message": "",
    })
}

fn kind(error: &CallError) -> Option<ErrorKind> {
    error.bus_kind()
}

#[tokio::test]
async fn a_repeated_call_has_the_same_id_and_a_fresh_token() {
    let server = Server::start(|number, seen| match number {
        0 => status(503),
        1 => answer(429, &json!({"error": {"message": "slower", "code": -32029, "data": {"code": "TOO_MANY_REQUESTS", "httpStatus": 429}}})),
        _ => answer(200, &published(seen)),
    })
    .await;
    let asked = AtomicU32::new(0);
    let token = move || {
        let number = asked.fetch_add(1, Ordering::Relaxed);
        async move { Ok(format!("t{number}")) }
    };
    let client = server.builder().token_with(token).header("x-tenant", "7").build().unwrap();
    let published = client.publish(&order(1)).await.unwrap();
    assert_eq!((published.cursor.as_deref(), published.duplicate), (Some("c1"), false));

    let seen = server.seen();
    let tokens: Vec<_> = seen.iter().map(|seen| seen.token.as_deref()).collect();
    assert_eq!(tokens, [Some("Bearer t0"), Some("Bearer t1"), Some("Bearer t2")]);
    assert_eq!(seen[0].path, "/api/channels/orders/events");
    assert_eq!(seen[0].body, seen[2].body);
    assert_eq!(seen[0].body["id"], json!(published.event_id));
    assert_eq!(seen[0].body["name"], "orders:created");
    assert_eq!(seen[0].body["payload"], json!({ "orderId": "A-1", "total": 1.0 }));
    assert_eq!(seen[0].body["meta"], json!({ "key": "A-1", "version": 2 }));
    assert!(seen[0].body.get("channel").is_none() && seen[0].body.get("timestamp").is_none());
}

#[tokio::test]
async fn a_refusal_is_told_with_its_places_and_not_repeated() {
    let server = Server::start(|_, _| {
        let issues = json!([{ "pointer": "/total", "message": "not a number" }]);
        let data = json!({ "code": "BAD_REQUEST", "httpStatus": 400, "issues": issues });
        answer(400, &json!({ "error": { "message": "it does not fit", "code": -32600, "data": data } }))
    })
    .await;
    let error = server.client().send(&order(1)).await.unwrap_err();
    let failure = error.failure().unwrap();
    assert_eq!((failure.code, failure.message.as_str()), (FailureCode::BadRequest, "it does not fit"));
    assert_eq!(failure.details.as_ref().unwrap()["faults"][0]["pointer"], "/total");
    assert_eq!(server.seen().len(), 1);
    assert_eq!(server.seen()[0].token, None);
}

/// A source of the tokens `t0`, `t1` and so on, of which the last stays.
fn tokens(last: u32) -> impl Fn() -> std::future::Ready<pubsub::Result<String>> + Send + Sync + 'static {
    let asked = AtomicU32::new(0);
    move || std::future::ready(Ok(format!("t{}", asked.fetch_add(1, Ordering::Relaxed).min(last))))
}

#[tokio::test]
async fn a_refused_token_is_replaced_once_if_there_is_another() {
    let only_t1 = |_: usize, seen: &Seen| match seen.token.as_deref() {
        Some("Bearer t1") => answer(200, &published(seen)),
        _ => status(401),
    };
    for (last, expected) in [(1, Ok(2)), (0, Err(1))] {
        let server = Server::start(only_t1).await;
        let client = server.builder().token_with(tokens(last)).build().unwrap();
        let outcome = client.publish(&order(1)).await.map(|_| server.seen().len());
        let outcome = outcome.map_err(|error| {
            assert_eq!(error.code(), FailureCode::Unauthorized);
            server.seen().len()
        });
        assert_eq!(outcome, expected);
    }
    let server = Server::start(|_, _| status(401)).await;
    let client = server.builder().token_with(tokens(u32::MAX)).build().unwrap();
    assert_eq!(client.publish(&order(1)).await.unwrap_err().code(), FailureCode::Unauthorized);
    assert_eq!(server.seen().len(), 2, "no third");
}

#[tokio::test]
async fn a_redirect_is_told_and_not_followed() {
    let elsewhere = Server::start(|_, seen| answer(200, &published(seen))).await;
    let to = elsewhere.url.clone();
    let server = Server::start(move |_, _| {
        let mut response = status(307);
        response.headers_mut().insert("location", to.parse().unwrap());
        response
    })
    .await;
    let error = server.builder().token("t").build().unwrap().publish(&order(1)).await.unwrap_err();
    assert!(error.to_string().contains("redirects"), "{error}");
    assert_eq!(elsewhere.seen().len(), 0, "the token stays with its server");
}

#[tokio::test]
async fn the_status_of_a_proxy_says_enough() {
    for (code, expected) in
        [(502, FailureCode::BadGateway), (404, FailureCode::NotFound), (418, FailureCode::BadRequest)]
    {
        let server = Server::start(move |_, _| status(code)).await;
        let client = server.builder().attempts(1).build().unwrap();
        assert_eq!(client.publish(&order(1)).await.unwrap_err().code(), expected);
    }
}

#[tokio::test]
async fn a_question_gets_its_reply() {
    let server = Server::start(|number, seen| {
        let result = if number == 0 { json!({ "price": 7.5 }) } else { json!({ "price": "much" }) };
        answer(200, &sent(seen, &result))
    })
    .await;
    let client = server.client();
    let ask = || GetQuote { symbol: "ABC".into() };
    assert_eq!(client.request(&ask()).await.unwrap(), Quote { price: 7.5 });
    let error = client.request(&ask()).await.unwrap_err();
    assert_eq!((kind(&error), error.maybe_applied()), (Some(ErrorKind::Codec), true));
    let seen = server.seen();
    assert_eq!(seen[0].path, "/api/events");
    assert!(seen[0].body["clientEventId"].is_string() && seen[0].body.get("meta").is_none());
    assert_ne!(seen[0].body["clientEventId"], seen[1].body["clientEventId"]);
}

#[tokio::test]
async fn an_envelope_says_the_id_of_the_call() {
    let server = Server::start(|_, seen| answer(200, &sent(seen, &json!({ "success": true })))).await;
    let mut envelope = Envelope::new("orders:created".parse().unwrap(), "orders".parse().unwrap(), Payload::json("{}"));
    envelope.meta.correlation_id = Some("c-1".into());
    let outcome = server.client().send_envelope(&envelope).await.unwrap();
    assert_eq!((outcome.result, outcome.emitted_events.len()), (json!({ "success": true }), 1));
    let body = server.seen()[0].body.clone();
    assert_eq!(body["clientEventId"], json!(envelope.id));
    assert_eq!((body["correlationId"].as_str(), body["channel"].as_str()), (Some("c-1"), Some("orders")));

    let binary = Envelope { payload: Payload::bytes("x"), ..envelope };
    let error = server.client().publish_envelope(&binary).await.unwrap_err();
    assert_eq!(kind(&error), Some(ErrorKind::Invalid));
}

#[tokio::test]
async fn a_server_that_does_not_answer_or_is_not_there() {
    let silent = Server::start(|_, _| crate::script::events("", crate::script::Then::Silence)).await;
    let client = silent.builder().timeout(Duration::from_millis(100)).build().unwrap();
    let error = timeout(LIMIT, client.publish(&order(1))).await.unwrap().unwrap_err();
    assert_eq!((kind(&error), error.maybe_applied()), (Some(ErrorKind::Timeout), true));

    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    drop(listener);
    let backoff = Duration::from_millis(1);
    let client = HttpClient::builder(&url).backoff(backoff, backoff).build().unwrap();
    let error = timeout(LIMIT, client.publish(&order(1))).await.unwrap().unwrap_err();
    assert_eq!((kind(&error), error.maybe_applied()), (Some(ErrorKind::Unavailable), false));
}

#[tokio::test]
async fn what_waits_goes_out_in_order_when_the_server_is_back() {
    let server = Server::start(|number, seen| match (number, seen.body["payload"]["total"].as_f64()) {
        (0..3, _) => status(503),
        // One that is refused holds nobody up.
        (_, Some(2.0)) => status(400),
        _ => answer(200, &published(seen)),
    })
    .await;
    let client = server.builder().offline_queue(8).build().unwrap();
    let tickets: Vec<_> = (1..=4).map(|number| client.enqueue(&order(number)).unwrap()).collect();
    let mut outcomes = Vec::new();
    for ticket in tickets {
        outcomes.push(timeout(LIMIT, ticket).await.unwrap().map(drop).map_err(|error| error.code()));
    }
    assert_eq!(outcomes, [Ok(()), Err(FailureCode::BadRequest), Ok(()), Ok(())]);
    let totals: Vec<_> = server.seen().iter().map(|seen| seen.body["payload"]["total"].as_f64().unwrap()).collect();
    assert_eq!(totals, [1.0, 1.0, 1.0, 1.0, 2.0, 3.0, 4.0]);
    let ids: Vec<_> = server.seen().iter().take(4).map(|seen| seen.body["id"].clone()).collect();
    assert!(ids.iter().all(|id| *id == ids[0]));
}

#[tokio::test]
async fn the_queue_has_a_bound_and_ends_with_its_client() {
    let server = Server::start(|_, _| status(503)).await;
    let client = server.builder().offline_queue(2).build().unwrap();
    // One may be in hand.
    let tickets: Vec<_> = (0..3).map(|number| (number, client.enqueue(&order(number)))).collect();
    let full =
        client.enqueue(&order(9)).err().or_else(|| tickets.iter().find_map(|(_, one)| one.as_ref().err().cloned()));
    assert_eq!(full.unwrap().kind(), ErrorKind::Backpressure);
    drop(client);
    for (_, ticket) in tickets {
        let Ok(ticket) = ticket else { continue };
        let error = timeout(LIMIT, ticket).await.unwrap().unwrap_err();
        assert_eq!(kind(&error), Some(ErrorKind::Closed));
    }
    let error = server.client().enqueue_send(&order(1)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unsupported);
}

#[test]
fn nonsense_is_refused_when_the_client_is_built() {
    let refused = |builder: pubsub_client::http::HttpClientBuilder| builder.build().unwrap_err().kind();
    let builder = || HttpClient::builder("http://localhost");
    #[cfg(not(feature = "tls"))]
    assert_eq!(refused(HttpClient::builder("https://localhost")), ErrorKind::Unsupported);
    assert_eq!(refused(builder().ca("there/is/none.pem")), ErrorKind::Invalid, "without TLS");
    for url in ["", "localhost", "/api", "ftp://localhost", "http://localhost?x=1", "http://localhost#x"] {
        assert_eq!(refused(HttpClient::builder(url)), ErrorKind::Invalid, "{url}");
    }
    assert_eq!(refused(builder().attempts(0)), ErrorKind::Invalid);
    assert_eq!(refused(builder().timeout(Duration::ZERO)), ErrorKind::Invalid);
    assert_eq!(refused(builder().header("x", "a\nb")), ErrorKind::Invalid);
    // No runtime here.
    assert_eq!(refused(builder().offline_queue(1)), ErrorKind::Invalid);
    let client = builder().build().unwrap();
    assert_eq!(client.subscribe(Vec::<&str>::new()).unwrap_err().kind(), ErrorKind::Invalid);
    assert_eq!(client.subscribe((0..33).map(|n| format!("c{n}"))).unwrap_err().kind(), ErrorKind::Invalid);
    for path in ["http://elsewhere", "@elsewhere", "/a b", "/\r\nx: y"] {
        assert_eq!(client.sse(path, None).unwrap_err().kind(), ErrorKind::Invalid, "{path}");
    }
    // Nor is what stands before a host shown.
    let hidden = HttpClient::builder("http://anna:s3cret@localhost");
    assert!(!format!("{hidden:?}").contains("s3cret"));
    let error = hidden.build().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Invalid);
    assert!(!format!("{error:?} {error}").contains("s3cret"));
    // A stream may be made anywhere; it is polled where there is a runtime.
    drop(client.subscribe(["orders"]).unwrap().start());
}
