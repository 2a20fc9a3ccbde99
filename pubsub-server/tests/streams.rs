//! Streams: what they carry, where they begin, and that nothing is lost or comes twice.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod common;

use std::time::Duration;

use common::{Audited, PATIENCE, Site, actions, bus, open, until};
use pubsub::{ChannelName, Envelope, EventName, Payload};
use reqwest::header::{HeaderMap, HeaderValue};
use serde_json::{Value, json};

fn last_event_id(id: &str) -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.insert("last-event-id", HeaderValue::from_str(id).unwrap());
    headers
}

#[tokio::test]
async fn a_plain_stream_begins_at_once_and_is_never_silent() {
    let (site, _bus) = Site::simple().await;
    let mut stream = site.stream("channel=demo.a").await;
    assert_eq!((stream.status.as_u16(), stream.greeting.retry.as_deref()), (200, Some("200")));
    assert_eq!(stream.header("content-type"), Some("text/event-stream"));
    assert_eq!(stream.header("cache-control"), Some("no-cache, no-transform"));
    assert_eq!(stream.header("x-accel-buffering"), Some("no"));
    assert_eq!(stream.header("pubsub-last-event-id"), None);
    let cursors = site.publish("demo.a", 0..2).await;
    let first = stream.event().await.unwrap();
    assert_eq!((first.event.as_deref(), first.id.as_deref()), (Some("demo:number"), Some(&*cursors[0])));
    let envelope = first.json();
    assert_eq!(envelope["channel"], "demo.a");
    assert_eq!(envelope["meta"], json!({ "version": 1, "source": "api" }));
    assert_eq!(stream.numbers(1).await, [1]);
    let mut unnamed = site.stream(&format!("channel=demo.a&named=false&lastEventId={}", cursors[0])).await;
    assert_eq!(unnamed.header("pubsub-last-event-id"), Some(&*cursors[0]));
    let event = unnamed.event().await.unwrap();
    assert_eq!((event.event.as_deref(), event.number()), (None, 1));
}

#[tokio::test]
async fn a_client_that_has_had_no_event_knows_where_to_go_on() {
    let (site, _bus) = Site::simple().await;
    for channel in ["demo.a", "demo.b"] {
        let mut stream = site.stream(&format!("channel={channel}")).await;
        let begun = stream.block().await.unwrap();
        assert_eq!((begun.event, begun.data), (None, None), "no client takes it for an event");
        drop(stream);
        site.publish(channel, 0..2).await;
        let mut again = site.stream_with(&format!("channel={channel}"), last_event_id(&begun.id.unwrap())).await;
        assert_eq!(again.numbers(2).await, [0, 1]);
    }
}

#[tokio::test]
async fn a_stream_that_passes_over_events_tells_how_far_it_is() {
    let (site, _bus) = Site::simple().await;
    let query = "channel=short.a&channel=demo.a&event=demo:other";
    let mut stream = site.stream(query).await;
    stream.block().await.unwrap();
    // More than the channel retains.
    let cursors = site.publish("short.a", 0..20).await;
    let place = stream.block().await.unwrap();
    assert_eq!(place.data, None);
    let place = place.id.unwrap();
    let mut again = site.stream_with("channel=short.a&channel=demo.a&onGap=error", last_event_id(&place)).await;
    assert_eq!(again.status, 200, "nothing is missing");
    // It is told once.
    let limit = Duration::from_secs(1);
    let more = tokio::time::timeout(limit, stream.block()).await;
    assert!(more.is_err(), "{more:?} after {place}, and the events were {cursors:?}");
    site.publish("short.a", 20..21).await;
    assert_eq!(again.numbers(1).await, [20]);
}

