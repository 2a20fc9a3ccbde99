//! Streams that come back.

use std::time::Duration;

use pubsub::{
    ErrorKind, FailureCode,
    http::{HttpItem, OnGap, SseItem},
    server::{Access, WebPolicy},
};

use crate::{
    Number, behind,
    common::{PATIENCE, Site, bus, open, until},
    next, numbers, quick, until_event,
};

#[tokio::test]
async fn a_stream_survives_cut_connections_and_restarts_without_loss_or_repetition() {
    let bus = bus("memory:").await;
    let mut site = Site::of(open(&bus)).await;
    let (proxy, client) = behind(&site).await;
    let mut stream = client.build().unwrap().subscribe_to::<Number>().unwrap().start();
    assert!(matches!(next(&mut stream).await, Some(Ok(HttpItem::Open))));
    site.publish("demo.a", 0..3).await;
    let mut seen = numbers(&mut stream, 3).await;
    for round in 1..=8 {
        proxy.cut().await.unwrap();
        let published = seen.len() as u64..seen.len() as u64 + 3;
        if round % 4 == 0 {
            // Nobody is there while events come, and then another server is.
            proxy.refuse().await.unwrap();
            site.server.drain(Duration::from_millis(10)).await;
            site.stop().await;
            for n in published {
                bus.publish(&Number { n }).await.unwrap();
            }
            site = Site::of(open(&bus)).await;
            proxy.set_upstream(site.address().parse().unwrap());
            proxy.heal().await.unwrap();
        } else {
            site.publish("demo.a", published).await;
        }
        seen.extend(numbers(&mut stream, 3).await);
    }
    assert_eq!(seen, Vec::from_iter(0..27));
    assert_eq!(site.server.streams(), 1);
}

#[tokio::test]
async fn a_server_that_drains_is_come_back_to() {
    let bus = bus("memory:").await;
    let site = Site::of(open(&bus)).await;
    let (proxy, client) = behind(&site).await;
    let mut stream = client.build().unwrap().subscribe_to::<Number>().unwrap().earliest().start();
    site.publish("demo.a", 0..2).await;
    assert_eq!(numbers(&mut stream, 2).await, [0, 1]);
    site.server.drain(Duration::from_millis(10)).await;
    bus.publish(&Number { n: 2 }).await.unwrap();
    // It is still asked, and answers with streams that end at once: no refusal, and no hurry either.
    for _ in 0..2 {
        let Some(Ok(HttpItem::Interrupted { error, pause })) = next(&mut stream).await else { panic!("it is over") };
        assert_eq!(error.bus_kind(), Some(ErrorKind::Unavailable));
        assert!(pause >= Duration::from_millis(100), "the server asks for 200 ms: {pause:?}");
        assert!(matches!(next(&mut stream).await, Some(Ok(HttpItem::Open))));
    }
    let other = Site::of(open(&bus)).await;
    proxy.set_upstream(other.address().parse().unwrap());
    proxy.cut().await.unwrap();
    assert_eq!(numbers(&mut stream, 1).await, [2]);
}

#[tokio::test]
async fn a_silent_network_is_left_and_heartbeats_are_signs_of_life() {
    let (site, _bus) = Site::simple().await;
    let (proxy, client) = behind(&site).await;
    let client = client.inactivity(Duration::from_millis(900)).build().unwrap();
    let mut stream = client.subscribe_to::<Number>().unwrap().start();
    site.publish("demo.a", 0..1).await;
    assert!(matches!(next(&mut stream).await, Some(Ok(HttpItem::Open))));
    site.publish("demo.a", 1..2).await;
    let (_, first) = until_event(&mut stream).await;
    assert!(matches!(first, HttpItem::Event { event, .. } if event.payload.n == 1));
    // Three times as long, with nothing but heartbeats.
    assert!(tokio::time::timeout(Duration::from_millis(2_700), next(&mut stream)).await.is_err());

    proxy.stall();
    site.publish("demo.a", 2..4).await;
    let Some(Ok(HttpItem::Interrupted { error, .. })) = next(&mut stream).await else { panic!("silence is no end") };
    assert_eq!(error.bus_kind(), Some(ErrorKind::Timeout));
    proxy.heal().await.unwrap();
    assert_eq!(numbers(&mut stream, 2).await, [2, 3]);
    // What was left is closed on the other side, too.
    until("one stream is left", PATIENCE, async || site.server.streams() == 1).await;
}

#[tokio::test]
async fn what_is_no_longer_retained_is_a_gap() {
    let (site, _bus) = Site::simple().await;
    let client = quick(&site.url).build().unwrap();
    let old = site.publish("short.a", 0..1).await.remove(0);
    site.publish("short.a", 1..20).await;
    let subscribe = || client.subscribe(["short.a"]).unwrap().after(old.clone());
    let mut stream = subscribe().start();
    let (_, gap) = until_event(&mut stream).await;
    let HttpItem::Gap { cursor, requested, resumed_after } = gap else { panic!("{gap:?}") };
    assert_eq!((requested, resumed_after), (old.clone(), None), "the beginning of what is retained");
    // The gap's own position is one from which the same follows.
    for mut stream in [stream, client.subscribe(["short.a"]).unwrap().after(cursor).start()] {
        let mut seen = Vec::new();
        while seen.last() != Some(&19) {
            let (_, item) = until_event(&mut stream).await;
            let HttpItem::Event { event, .. } = item else { panic!("{item:?}") };
            seen.push(event.payload.decode::<Number>().unwrap().n);
        }
        assert_eq!(seen, [15, 16, 17, 18, 19]);
    }

    let mut stream = subscribe().on_gap(OnGap::Error).start();
    assert_eq!(next(&mut stream).await.unwrap().unwrap_err().code(), FailureCode::PreconditionFailed);
    assert!(next(&mut stream).await.is_none());
}

