//! The spans of OpenTelemetry that events leave behind: who is whose parent, and which are linked.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use std::time::Duration;

use opentelemetry::trace::{SpanKind, Status};
use pubsub::{
    Batch, Batching, ChannelPolicy, Emitter, EventBus, EventRpc, Failure, HandlerError, LetterFilter, PubSub, Router,
    Trace,
    sql::{Database, SqlOutbox, sqlx},
};
use tokio::sync::oneshot;
use tracing::Instrument;

#[path = "common/spans.rs"]
mod exported;
use exported::{SpanData, assert_child, attribute, export, id, links, span, spans};

const SOON: Duration = Duration::from_secs(20);

async fn bus() -> PubSub {
    export();
    pubsub::connect("memory:").await.unwrap()
}

/// Events of their own for each test, as channels tell the spans apart.
macro_rules! events {
    ($($type:ident $name:literal),*) => {
        $(
            #[derive(Debug)]
            #[pubsub::event($name)]
            struct $type {
                #[event(key)]
                key: String,
            }
        )*
    };
}

#[tokio::test]
async fn a_trace_goes_from_publish_through_handlers_to_what_they_emit() {
    events!(Ordered "orders:made", Shipped "shipments:made");
    let bus = bus().await;
    let ship = |order: Ordered, emit: Emitter| async move { emit.emit(&Shipped { key: order.key }) };
    let router: Router = Router::new().group("chain").on(ship).on(|_: Shipped| async {}).layer(Trace);
    let running = router.start(&bus).await.unwrap();
    bus.publish(&Ordered { key: "a".into() }).await.unwrap();

    let (publish, process) = (span("publish orders").await, span("process orders").await);
    let (emitted, second) = (span("publish shipments").await, span("process shipments").await);
    assert_child(&process, &publish);
    assert_child(&emitted, &process);
    assert_child(&second, &emitted);
    assert_eq!((publish.span_kind.clone(), process.span_kind.clone()), (SpanKind::Producer, SpanKind::Consumer));
    assert_eq!(publish.parent_span_id, opentelemetry::trace::SpanId::INVALID);
    let expected = [
        (&publish, "messaging.system", "memory"),
        (&publish, "messaging.destination.name", "orders"),
        (&publish, "messaging.operation.type", "send"),
        (&publish, "messaging.operation.name", "publish"),
        (&publish, "pubsub.event", "orders:made"),
        (&process, "messaging.destination.name", "orders"),
        (&process, "messaging.operation.type", "process"),
        (&process, "messaging.consumer.group.name", "chain"),
        (&process, "pubsub.attempt", "1"),
        (&process, "outcome", "success"),
    ];
    for (span, key, value) in expected {
        assert_eq!(attribute(span, key).as_deref(), Some(value), "{} {key}", span.name);
    }
    assert_eq!(attribute(&publish, "messaging.message.id"), attribute(&process, "messaging.message.id"));
    running.drain(SOON).await.unwrap();
}

#[tokio::test]
async fn a_trace_goes_through_a_call_and_back() {
    #[pubsub::event(name = "quotes:get", reply = f64)]
    struct GetQuote {
        symbol: String,
    }
    let bus = bus().await;
    let rpc = EventRpc::new(&bus);
    let responder = rpc
        .respond::<GetQuote, _, _>("quoting", |asked| async move {
            if asked.symbol == "NONE" { Err(Failure::not_found("no such symbol")) } else { Ok(7.5) }
        })
        .await
        .unwrap();
    assert_eq!(rpc.request(&GetQuote { symbol: "ABC".into() }).await.unwrap(), 7.5);

    let (request, publish) = (span("request quotes").await, span("publish quotes").await);
    let process = span("process quotes").await;
    assert_child(&publish, &request);
    assert_child(&process, &publish);
    assert_eq!((request.span_kind.clone(), process.span_kind.clone()), (SpanKind::Client, SpanKind::Consumer));
    let replies = spans_in(&request, "publish (inbox)").await;
    assert_child(&replies[0], &process);
    assert_eq!(links(&request), [id(&replies[0])]);
    assert_eq!(request.status, Status::Unset);

    rpc.request(&GetQuote { symbol: "NONE".into() }).await.unwrap_err();
    let requests = spans("request quotes", 2).await;
    let failed = requests.iter().find(|span| id(span) != id(&request)).unwrap();
    assert_eq!(attribute(failed, "error.type").as_deref(), Some("NOT_FOUND"));
    assert!(matches!(failed.status, Status::Error { .. }));
    responder.stop().await;
}