#[tokio::test]
async fn trpc_streams_carry_the_same_events() {
    let (site, _bus) = Site::simple().await;
    let mut stream = site.subscribe("pubsub.subscribe", &json!({ "channel": "demo.a" })).await;
    assert_eq!(stream.greeting.event.as_deref(), Some("connected"));
    assert_eq!(stream.greeting.json(), json!({ "reconnectAfterInactivityMs": 2_000 }));
    let ping = stream.block().await.unwrap();
    assert_eq!((ping.event.as_deref(), ping.data.as_deref()), (Some("ping"), Some("")));
    let cursors = site.publish("demo.a", 0..1).await;
    let event = stream.event().await.unwrap();
    assert_eq!((event.event.as_deref(), event.id.as_deref(), event.number()), (None, Some(&*cursors[0]), 0));
    for (path, input, code) in [
        ("pubsub.subscribe", json!({ "channel": "none" }), "NOT_FOUND"),
        ("pubsub.subscribe", json!({}), "BAD_REQUEST"),
        ("pubsub.subscribe", json!({ "channel": "demo.a", "channels": ["demo.b"] }), "BAD_REQUEST"),
        ("pubsub.subscribe", json!({ "channels": [] }), "BAD_REQUEST"),
        ("pubsub.subscribe", json!({ "channel": "demo.a", "lastEventId": "forged" }), "BAD_REQUEST"),
        ("pubsub.subscribe", json!({ "channel": "demo.a", "lastEventId": 7 }), "BAD_REQUEST"),
        ("pubsub.subscribe", json!({ "channel": "demo.a", "onGap": "maybe" }), "BAD_REQUEST"),
    ] {
        let mut refused = site.subscribe(path, &input).await;
        assert_eq!(refused.status, 200);
        let error = refused.event().await.unwrap();
        assert_eq!(error.event.as_deref(), Some("serialized-error"), "{input}");
        assert_eq!(error.json()["data"]["code"], code, "{input}");
        assert!(refused.event().await.is_none());
    }
}

#[tokio::test]
async fn a_position_is_found_in_the_right_order() {
    let (site, _bus) = Site::simple().await;
    let cursors = site.publish("demo.a", 0..4).await;
    // Rule 1: the header wins over the query; an empty value is none.
    let query = format!("channel=demo.a&lastEventId={}", cursors[2]);
    assert_eq!(site.stream_with(&query, last_event_id(&cursors[0])).await.numbers(3).await, [1, 2, 3]);
    assert_eq!(site.stream(&query).await.numbers(1).await, [3]);
    let mut live = site.stream_with("channel=demo.a&lastEventId=", last_event_id("")).await;
    assert_eq!(live.header("pubsub-last-event-id"), None);
    let input = |last: &str| json!({ "channel": "demo.a", "lastEventId": last, "cursor": cursors[1] });
    assert_eq!(site.subscribe("pubsub.subscribe", &input("")).await.numbers(2).await, [2, 3]);
    assert_eq!(site.subscribe("pubsub.subscribe", &input(&cursors[2])).await.numbers(1).await, [3]);
    // Rule 3.
    let mut all = site.stream("channel=demo.a&lastEventId=earliest").await;
    assert_eq!(all.header("pubsub-last-event-id"), Some("earliest"));
    assert_eq!(all.numbers(4).await, [0, 1, 2, 3]);
    // Rule 2: then live ones.
    site.publish("demo.a", 4..5).await;
    assert_eq!((all.numbers(1).await, live.numbers(1).await), (vec![4], vec![4]));
}

