//! Streams: resume, repetition, gaps, silence, refusals.

use std::time::Duration;

use futures_util::{Stream, StreamExt};
use pubsub::{ErrorKind, EventDefinition, FailureCode, rpc::CallError};
use pubsub_client::http::{HttpItem, OnGap, SseItem};
use serde_json::{Value, json};
use tokio::time::timeout;

use crate::{
    OrderCreated, order,
    script::{LIMIT, Server, Then, events, json as answer, status, watched},
};

/// An event as the server writes it: cursor, id, total.
fn event(cursor: &str, id: &str, total: u32) -> String {
    versioned(cursor, id, &json!({ "orderId": format!("A-{total}"), "total": total }), 2)
}

fn versioned(cursor: &str, id: &str, payload: &Value, version: u32) -> String {
    let envelope = json!({
        "id": id, "name": "orders:created", "channel": "orders", "payload": payload,
        "timestamp": "2026-01-31T12:00:00.000Z", "meta": { "version": version },
    });
    format!("id: {cursor}\ndata: {envelope}\n\n")
}

async fn next<T>(stream: &mut (impl Stream<Item = T> + Unpin)) -> Option<T> {
    timeout(LIMIT, stream.next()).await.unwrap()
}

/// The next items in short, until there are so many events.
async fn told(
    stream: &mut (impl Stream<Item = Result<HttpItem<OrderCreated>, CallError>> + Unpin),
    count: usize,
) -> Vec<String> {
    let (mut told, mut found) = (Vec::new(), 0);
    while found < count {
        told.push(match next(stream).await.unwrap() {
            Ok(HttpItem::Open) => "open".to_owned(),
            Ok(HttpItem::Interrupted { error, .. }) => format!("lost {:?}", error.bus_kind()),
            Ok(HttpItem::Gap { cursor, requested, resumed_after }) => {
                format!("gap {cursor} {requested} {resumed_after:?}")
            }
            Ok(HttpItem::Event { cursor, event }) => {
                found += 1;
                format!("{cursor} {}", event.payload.order_id)
            }
            Ok(other) => format!("{other:?}"),
            Err(error) => format!("error {:?}", error.bus_kind()),
        });
    }
    told
}

#[tokio::test]
async fn a_stream_goes_on_behind_the_last_event() {
    let gap = r#"{"id":"g","name":"pubsub:gap","channel":"orders","payload":{"requested":"c2","resumedAfter":null},"timestamp":"2026-01-31T12:00:00.000Z"}"#;
    let server = Server::start(move |number, _| match number {
        0 => events(&[event("c1", "e1", 1), event("c2", "e2", 2)].concat(), Then::End),
        1 => status(503),
        // Half of an event does not count.
        2 => events("retry: 3\n\nid: cX\ndata: {", Then::Break),
        _ => events(
            &[format!("id: g1\ndata: {gap}\n\n"), event("c2", "e2", 2), event("c3", "e3", 3)].concat(),
            Then::Silence,
        ),
    })
    .await;
    let mut stream = server.client().subscribe_to::<OrderCreated>().unwrap().after("c0").on_gap(OnGap::Replay).start();
    let told = told(&mut stream, 3).await;
    let expected = [
        "open",
        "c1 A-1",
        "c2 A-2",
        "lost Some(Unavailable)",
        "lost None",
        "open",
        "lost Some(Unavailable)",
        "open",
        "gap g1 c2 None",
        "c3 A-3",
    ];
    assert_eq!(told, expected);
    let positions: Vec<_> = server.seen().iter().map(|seen| seen.position.clone().unwrap()).collect();
    assert_eq!(positions, ["c0", "c2", "c2", "c2"]);
    assert_eq!(server.seen()[0].query, "named=false&channel=orders&event=orders%3Acreated");
    assert_eq!(server.seen()[0].path, "/api/events");
}

#[tokio::test]
async fn an_event_is_handed_out_once_whatever_its_position() {
    let server = Server::start(|_, _| {
        events(&[event("c1", "e1", 1), event("c2", "e1", 1), event("c3", "e2", 2)].concat(), Then::Silence)
    })
    .await;
    let mut stream = server.client().subscribe_to::<OrderCreated>().unwrap().start();
    assert_eq!(told(&mut stream, 2).await, ["open", "c1 A-1", "c3 A-2"]);
    let forgetful = server.builder().remember_ids(0).build().unwrap();
    let mut stream = forgetful.subscribe_to::<OrderCreated>().unwrap().start();
    assert_eq!(told(&mut stream, 3).await.len(), 4);
}

#[tokio::test]
async fn silence_is_not_mistaken_for_peace() {
    let server = Server::start(|number, _| match number {
        0 => events(&event("c1", "e1", 1), Then::Silence),
        _ => events(&event("c2", "e2", 2), Then::Comments),
    })
    .await;
    let client = server.builder().inactivity(Duration::from_millis(200)).build().unwrap();
    let mut stream = client.subscribe_to::<OrderCreated>().unwrap().start();
    assert_eq!(told(&mut stream, 2).await, ["open", "c1 A-1", "lost Some(Timeout)", "open", "c2 A-2"]);
    // Comments are signs of life: for several times as long, nothing happens.
    assert!(timeout(Duration::from_millis(700), stream.next()).await.is_err());
    assert_eq!(server.seen().len(), 2);
}

