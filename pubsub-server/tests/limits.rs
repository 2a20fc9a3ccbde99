//! Limits: sizes, numbers, slow clients, ends.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod common;

use std::time::{Duration, Instant};

use common::{PATIENCE, Site, bus, open, until};
use pubsub::{
    ChannelName, Envelope, EventName, Payload, Timestamp,
    server::{CallRate, User, WebPolicy},
};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpSocket, TcpStream},
};

fn order(total: f64) -> Value {
    json!({ "name": "orders:created", "payload": { "orderId": "o", "total": total } })
}

#[tokio::test]
async fn bodies_are_bounded_and_must_be_json() {
    let (site, _bus) = Site::simple().await;
    let post = |kind: Option<&'static str>, body: Vec<u8>| {
        let mut request = site.client.post(format!("{}/channels/demo.a/events", site.url)).body(body);
        if let Some(kind) = kind {
            request = request.header("content-type", kind);
        }
        async move {
            let response = request.send().await.unwrap();
            (response.status().as_u16(), response.json::<Value>().await.unwrap())
        }
    };
    let good = br#"{"name":"demo:x"}"#.to_vec();
    assert_eq!(post(Some("application/json; charset=utf-8"), good.clone()).await.0, 200);
    for (kind, body, status, code) in [
        (None, good.clone(), 415, "UNSUPPORTED_MEDIA_TYPE"),
        (Some("text/plain"), good.clone(), 415, "UNSUPPORTED_MEDIA_TYPE"),
        (Some("application/jsonp"), good.clone(), 415, "UNSUPPORTED_MEDIA_TYPE"),
        (Some("application/json"), b"{".to_vec(), 400, "BAD_REQUEST"),
        (Some("application/json"), b"".to_vec(), 400, "BAD_REQUEST"),
        (Some("application/json"), b"\xff\xfe".to_vec(), 400, "BAD_REQUEST"),
        (Some("application/json"), b"[]".to_vec(), 400, "BAD_REQUEST"),
        (Some("application/json"), "[".repeat(100_000).into_bytes(), 400, "BAD_REQUEST"),
        (Some("application/json"), vec![b' '; 1024 * 1024 + 1], 413, "PAYLOAD_TOO_LARGE"),
        (Some("application/json"), vec![b' '; 3 * 1024 * 1024], 413, "PAYLOAD_TOO_LARGE"),
    ] {
        let (got, error) = post(kind, body).await;
        assert_eq!((got, error["error"]["data"]["code"].as_str()), (status, Some(code)), "{kind:?} {error}");
        assert!(error["error"]["data"].get("stack").is_none());
    }
}

#[tokio::test]
async fn a_body_that_trickles_in_is_given_up() {
    let bus = bus("memory:").await;
    let site = Site::of(open(&bus).configure(|settings| settings.body_timeout = Duration::from_millis(200))).await;
    let mut slow = TcpStream::connect(site.address()).await.unwrap();
    let head = "POST /events HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: 100\r\n\r\n{";
    slow.write_all(head.as_bytes()).await.unwrap();
    let mut answer = String::new();
    tokio::time::timeout(PATIENCE, slow.read_to_string(&mut answer)).await.unwrap().unwrap();
    assert!(answer.starts_with("HTTP/1.1 408"), "{answer}");
    assert_eq!(
        site.post("/events", &order(1.0)).await.0,
        501,
        "others are served: there is no action, and that is told"
    );
}

#[tokio::test]
async fn events_and_subscribers_have_limits() {
    let bus = bus("memory:").await;
    let tiny = WebPolicy::public("tiny.*").max_event_size(64).max_subscribers(2);
    let site = Site::of(open(&bus).channel(tiny)).await;
    let event = |length: usize| json!({ "name": "demo:x", "payload": "x".repeat(length) });
    assert_eq!(site.post("/channels/tiny.a/events", &event(62)).await.0, 200);
    let (status, error) = site.post("/channels/tiny.a/events", &event(63)).await;
    assert_eq!((status.as_u16(), error["error"]["data"]["code"].as_str()), (413, Some("PAYLOAD_TOO_LARGE")));
    let first = site.stream("channel=tiny.a").await;
    let _second = site.stream("channel=tiny.a&channel=tiny.b").await;
    let third = site.stream("channel=tiny.b&channel=tiny.a").await;
    assert_eq!(third.status, 429);
    assert!(third.header("retry-after").is_some());
    let mut refused = site.subscribe("pubsub.subscribe", &json!({ "channel": "tiny.a" })).await;
    assert_eq!(refused.event().await.unwrap().json()["data"]["code"], "TOO_MANY_REQUESTS");
    // What a refused stream had taken by then is free again.
    assert_eq!(site.server.streams(), 2);
    drop(first);
    until("a place is free", Duration::from_secs(2), async || site.stream("channel=tiny.a").await.status == 200).await;
}

