//! Events that were handled, are being handled, or are taken for what they are not.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod common;

use std::time::Duration;

use common::{Log, OrderCreated, order, until};
use pubsub::{
    Attempt, ChannelPolicy, Clock, DeadLetter, Dedup, EventId, GroupName, HandlerError, ManualClock, MemoryDedup,
    PubSub, Retry, Router, Timeout, Timestamp,
    memory::{Memory, MemoryOptions},
    store::{DedupClaim, DedupStore},
};

/// A bus whose time stands still until it is moved.
fn still() -> (PubSub, ManualClock) {
    let manual = ManualClock::new(Timestamp::now());
    let clock = Clock::from(manual.clone());
    let memory = Memory::open(MemoryOptions::new().clock(clock.clone())).unwrap();
    let failed = ChannelPolicy::new().dedup_window(Duration::from_secs(60));
    (PubSub::builder(memory).clock(clock).policy("failed", failed).unwrap().build(), manual)
}

/// Moves the time whenever everyone waits for it, until a condition holds.
async fn pass(manual: &ManualClock, what: &str, mut holds: impl FnMut() -> bool) {
    until(what, || {
        if holds() {
            return true;
        }
        manual.advance(Duration::from_millis(100));
        false
    })
    .await;
}

#[tokio::test]
async fn an_event_that_somebody_else_is_at_waits_and_spends_no_attempts() {
    let (bus, manual) = still();
    let store = MemoryDedup::new(10).clock(Clock::from(manual.clone()));
    let (group, id, lease) = (GroupName::parse("g").unwrap(), EventId::parse("one").unwrap(), Duration::from_secs(120));
    assert_eq!(store.claim(&group, &id, lease).await.unwrap(), DedupClaim::Granted);
    let (log, clock, begun) = (Log::default(), manual.clone(), manual.now());
    let seen = log.clone();
    let handler = move |_: OrderCreated, Attempt(attempt): Attempt| {
        seen.add((clock.now().since(begun), attempt));
        async {}
    };
    let router: Router = Router::new().group("g").on(handler).max_deliveries(3).layer(Dedup::new(store));
    let running = router.layer(Retry::exponential(2)).start(&bus).await.unwrap();
    bus.publish(&order(1)).id(id).await.unwrap();
    pass(&manual, "the end of the claim", || log.len() == 1).await;
    let (waited, attempt) = log.all()[0];
    assert!(waited >= lease && attempt == 1, "{waited:?} {attempt}");
    assert_eq!(running.stats("g", "orders").unwrap().dead_lettered, 0);
}

#[tokio::test]
async fn a_claim_is_given_back_when_its_handler_is_cut_off() {
    let (bus, manual) = still();
    let store = MemoryDedup::new(10).clock(Clock::from(manual.clone()));
    let (log, clock, begun) = (Log::default(), manual.clone(), manual.now());
    let seen = log.clone();
    let handler = move |_: OrderCreated, Attempt(attempt): Attempt| {
        let (seen, took) = (seen.clone(), clock.now().since(begun));
        async move {
            if attempt == 1 {
                std::future::pending::<()>().await;
            }
            seen.add((took, attempt));
        }
    };
    let router: Router = Router::new()
        .group("g")
        .on(handler)
        .layer(Dedup::new(store).lease(Duration::from_secs(3_600)))
        .layer(Timeout::after(Duration::from_secs(2)))
        .layer(Retry::exponential(4).delays(Duration::from_secs(1), Duration::from_secs(1)));
    let _running = router.start(&bus).await.unwrap();
    bus.publish(&order(1)).await.unwrap();
    pass(&manual, "the second attempt", || log.len() == 1).await;
    let (took, attempt) = log.all()[0];
    assert!(attempt == 2 && took < Duration::from_secs(60), "{attempt} {took:?}");
}

#[tokio::test]
async fn a_letter_that_is_taken_for_a_duplicate_is_written_later() {
    let (bus, manual) = still();
    let reject = |_: OrderCreated| async { Err::<(), _>(HandlerError::reject("no")) };
    let group = |name| Router::new().group(name).on(reject);
    let router: Router = Router::new().merge(group("a")).merge(group("b")).layer(DeadLetter::to("failed").unwrap());
    let running = router.start(&bus).await.unwrap();
    let mut letters = bus.subscribe_channel("failed").group("reader").await.unwrap();
    bus.publish(&order(1)).await.unwrap();
    let log = Log::default();
    let seen = log.clone();
    let reading = tokio::spawn(async move {
        while let Some(letter) = letters.next().await {
            let letter = letter.unwrap();
            seen.add(letter.message().meta().dead_reason.clone());
            letter.ack();
        }
    });
    pass(&manual, "both letters", || log.len() == 2).await;
    assert_eq!(log.all(), [Some("no".to_owned()), Some("no".to_owned())]);
    let none_elsewhere = ["a", "b"].map(|group| running.stats(group, "orders").unwrap().dead_lettered);
    assert_eq!(none_elsewhere, [0, 0]);
    running.drain_and_close(Duration::from_secs(5)).await.unwrap();
    reading.await.unwrap();
    assert!(bus.publish(&order(2)).await.is_err(), "the bus is closed");
}