/// The spans of this name in the trace of another one, once there are any.
async fn spans_in(other: &SpanData, name: &str) -> Vec<SpanData> {
    let deadline = tokio::time::Instant::now() + SOON;
    loop {
        let found =
            exported::all(|span| span.name == name && span.span_context.trace_id() == other.span_context.trace_id());
        if !found.is_empty() {
            return found;
        }
        assert!(tokio::time::Instant::now() < deadline, "no span `{name}` in the trace");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

#[tokio::test]
async fn the_reply_of_an_action_comes_of_its_span() {
    #[pubsub::event(name = "seats:take", reply = u32)]
    struct TakeSeat {
        row: u32,
    }
    let bus = bus().await;
    let router: Router = Router::new()
        .group("seating")
        .action(|asked: TakeSeat| async move { Ok::<_, HandlerError>(asked.row) })
        .layer(Trace);
    let running = router.start(&bus).await.unwrap();
    let rpc = EventRpc::new(&bus);
    assert_eq!(rpc.request(&TakeSeat { row: 3 }).await.unwrap(), 3);
    let (process, request) = (span("process seats").await, span("request seats").await);
    assert_child(&process, &span("publish seats").await);
    assert_child(&spans_in(&request, "publish (inbox)").await[0], &process);
    running.drain(SOON).await.unwrap();
}

#[tokio::test]
async fn a_dead_letter_and_its_redelivery_stay_in_the_trace() {
    events!(Scanned "scans:made");
    let bus = bus().await;
    let handler = |_: Scanned| async { Err::<(), _>(HandlerError::reject("unreadable")) };
    let router: Router = Router::new().group("g").on(handler).layer(Trace);
    let running = router.start(&bus).await.unwrap();
    bus.publish(&Scanned { key: "a".into() }).await.unwrap();

    let (process, letter) = (span("process scans").await, span("publish _dlq.g.scans").await);
    assert_child(&process, &span("publish scans").await);
    assert_child(&letter, &process);
    assert_eq!(process.status, Status::error("unreadable"));
    assert_eq!(attribute(&process, "error.type").as_deref(), Some("reject"));
    running.drain(SOON).await.unwrap();

    let mut again = bus.subscribe::<Scanned>().group("g").await.unwrap();
    let letters = bus.dead_letter_box("scans", "g").unwrap();
    assert_eq!(letters.redrive(&LetterFilter::all()).await.unwrap().done, 1);
    let scanned = again.next_timeout(SOON).await.unwrap().unwrap();
    let publishes = spans("publish scans", 2).await;
    let redriven = publishes.iter().find(|span| span.parent_span_id == id(&letter)).unwrap();
    // A subscriber without a router begins the span of its work itself.
    let hop = scanned.hop();
    hop.run(async { tracing::info_span!("work").in_scope(|| ()) }).await;
    drop((hop, scanned));
    let processes = spans("process scans", 2).await;
    let process = processes.iter().find(|span| span.parent_span_id == id(redriven)).unwrap();
    assert_child(&span("work").await, process);
}

#[tokio::test]
async fn a_batch_is_linked_with_the_spans_that_its_events_name() {
    events!(Measured "readings:made");
    let bus = bus().await;
    let batching = Batching::new(3, Duration::from_secs(5));
    let (sender, mut batches) = tokio::sync::mpsc::channel(8);
    let handler = move |batch: Batch<Measured>| {
        let sender = sender.clone();
        async move {
            tracing::info_span!("store readings").in_scope(|| ());
            sender.send(batch.len()).await.unwrap();
        }
    };
    let router: Router = Router::new().group("g").on_batch(handler, batching).layer(Trace);
    let running = router.start(&bus).await.unwrap();
    let outer = tracing::info_span!("nightly");
    let events = ["a", "b", "c"].map(|key| Measured { key: key.into() });
    let sent = bus.publish_all(&events).instrument(outer.clone()).await.unwrap();
    drop(outer);
    assert!(sent.iter().all(Result::is_ok));
    assert_eq!(batches.recv().await, Some(3));

    let (outer, send) = (span("nightly").await, span("send readings").await);
    let created = spans("create readings", 3).await;
    assert_child(&send, &outer);
    assert_eq!(send.span_kind, SpanKind::Client);
    assert_eq!(attribute(&send, "messaging.batch.message_count").as_deref(), Some("3"));
    let mut made: Vec<_> = created.iter().map(id).collect();
    assert_eq!(links(&send), made);
    for one in &created {
        assert_child(one, &outer);
        assert_eq!(one.span_kind, SpanKind::Producer);
    }
    // One for each event behind its layers, and one for the call of the handler.
    let processed = spans("process readings", 4).await;
    let (together, alone): (Vec<_>, Vec<_>) =
        processed.iter().partition(|span| attribute(span, "messaging.batch.message_count").is_some());
    let mut parents: Vec<_> = alone.iter().map(|span| span.parent_span_id).collect();
    made.sort_unstable_by_key(|id| id.to_bytes());
    parents.sort_unstable_by_key(|id| id.to_bytes());
    assert_eq!(parents, made);
    assert_eq!(links(together[0]).len(), 3);
    assert_eq!(together[0].parent_span_id, opentelemetry::trace::SpanId::INVALID);
    assert_child(&span("store readings").await, together[0]);
    running.drain(SOON).await.unwrap();
}

#[tokio::test]
async fn an_outbox_keeps_the_trace_until_the_relay_goes_on_with_it() {
    events!(Paid "payments:made");
    let bus = bus().await;
    let file = std::env::temp_dir().join(format!("pubsub-traces-{}.db", std::process::id()));
    let pool = sqlx::SqlitePool::connect(&format!("sqlite:{}?mode=rwc", file.display())).await.unwrap();
    let database = Database::from(pool.clone());
    database.migrate().await.unwrap();
    let outbox = SqlOutbox::new(&bus, &database);
    let mut paid = bus.subscribe::<Paid>().group("g").await.unwrap();
    let business = tracing::info_span!("pay");
    let store = async {
        let mut tx = pool.begin().await.unwrap();
        outbox.publish(&mut *tx, &Paid { key: "a".into() }).await.unwrap();
        tx.commit().await.unwrap();
    };
    store.instrument(business.clone()).await;
    drop(business);
    let (stop, stopped) = oneshot::channel::<()>();
    let relay = outbox.relay().run(async { drop(stopped.await) }).instrument(tracing::info_span!("relaying"));
    let relay = tokio::spawn(relay);
    let received = paid.next_timeout(SOON).await.unwrap().unwrap();
    drop(received.hop());
    received.ack();
    let publish = span("publish payments").await;
    drop(stop);
    relay.await.unwrap().unwrap();

    let create = span("create payments").await;
    assert_child(&create, &span("pay").await);
    assert_child(&publish, &create);
    assert_child(&span("process payments").await, &publish);
    assert_eq!(links(&publish), [id(&span("relaying").await)], "what sends it is of another trace");
    pool.close().await;
    for ending in ["", "-wal", "-shm"] {
        std::fs::remove_file(format!("{}{ending}", file.display())).ok();
    }
}

#[tokio::test]
async fn a_listener_of_the_event_bus_is_part_of_the_trace() {
    events!(Said "chatter:said");
    let events = EventBus::new(&bus().await);
    events.on(|_: Said| async { tracing::info_span!("hear").in_scope(|| ()) }).await.unwrap();
    events.emit(&Said { key: "a".into() }).await.unwrap();
    let process = span("process chatter").await;
    assert_child(&process, &span("publish chatter").await);
    assert_child(&span("hear").await, &process);
}

#[tokio::test]
async fn a_batch_of_nothing_leaves_no_span() {
    events!(Unmade "unmade:made");
    let bus = bus().await;
    assert!(bus.publish_all(&Vec::<Unmade>::new()).await.unwrap().is_empty());
    bus.publish(&Unmade { key: "a".into() }).await.unwrap();
    span("publish unmade").await;
    assert!(exported::all(|span| span.name.trim_end() == "publish").is_empty(), "a span without a channel");
}

#[tokio::test]
async fn a_publish_that_fails_says_so() {
    events!(Refused "refusals:made");
    export();
    let builder = pubsub::builder("memory:").await.unwrap();
    let bus = builder.policy("refusals", ChannelPolicy::new().max_payload(1)).unwrap().build();
    bus.publish(&Refused { key: "a".into() }).await.unwrap_err();
    let publish = span("publish refusals").await;
    assert!(matches!(publish.status, Status::Error { .. }));
    assert_eq!(attribute(&publish, "error.type").as_deref(), Some("too_large"));
}

#[tokio::test]
async fn the_trace_of_a_stranger_is_gone_on_with() {
    events!(Imported "imports:made");
    let bus = bus().await;
    let theirs = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    let state = "vendor=1";
    let mut imported = bus.subscribe::<Imported>().group("g").await.unwrap();
    let publish = bus.publish(&Imported { key: "a".into() });
    let publish = publish.meta(|meta| {
        (meta.traceparent, meta.tracestate) = (Some(theirs.to_owned()), Some(state.to_owned()));
    });
    let here = tracing::info_span!("import");
    publish.instrument(here.clone()).await.unwrap();
    drop(here);
    let received = imported.next_timeout(SOON).await.unwrap().unwrap();
    let (publish, here) = (span("publish imports").await, span("import").await);
    assert_eq!(publish.span_context.trace_id().to_string(), "4bf92f3577b34da6a3ce929d0e0e4736");
    assert_eq!(publish.parent_span_id.to_string(), "00f067aa0ba902b7");
    assert_eq!(links(&publish), [id(&here)]);
    let named = received.meta().traceparent.clone().unwrap();
    assert_eq!(named, format!("00-4bf92f3577b34da6a3ce929d0e0e4736-{}-01", id(&publish)));
    assert_eq!(received.meta().tracestate.as_deref(), Some(state));
}