#[tokio::test]
async fn a_refusal_is_the_last_item() {
    let error = |code: &str, status: u16| {
        answer(
            status,
            &json!({ "error": { "message": "no", "code": -32001, "data": { "code": code, "httpStatus": status } } }),
        )
    };
    for (code, number) in [("UNAUTHORIZED", 401), ("FORBIDDEN", 403), ("NOT_FOUND", 404), ("PRECONDITION_FAILED", 412)]
    {
        let server = Server::start(move |_, _| error(code, number)).await;
        let mut stream = server.client().subscribe(["orders"]).unwrap().earliest().on_gap(OnGap::Error).start();
        let refused = next(&mut stream).await.unwrap().unwrap_err();
        assert_eq!(refused.code().as_str(), code);
        assert!(next(&mut stream).await.is_none());
        assert_eq!(server.seen()[0].position.as_deref(), Some("earliest"));
        assert!(server.seen()[0].query.ends_with("&onGap=error"));
    }
    // The way of servers of events to say that it is over; and what is no stream at all.
    for response in [|| status(204), || answer(200, &json!({}))] {
        let server = Server::start(move |_, _| response()).await;
        let mut stream = server.client().sse("/stream", None).unwrap();
        assert_eq!(next(&mut stream).await.unwrap().unwrap_err().bus_kind(), Some(ErrorKind::Rejected));
        assert!(next(&mut stream).await.is_none());
    }
}

#[tokio::test]
async fn a_token_that_cannot_be_had_now_is_asked_for_again() {
    let server = Server::start(|_, _| events(&event("c1", "e1", 1), Then::Silence)).await;
    let asked = std::sync::atomic::AtomicU32::new(0);
    let token = move || {
        let number = asked.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let outcome = match number {
            0 => Err(pubsub::Error::new(ErrorKind::Unavailable, "get token", "not now")),
            number => Ok(format!("t{number}")),
        };
        std::future::ready(outcome)
    };
    let client = server.builder().token_with(token).build().unwrap();
    let mut stream = client.subscribe_to::<OrderCreated>().unwrap().start();
    assert_eq!(told(&mut stream, 1).await, ["lost Some(Unavailable)", "open", "c1 A-1"]);
    assert_eq!(server.seen()[0].token.as_deref(), Some("Bearer t1"));
}

#[tokio::test]
async fn an_event_that_cannot_be_read_holds_up_none_behind_it() {
    let server = Server::start(|_, _| {
        let odd = versioned("c2", "e2", &json!({ "orderId": 7 }), 2);
        let older = versioned("c3", "e3", &json!({ "id": "A-3" }), 1);
        events(&["id: c1\ndata: {\n\n".to_owned(), odd, older, event("c4", "e4", 4)].concat(), Then::Silence)
    })
    .await;
    let mut stream = server.client().subscribe_to::<OrderCreated>().unwrap().start();
    let codec = "error Some(Codec)";
    assert_eq!(told(&mut stream, 1).await, ["open", codec, codec, codec, "c4 A-4"]);

    let upcast = |old: Value| Ok(json!({ "orderId": old["id"], "total": 0 }));
    let definition = EventDefinition::of::<OrderCreated>().unwrap().upcast(1, upcast);
    let mut stream = server.client().subscribe_to::<OrderCreated>().unwrap().definition(definition).start();
    assert_eq!(told(&mut stream, 2).await, ["open", codec, codec, "c3 A-3", "c4 A-4"]);
    assert_eq!(order(4).order_id, "A-4");
}

#[tokio::test]
async fn any_server_of_events_does() {
    let server = Server::start(|number, _| match number {
        0 => events("event: tick\nid: 1\ndata: a\n\ndata: without id\n\nid: 2\ndata: b\n\n", Then::End),
        // It begins with the last event instead of behind it.
        _ => events("id: 2\ndata: b\n\nid: 3\ndata: c\n\nid: 3\ndata: d\n\n", Then::Silence),
    })
    .await;
    let mut stream = server.client().sse("/ticks?all", None).unwrap();
    let mut data = Vec::new();
    while data.len() < 5 {
        match next(&mut stream).await.unwrap().unwrap() {
            SseItem::Message(message) => data.push(format!("{} {} {}", message.event, message.id, message.data)),
            SseItem::Open | SseItem::Interrupted { .. } => {}
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(data, ["tick 1 a", "message 1 without id", "message 2 b", "message 3 c", "message 3 d"]);
    assert_eq!((server.seen()[0].path.as_str(), server.seen()[0].query.as_str()), ("/api/ticks", "all"));
    assert_eq!(server.seen()[1].position.as_deref(), Some("2"));
}

#[tokio::test]
async fn an_event_beyond_the_limit_ends_the_stream() {
    let server = Server::start(|_, _| events(&format!("data: {}", "x".repeat(2_000)), Then::Silence)).await;
    let client = server.builder().longest_event(1_000).build().unwrap();
    let mut stream = client.sse("/stream", None).unwrap();
    assert!(matches!(next(&mut stream).await, Some(Ok(SseItem::Open))));
    let error = next(&mut stream).await.unwrap().unwrap_err();
    assert_eq!((error.bus_kind(), error.code()), (Some(ErrorKind::TooLarge), FailureCode::PayloadTooLarge));
    assert!(next(&mut stream).await.is_none());
}

#[tokio::test]
async fn dropping_a_stream_closes_its_connection() {
    let (gone, mut left) = tokio::sync::mpsc::unbounded_channel();
    let server = Server::start(move |_, _| watched(gone.clone())).await;
    let mut stream = server.client().sse("/stream", None).unwrap();
    assert!(matches!(next(&mut stream).await, Some(Ok(SseItem::Open))));
    // Polling is not bound to one future.
    assert!(timeout(Duration::from_millis(20), stream.next()).await.is_err());
    assert!(left.try_recv().is_err());
    drop(stream);
    timeout(LIMIT, left.recv()).await.unwrap().unwrap();
}