#[tokio::test]
async fn callers_have_a_rate_of_their_own() {
    let bus = bus("memory:").await;
    let site = Site::of(open(&bus).configure(|settings| settings.call_rate = Some(CallRate::new(1, 3)))).await;
    let mut statuses = Vec::new();
    for _ in 0..5 {
        statuses.push(site.get("/status").await.0.as_u16());
    }
    assert_eq!(statuses, [200, 200, 200, 429, 429]);
    let publish = json!({ "name": "demo:x" });
    assert_eq!(site.post_as("reader-token", "/channels/demo.a/events", &publish).await.0, 200, "another caller");
    assert_eq!(site.get("/health").await.0, 200, "probes are not counted");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_does_not_read_is_dropped_and_nobody_else_notices() {
    let bus = bus("memory:").await;
    let site = Site::of(open(&bus).configure(|settings| {
        settings.buffer_events = 64;
        settings.buffer_bytes = 256 * 1024;
    }))
    .await;
    let mut stalled = Vec::new();
    for _ in 0..10 {
        let socket = TcpSocket::new_v4().unwrap();
        socket.set_recv_buffer_size(4_096).unwrap();
        let mut stream = socket.connect(site.address().parse().unwrap()).await.unwrap();
        stream.write_all(b"GET /events?channel=demo.a HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
        stalled.push(stream);
    }
    until("all are there", PATIENCE, async || site.server.streams() == 10).await;
    let mut reader = site.stream("channel=demo.a").await;
    let (mut published, text) = (0, "x".repeat(32 * 1024));
    let started = Instant::now();
    while site.server.streams() > 1 {
        assert!(started.elapsed() < PATIENCE, "{} are left after {published} events", site.server.streams());
        let payload = Payload::json(json!({ "n": published, "text": text }).to_string());
        let channel = ChannelName::parse("demo.a").unwrap();
        let event = Envelope::new(EventName::parse("demo:number").unwrap(), channel, payload);
        bus.publish_envelope(event).await.unwrap();
        assert_eq!(reader.numbers(1).await, [published], "the one that reads gets all");
        published += 1;
    }
    let stats = site.get("/trpc/pubsub.getSubscriptionStats").await.1["result"]["data"].clone();
    assert_eq!(stats["slowConsumersDropped"], 10, "{stats}");
    assert_eq!(stats["perChannel"], json!({ "demo.a": 1 }));
    let metrics = site.get("/metrics").await.1;
    assert!(metrics.as_str().unwrap().contains("pubsub_server_slow_consumers_total 10\n"), "{metrics}");
}

#[tokio::test]
async fn a_drain_ends_streams_one_after_the_other_and_sends_newcomers_away() {
    let (site, _bus) = Site::simple().await;
    let streams = futures_util::future::join_all((0..8).map(|_| site.stream("channel=demo.a"))).await;
    let mut trpc = site.subscribe("pubsub.subscribe", &json!({ "channel": "demo.a" })).await;
    let within = Duration::from_millis(800);
    let started = Instant::now();
    let server = site.server.clone();
    let draining = tokio::spawn(async move { server.drain(within).await });
    let ends = streams.into_iter().map(|mut stream| async move {
        stream.end().await;
        Instant::now()
    });
    let mut ends = futures_util::future::join_all(ends).await;
    ends.sort_unstable();
    assert!(ends[7] - ends[0] >= within / 2, "spread over {:?}", ends[7] - ends[0]);
    assert!(ends[7] - started < within + Duration::from_secs(2));
    while let Some(block) = trpc.block().await {
        assert_ne!(block.event.as_deref(), Some("return"), "the stream is not complete for good");
    }
    draining.await.unwrap();
    let mut late = site.stream("channel=demo.a").await;
    assert_eq!((late.status.as_u16(), late.greeting.retry.as_deref()), (200, Some("200")));
    assert!(late.event().await.is_none());
    let error = site.subscribe("pubsub.subscribe", &json!({ "channel": "demo.a" })).await.event().await.unwrap();
    assert_eq!(error.json()["data"]["code"], "SERVICE_UNAVAILABLE");
    let (status, ready) = site.get("/readyz").await;
    assert_eq!((status.as_u16(), &ready["parts"]["server"]["ready"]), (503, &json!(false)));
    assert_eq!(site.get("/status").await.1["status"], "draining");
    assert_eq!(site.get("/livez").await.0, 200);
}

#[tokio::test]
async fn streams_end_at_their_age_and_with_the_credentials() {
    let bus = bus("memory:").await;
    let limited =
        |settings: &mut pubsub::server::Settings| settings.max_stream_duration = Some(Duration::from_millis(400));
    let site = Site::of(open(&bus).configure(limited)).await;
    let started = Instant::now();
    site.stream("channel=demo.a").await.end().await;
    assert!(started.elapsed() >= Duration::from_millis(300), "{:?}", started.elapsed());
    let short = Site::of(open(&bus).authenticate_token(|_| async {
        Ok(User::new("u", ["reader"]).valid_until(Timestamp::now().saturating_add(Duration::from_millis(300))))
    }))
    .await;
    let params = "connectionParams=%7B%22token%22%3A%22t%22%7D";
    short.stream(&format!("channel=demo.a&{params}")).await.end().await;
}

#[tokio::test]
async fn without_a_broker_calls_fail_and_streams_are_told_to_come_back() {
    let (site, bus) = Site::simple().await;
    let mut open = site.stream("channel=demo.a").await;
    bus.close(Duration::from_secs(1)).await.unwrap();
    open.end().await;
    let (status, error) = site.post("/channels/demo.a/events", &json!({ "name": "demo:x" })).await;
    assert_eq!((status.as_u16(), error["error"]["data"]["code"].as_str()), (503, Some("SERVICE_UNAVAILABLE")));
    let mut late = site.stream("channel=demo.a").await;
    assert_eq!((late.status.as_u16(), late.greeting.retry.as_deref()), (200, Some("200")));
    assert!(late.event().await.is_none());
    assert_eq!(site.get("/health").await.0, 503);
    assert_eq!(site.get("/readyz").await.0, 503);
    assert_eq!(site.get("/livez").await.0, 200);
}
