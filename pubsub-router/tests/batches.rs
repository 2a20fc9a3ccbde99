//! Handlers that take several events at once.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod common;

use std::time::Duration;

use common::{Charged, Log, OrderCancelled, OrderCreated, letters, order, until};
use pubsub::{
    Batch, Batching, ChannelName, Clock, Dedup, Envelope, EventName, HandlerError, ManualClock, MemoryDedup, Payload,
    PubSub, Retry, Router, State, Timestamp,
    memory::{Memory, MemoryOptions},
};

const SOON: Duration = Duration::from_secs(5);

async fn bus() -> PubSub {
    pubsub::connect("memory:").await.unwrap()
}

fn eager(attempts: u32) -> Retry {
    Retry::exponential(attempts).delays(Duration::ZERO, Duration::ZERO)
}

async fn note(batch: Batch<OrderCreated>, State(log): State<Log<Vec<u64>>>) {
    log.add(batch.iter().map(|order| order.number).collect());
}

#[tokio::test]
async fn a_batch_is_full_or_its_time_is_over() {
    let manual = ManualClock::new(Timestamp::now());
    let clock = Clock::from(manual.clone());
    let memory = Memory::open(MemoryOptions::new().clock(clock.clone())).unwrap();
    let bus = PubSub::builder(memory).clock(clock).build();
    let log = Log::default();
    let batching = Batching::new(4, Duration::from_secs(60));
    let router = Router::new().group("g").on_batch(note, batching).with_state(log.clone());
    let running = router.start(&bus).await.unwrap();
    for number in 0..6 {
        bus.publish(&order(number)).await.unwrap();
    }
    assert_eq!(log.reach(1).await, [[0, 1, 2, 3]]);
    until("the rest is in hand", || running.in_hand() == 2).await;
    tokio::time::sleep(Duration::from_millis(20)).await;
    assert_eq!(log.len(), 1);
    manual.advance(Duration::from_secs(61));
    assert_eq!(log.reach(2).await[1], [4, 5]);
    until("settled", || running.stats("g", "orders").unwrap().outstanding == 0).await;
    assert_eq!(running.handled("g", "orders").unwrap().succeeded, 6);
}

#[tokio::test]
async fn each_event_of_a_batch_has_its_own_outcome() {
    let (bus, log) = (bus().await, Log::default());
    let seen = log.clone();
    let handler = move |batch: Batch<OrderCreated>| {
        let outcomes = batch.iter().map(|order| {
            seen.add((order.number, order.incoming().attempt()));
            order.emitter().emit(&Charged { number: order.number })?;
            match (order.number, order.incoming().attempt()) {
                (1, _) => Err(HandlerError::reject("never")),
                (2, 1) => Err(HandlerError::retry("not yet")),
                _ => Ok(()),
            }
        });
        std::future::ready(outcomes.collect::<Vec<_>>())
    };
    let mut charged = bus.subscribe::<Charged>().group("books").await.unwrap();
    let batching = Batching::new(5, Duration::from_millis(50));
    let router: Router = Router::new().group("g").on_batch(handler, batching).layer(eager(3));
    let _running = router.start(&bus).await.unwrap();
    for number in 0..4 {
        bus.publish(&order(number)).await.unwrap();
    }
    let mut told = Vec::new();
    for _ in 0..3 {
        let event = charged.next_timeout(SOON).await.unwrap().unwrap();
        told.push(event.number);
        event.ack();
    }
    told.sort_unstable();
    assert_eq!(told, [0, 2, 3], "what failed emitted nothing");
    let letters = letters(&bus, "orders", "g", 1).await;
    assert_eq!(letters[0].message.meta().dead_reason.as_deref(), Some("never"));
    let mut seen = log.all();
    seen.sort_unstable();
    assert_eq!(seen, [(0, 1), (1, 1), (2, 1), (2, 2), (3, 1)]);
}

#[tokio::test]
async fn a_batch_that_panics_or_miscounts_fails_as_a_whole_and_an_unreadable_event_alone() {
    let (bus, log) = (bus().await, Log::default());
    let seen = log.clone();
    let handler = move |batch: Batch<OrderCreated>| {
        let calls = seen.len();
        seen.add(batch.len());
        async move {
            assert!(calls != 0, "the first call");
            match calls {
                1 => vec![Ok::<_, HandlerError>(())],
                _ => batch.iter().map(|_| Ok(())).collect(),
            }
        }
    };
    let batching = Batching::new(2, Duration::from_millis(20));
    let router: Router = Router::new().group("g").on_batch(handler, batching).layer(eager(4));
    let running = router.start(&bus).await.unwrap();
    let (name, channel) = (EventName::parse("orders:created").unwrap(), ChannelName::parse("orders").unwrap());
    bus.publish_envelope(Envelope::new(name, channel, Payload::json("7"))).await.unwrap();
    for number in 0..2 {
        bus.publish(&order(number)).await.unwrap();
    }
    until("all", || running.handled("g", "orders").unwrap().succeeded == 2).await;
    assert_eq!(log.all(), [2, 2, 2]);
    assert_eq!(letters(&bus, "orders", "g", 1).await.len(), 1);
    assert_eq!(running.stats("g", "orders").unwrap().undecodable, 1);
}

#[tokio::test]
async fn draining_hands_over_the_batch_that_is_not_full() {
    let (bus, log) = (bus().await, Log::default());
    let batching = Batching::new(100, Duration::from_secs(3_600));
    let router = Router::new().group("g").concurrency(3).on_batch(note, batching).with_state(log.clone());
    let running = router.start(&bus).await.unwrap();
    for number in 0..7 {
        bus.publish(&order(number)).await.unwrap();
    }
    until("all in hand", || running.in_hand() == 7).await;
    assert!(log.all().is_empty());
    running.drain(SOON).await.unwrap();
    assert_eq!(log.all(), [[0, 1, 2, 3, 4, 5, 6]]);
}

#[tokio::test]
async fn batches_live_beside_other_handlers_and_behind_layers() {
    let (bus, log, singles) = (bus().await, Log::default(), Log::default());
    let seen = singles.clone();
    let router = Router::new()
        .group("g")
        .on_batch(note, Batching::new(50, Duration::from_millis(30)))
        .on(move |cancelled: OrderCancelled| {
            seen.add(cancelled.number);
            async {}
        })
        .layer(Dedup::new(MemoryDedup::new(100)))
        .with_state(log.clone());
    let running = router.start(&bus).await.unwrap();
    let id = pubsub::EventId::random();
    for number in 0..10 {
        let event = order(number);
        let publish = bus.publish(&event);
        if number % 5 == 0 {
            publish.id(id.clone()).await.unwrap()
        } else {
            publish.await.unwrap()
        };
        bus.publish(&OrderCancelled { customer: "C-1".into(), number }).await.unwrap();
    }
    singles.reach(10).await;
    until("all", || running.stats("g", "orders").unwrap().outstanding == 0).await;
    let mut seen: Vec<u64> = log.all().concat();
    seen.sort_unstable();
    assert_eq!(seen, [0, 1, 2, 3, 4, 6, 7, 8, 9], "the second of the same id was passed over");
    assert_eq!(singles.all(), (0..10).collect::<Vec<_>>());
}
