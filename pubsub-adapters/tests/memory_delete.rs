//! Deleting groups that nobody uses any more.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

use std::time::Duration;

use pubsub_adapters::memory::{Memory, MemoryOptions};
use pubsub_core::{
    ChannelName, Envelope, ErrorKind, EventName, GroupName, Payload, PubSub,
    driver::{Confirm, SubscribeOptions},
};

const SOON: Duration = Duration::from_secs(10);

fn on(channel: &str) -> Envelope {
    Envelope::new(EventName::parse("test:event").unwrap(), ChannelName::parse(channel).unwrap(), Payload::json("1"))
}

fn bus() -> PubSub {
    PubSub::new(Memory::open(MemoryOptions::new().capacity(4)).unwrap())
}

/// Makes the group, fills its channel, and leaves.
async fn abandon(bus: &PubSub, channel: &str) {
    drop(bus.subscribe_channel(channel).group("g").await.unwrap());
    for _ in 0..4 {
        bus.publish_envelope(on(channel)).await.unwrap();
    }
    let refused = bus.publish_envelope(on(channel)).timeout(Duration::from_millis(1)).await;
    assert_eq!(refused.unwrap_err().kind(), ErrorKind::Backpressure);
}

async fn gone<T>(bus: &PubSub, waiting: tokio::task::JoinHandle<T>) -> T {
    tokio::task::yield_now().await;
    assert!(!waiting.is_finished());
    bus.delete_group("test", "g").await.unwrap();
    tokio::time::timeout(SOON, waiting).await.expect("still waiting").unwrap()
}

#[tokio::test]
async fn a_publisher_that_waits_for_it_goes_on() {
    let bus = bus();
    abandon(&bus, "test").await;
    let publisher = bus.clone();
    let waiting = tokio::spawn(async move { publisher.publish_envelope(on("test")).timeout(6 * SOON).await });
    gone(&bus, waiting).await.unwrap();
    // With the group goes what it held.
    for _ in 0..20 {
        bus.publish_envelope(on("test")).await.unwrap();
    }
}

#[tokio::test]
async fn a_confirmation_by_settlement_waits_only_for_those_that_are_left() {
    let bus = bus();
    drop(bus.subscribe_channel("test").group("g").await.unwrap());
    let mut other = bus.subscribe_channel("test").group("other").await.unwrap();
    let publish = bus.publish_envelope(on("test")).confirm(Confirm::Settled).timeout(6 * SOON);
    let ticket = publish.enqueue().await.unwrap();
    other.next().await.unwrap().unwrap().ack();
    gone(&bus, tokio::spawn(ticket)).await.unwrap();
}

#[tokio::test]
async fn what_is_in_hand_settles_nothing_of_the_new_group() {
    let bus = bus();
    let mut events = bus.subscribe_channel("test").group("g").await.unwrap();
    bus.publish_envelope(on("test")).await.unwrap();
    let old = events.next().await.unwrap().unwrap();
    assert_eq!(bus.delete_group("test", "g").await.unwrap_err().kind(), ErrorKind::Conflict);
    drop(events);
    bus.delete_group("test", "g").await.unwrap();
    let mut events = bus.subscribe_channel("test").group("g").from_earliest().await.unwrap();
    old.ack();
    let again = events.next().await.unwrap().unwrap();
    assert_eq!(again.attempt(), 1);
    again.ack_confirmed().await.unwrap();
}

#[tokio::test]
async fn a_group_of_a_wildcard_is_made_until_its_last_one_is_deleted() {
    let bus = bus();
    drop(bus.subscribe_channel("shop.*").group("g").await.unwrap());
    abandon(&bus, "shop.a").await;
    abandon(&bus, "shop.b").await;
    bus.delete_group("shop.a", "g").await.unwrap();
    abandon(&bus, "shop.c").await;
    for channel in ["shop.b", "shop.c"] {
        bus.delete_group(channel, "g").await.unwrap();
    }
    for _ in 0..20 {
        bus.publish_envelope(on("shop.d")).await.unwrap();
    }
    assert_eq!(bus.delete_group("shop.d", "g").await.unwrap_err().kind(), ErrorKind::NotFound);
}

#[tokio::test]
async fn a_wildcard_subscription_that_is_about_to_join_is_a_member() {
    let bus = bus();
    let mut events = bus.subscribe_channel("shop.*").group("g").await.unwrap();
    bus.publish_envelope(on("shop.a")).await.unwrap();
    assert_eq!(bus.delete_group("shop.a", "g").await.unwrap_err().kind(), ErrorKind::Conflict);
    events.next().await.unwrap().unwrap().ack();
}

#[tokio::test]
async fn a_closed_adapter_deletes_nothing() {
    let memory = Memory::open(MemoryOptions::new()).unwrap();
    let bus = PubSub::new(memory.clone());
    drop(bus.subscribe_channel("test").group("g").await.unwrap());
    bus.close(SOON).await.unwrap();
    assert_eq!(bus.delete_group("test", "g").await.unwrap_err().kind(), ErrorKind::Closed);
    let (channel, group) = (ChannelName::parse("test").unwrap(), GroupName::parse("g").unwrap());
    assert_eq!(bus.adapter().delete_group(&channel, &group).await.unwrap_err().kind(), ErrorKind::Closed);
    assert!(bus.adapter().subscribe(SubscribeOptions::new(vec![channel.into()])).await.is_err());
}