#[tokio::test]
async fn a_stream_that_is_let_go_is_released_by_the_server() {
    let (site, _bus) = Site::simple().await;
    let client = quick(&site.url).build().unwrap();
    let mut streams: Vec<_> = (0..8).map(|_| client.subscribe(["demo.a", "orders"]).unwrap().start()).collect();
    for stream in &mut streams {
        assert!(matches!(next(stream).await, Some(Ok(HttpItem::Open))));
    }
    assert_eq!(site.server.streams(), 8);
    drop(streams);
    until("all are released", Duration::from_secs(2), async || site.server.streams() == 0).await;
}

#[tokio::test]
async fn refusals_end_a_stream_and_a_full_channel_does_not() {
    let bus = bus("memory:").await;
    let secure = WebPolicy::new("secure.*").read(Access::scope("reader"));
    let site = Site::of(open(&bus).channel(secure).channel(WebPolicy::public("demo.full").max_subscribers(1))).await;
    let client = quick(&site.url);
    for (token, channel, after, code) in [
        ("", "secure.a", None, FailureCode::Unauthorized),
        ("wrong", "demo.a", None, FailureCode::Unauthorized),
        ("reader-token", "elsewhere", None, FailureCode::NotFound),
        ("reader-token", "demo.a", Some("forged!"), FailureCode::BadRequest),
    ] {
        let client = match token {
            "" => quick(&site.url),
            token => quick(&site.url).token(token),
        };
        let subscribe = client.build().unwrap().subscribe([channel]).unwrap();
        let mut stream = match after {
            Some(position) => subscribe.after(position).start(),
            None => subscribe.start(),
        };
        let error = next(&mut stream).await.unwrap().unwrap_err();
        assert_eq!(error.code(), code, "{channel}: {error}");
        assert!(next(&mut stream).await.is_none());
    }

    let client = client.build().unwrap();
    let mut first = client.subscribe(["demo.full"]).unwrap().start();
    assert!(matches!(next(&mut first).await, Some(Ok(HttpItem::Open))));
    let mut second = client.subscribe(["demo.full"]).unwrap().start();
    let item = next(&mut second).await.unwrap().unwrap();
    let HttpItem::Interrupted { error, .. } = item else { panic!("{item:?}") };
    assert_eq!(error.code(), FailureCode::TooManyRequests);
    drop(first);
    while !matches!(next(&mut second).await.unwrap().unwrap(), HttpItem::Open) {}
}

#[tokio::test]
async fn a_token_that_expired_is_replaced_when_the_stream_comes_back() {
    let bus = bus("memory:").await;
    let site = Site::of(open(&bus).channel(WebPolicy::new("secure.*").read(Access::scope("reader")))).await;
    let (proxy, client) = behind(&site).await;
    // Every other one has expired before it arrives.
    let asked = std::sync::atomic::AtomicU32::new(0);
    let token = move || {
        let number = asked.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        std::future::ready(Ok(if number.is_multiple_of(2) { "expired" } else { "reader-token" }.to_owned()))
    };
    let mut stream = client.token_with(token).build().unwrap().subscribe(["secure.a"]).unwrap().start();
    for _ in 0..3 {
        assert!(matches!(next(&mut stream).await, Some(Ok(HttpItem::Open))));
        proxy.cut().await.unwrap();
        assert!(matches!(next(&mut stream).await, Some(Ok(HttpItem::Interrupted { .. }))));
    }
}

#[tokio::test]
async fn the_stream_of_trpc_is_one_of_events_as_well() {
    let (site, _bus) = Site::simple().await;
    let client = quick(&site.url).build().unwrap();
    // Named events, such as `connected` and `ping`, come by their names.
    let mut stream = client.sse("/trpc/pubsub.subscribe?input=%7B%22channel%22%3A%22demo.a%22%7D", None).unwrap();
    let mut named = async || match next(&mut stream).await.unwrap().unwrap() {
        SseItem::Message(message) => (message.event, message.data),
        other => (format!("{other:?}"), String::new()),
    };
    assert_eq!(named().await.0, "Open");
    assert_eq!(named().await.0, "connected");
    assert_eq!(named().await, ("ping".to_owned(), String::new()));
    site.publish("demo.a", 7..8).await;
    let mut item = named().await;
    while item.0 == "ping" {
        item = named().await;
    }
    assert_eq!(item.0, "message");
    let data: serde_json::Value = serde_json::from_str(&item.1).unwrap();
    assert_eq!(data["payload"]["n"], 7);
}