#[tokio::test]
async fn what_is_gone_is_told_of() {
    let (site, _bus) = Site::simple().await;
    let mut cursors = Vec::new();
    // Rule 4.
    for (channel, held) in [("short.a", false), ("short.b", true)] {
        // Whether somebody else is there, whose events the server still has, must make no difference.
        let query = format!("channel={channel}");
        let _other = if held { Some(site.stream(&query).await) } else { None };
        cursors = site.publish(channel, 0..20).await;
        let mut stream = site.stream(&format!("{query}&event=demo:number&lastEventId={}", cursors[3])).await;
        assert_eq!(stream.header("pubsub-last-event-id"), Some("earliest"), "held: {held}");
        let gap = stream.event().await.unwrap();
        assert_eq!(gap.event.as_deref(), Some("pubsub:gap"));
        assert_eq!(gap.json()["payload"], json!({ "requested": cursors[3], "resumedAfter": null }));
        assert_eq!(stream.numbers(5).await, [15, 16, 17, 18, 19]);
        // Its own id is a place from which the next event follows, without another gap.
        let mut next = site.stream(&format!("{query}&lastEventId={}", gap.id.unwrap())).await;
        assert_eq!(next.numbers(5).await, [15, 16, 17, 18, 19]);
        let refused = site.stream(&format!("{query}&onGap=error&lastEventId={}", cursors[3])).await;
        assert_eq!(refused.status, 412);
        assert_eq!(refused.error().await["error"]["data"]["code"], "PRECONDITION_FAILED");
        let input = json!({ "channel": channel, "onGap": "error", "lastEventId": cursors[3] });
        let error = site.subscribe("pubsub.subscribe", &input).await.event().await.unwrap();
        assert_eq!(error.json()["data"]["code"], "PRECONDITION_FAILED");
    }
    // A place in another channel is not known here.
    let mut foreign = site.stream(&format!("channel=demo.a&lastEventId={}", cursors[19])).await;
    assert_eq!(foreign.event().await.unwrap().event.as_deref(), Some("pubsub:gap"));
    for bad in ["x", "AQ", "%C3%A9", &"A".repeat(2_049)] {
        assert_eq!(site.stream(&format!("channel=demo.a&lastEventId={bad}")).await.status, 400, "{bad}");
    }
}

#[tokio::test]
async fn a_place_of_an_earlier_life_is_a_gap() {
    let (site, _bus) = Site::simple().await;
    let cursors = site.publish("demo.a", 0..3).await;
    let (other, _other_bus) = Site::simple().await;
    other.publish("demo.a", 10..12).await;
    let mut stream = other.stream(&format!("channel=demo.a&lastEventId={}", cursors[2])).await;
    assert_eq!(stream.event().await.unwrap().event.as_deref(), Some("pubsub:gap"));
    assert_eq!(stream.numbers(2).await, [10, 11]);
}

#[tokio::test]
async fn one_stream_has_many_channels_and_one_cursor_for_all() {
    let (site, _bus) = Site::simple().await;
    let query = "channel=demo.a&channel=demo.b&channel=demo.a&channel=demo.c";
    let mut stream = site.stream(query).await;
    site.publish("demo.a", 0..2).await;
    site.publish("demo.b", 100..102).await;
    let mut seen = Vec::new();
    for _ in 0..3 {
        seen.push(stream.event().await.unwrap());
    }
    drop(stream);
    site.publish("demo.c", 200..201).await;
    let mut rest = site.stream_with(query, last_event_id(seen[2].id.as_deref().unwrap())).await;
    let mut numbers: Vec<u64> = seen.iter().map(common::Block::number).collect();
    numbers.extend(rest.numbers(2).await);
    numbers.sort_unstable();
    assert_eq!(numbers, [0, 1, 100, 101, 200]);
    let stats = site.get("/trpc/pubsub.getSubscriptionStats").await.1["result"]["data"].clone();
    assert_eq!(stats["perChannel"], json!({ "demo.a": 1, "demo.b": 1, "demo.c": 1 }));
    assert_eq!(stats["totalSubscriptions"], 1);
    let many: Vec<String> = (0..33).map(|n| format!("channel=demo.{n}")).collect();
    assert_eq!(site.stream(&many.join("&")).await.status, 400);
    assert_eq!(site.stream(&many[..32].join("&")).await.status, 200);
    assert_eq!(site.stream("").await.status, 400);
}

