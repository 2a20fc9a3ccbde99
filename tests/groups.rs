//! What the members of one group must have in common, and what options belong to groups.
#![allow(clippy::unwrap_used)]

use pubsub::{
    ErrorKind, PubSub,
    memory::{Memory, MemoryOptions},
};

#[pubsub::event("orders:created")]
struct Created {
    number: u32,
}

#[pubsub::event("orders:paid")]
struct Paid {
    number: u32,
}

fn bus() -> PubSub {
    PubSub::new(Memory::open(MemoryOptions::new()).unwrap())
}

#[tokio::test]
async fn a_member_that_leaves_does_not_speak_for_those_that_stay() {
    let bus = bus();
    let one = bus.subscribe::<Created>().group("g").await.unwrap();
    let two = bus.subscribe::<Created>().group("g").await.unwrap();
    drop(two);
    assert_eq!(bus.subscribe::<Paid>().group("g").await.unwrap_err().kind(), ErrorKind::Conflict);
    bus.subscribe::<Paid>().group("other").await.unwrap();
    drop(one);
    bus.subscribe::<Paid>().group("g").await.unwrap();
}

#[tokio::test]
async fn members_of_overlapping_channels_take_the_same_names() {
    let bus = bus();
    let all = bus.subscribe_channel("*").group("g").await.unwrap();
    let error = bus.subscribe::<Created>().group("g").await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Conflict);
    assert!(error.message().contains("every event") && error.message().contains("orders:created"), "{error}");
    drop(all);
    let _created = bus.subscribe::<Created>().group("g").await.unwrap();
    assert_eq!(bus.subscribe_channel("*").group("g").await.unwrap_err().kind(), ErrorKind::Conflict);
    bus.subscribe_channel("elsewhere").group("g").await.unwrap();
}

#[tokio::test]
async fn a_subscription_that_was_refused_leaves_no_trace() {
    let bus = bus();
    let _created = bus.subscribe::<Created>().group("g").await.unwrap();
    bus.subscribe_channel("*").group("g").await.unwrap_err();
    bus.subscribe_events().event::<Paid>().names("other:done").group("g").await.unwrap_err();
    bus.subscribe_channel("other").group("g").await.unwrap();
}