#[tokio::test]
async fn filters_pass_names_and_nothing_internal_comes_through() {
    let bus = bus("memory:").await;
    let (running, _) = actions(&bus).await;
    let site = Site::of(open(&bus).actions(running.clone())).await;
    let mut all = site.stream("channel=orders").await;
    let mut notes = site.stream("channel=orders&event=orders:noted&event=orders:other").await;
    let mut generated = site.subscribe("orders.onNoted", &Value::Null).await;
    // `null` is no input for a subscription; none is.
    assert_eq!(generated.event().await.unwrap().json()["data"]["code"], "BAD_REQUEST");
    let mut generated = site.subscribe("orders.onNoted", &json!({})).await;
    for n in 0..3 {
        let body = json!({ "name": "orders:created", "payload": { "orderId": format!("o{n}"), "total": 1.0 } });
        assert_eq!(site.post("/events", &body).await.0, 200);
        bus.publish(&Audited { order: "x".into() }).await.unwrap();
    }
    let name = |block: common::Block| block.event.unwrap_or_default();
    for _ in 0..3 {
        assert_eq!(name(all.event().await.unwrap()), "orders:created");
        assert_eq!(name(all.event().await.unwrap()), "orders:noted");
        assert_eq!(name(notes.event().await.unwrap()), "orders:noted");
        assert_eq!(generated.event().await.unwrap().json()["name"], "orders:noted");
    }
    // In history neither.
    let page = site.get("/channels/orders/history").await.1;
    let names: Vec<_> = page["items"].as_array().unwrap().iter().map(|item| item["data"]["name"].clone()).collect();
    assert!(names.len() == 6 && !names.contains(&json!("orders:audited")), "{names:?}");
}

/// Publishes numbers as fast as the bus takes them.
async fn flood(bus: pubsub::PubSub, channel: &str, count: u64) {
    let channel = ChannelName::parse(channel).unwrap();
    for n in 0..count {
        let payload = Payload::json(json!({ "n": n }).to_string());
        let name = EventName::parse("demo:number").unwrap();
        bus.publish_envelope(Envelope::new(name, channel.clone(), payload)).await.unwrap();
        if n % 50 == 0 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }
}

/// Reads all numbers in many streams, each of which goes on where the one before it stopped.
async fn collect(site: &Site, channel: &str, count: u64, per_stream: usize) {
    let (mut last, mut expected) = ("earliest".to_owned(), 0);
    while expected < count {
        let mut stream = site.stream(&format!("channel={channel}&lastEventId={last}")).await;
        for _ in 0..per_stream {
            if expected == count {
                break;
            }
            // A stream may be ended as too slow: then the next one goes on.
            let Some(block) = stream.event().await else { break };
            assert_eq!(block.event.as_deref(), Some("demo:number"), "no gap");
            assert_eq!(block.number(), expected, "nothing is lost and nothing comes twice");
            expected += 1;
            last = block.id.unwrap();
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_lost_at_the_seam_under_load() {
    const COUNT: u64 = 1_500;
    let bus = bus("memory:").await;
    // A small log makes most resumes go through history; it also ends slow streams.
    for (channel, buffer) in [("demo.small", 16), ("demo.large", 1_024)] {
        let site = Site::of(open(&bus).configure(|settings| settings.buffer_events = buffer)).await;
        let publisher = tokio::spawn(flood(bus.clone(), channel, COUNT));
        let readers = (1..=4).map(|reader| collect(&site, channel, COUNT, 29 * reader * reader));
        tokio::time::timeout(3 * PATIENCE, futures_util::future::join_all(readers)).await.unwrap();
        publisher.await.unwrap();
        site.stop().await;
    }
}

#[tokio::test]
async fn a_stream_that_is_closed_gives_everything_back() {
    let (site, _bus) = Site::simple().await;
    let streams: Vec<_> = futures_util::future::join_all((0..20).map(|_| site.stream("channel=demo.a"))).await;
    let info = site.get("/trpc/pubsub.getChannelInfo?input=%7B%22channel%22%3A%22demo.a%22%7D").await.1;
    assert_eq!(info["result"]["data"]["activeSubscribers"], 20);
    drop(streams);
    let gone = async || {
        let stats = site.get("/trpc/pubsub.getSubscriptionStats").await.1;
        stats["result"]["data"]["totalSubscriptions"] == 0 && stats["result"]["data"]["activeChannels"] == json!([])
    };
    until("released", Duration::from_secs(2), gone).await;
}
