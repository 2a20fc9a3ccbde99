//! How often the memory adapter allocates per raw event: once to publish it, never to deliver it.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::{alloc::System, sync::Arc};

use pubsub::{
    ChannelName, Envelope, EventName, GroupName, Payload,
    driver::{Item, PublishOptions, Publisher, SubscribeOptions, Subscriber},
    memory::{Memory, MemoryOptions},
};
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

const EVENTS: usize = 16_384;
const ROUND: usize = 64;
/// Rounds that do not count.
const WARM_UP: usize = 64;

/// The allocator counts for the whole process: this file has one test, on one thread, and of three passes the lowest
/// counts, for the test harness allocates now and then on a thread of its own.
#[tokio::test(flavor = "current_thread")]
async fn a_delivery_allocates_nothing() {
    let mut lowest = (usize::MAX, usize::MAX);
    for _ in 0..3 {
        let (publishing, consuming) = pass().await;
        lowest = (lowest.0.min(publishing), lowest.1.min(consuming));
    }
    let (publishing, consuming) = lowest;
    let events = EVENTS - WARM_UP * ROUND;
    println!("{events} events: {publishing} allocations to publish, {consuming} to consume");
    assert_eq!(consuming, 0);
    // One per message, and two per segment of 256.
    assert!(publishing <= events + events / 64, "{publishing}");
}

/// Allocations to publish and to consume, after the warm-up.
async fn pass() -> (usize, usize) {
    let memory = Memory::open(MemoryOptions::new()).unwrap();
    let (name, channel) = (EventName::from_static("a:b").unwrap(), ChannelName::from_static("a").unwrap());
    let mut options = SubscribeOptions::new(vec![channel.clone().into()]);
    options.group = Some(GroupName::parse("g").unwrap());
    let mut subscription = memory.subscribe(options).await.unwrap();
    let body = bytes::Bytes::from(vec![b'x'; 256]);
    let (mut publishing, mut consuming) = (0, 0);
    for round in 0..EVENTS / ROUND {
        let before = Region::new(ALLOCATOR);
        for _ in 0..ROUND {
            let message = Envelope::new(name.clone(), channel.clone(), Payload::json(body.clone())).into();
            let batch = [Arc::new(message)].into_iter().collect();
            memory.enqueue(batch, &PublishOptions::default()).await.unwrap().await.unwrap();
        }
        let published = before.change();
        let before = Region::new(ALLOCATOR);
        for _ in 0..ROUND {
            let Item::Delivery(delivery) = subscription.next().await.unwrap().unwrap() else { panic!("a gap") };
            delivery.ack();
        }
        let consumed = before.change();
        // The first rounds grow what is then reused: the buffer of deliveries, the log up to its retention.
        if round >= WARM_UP {
            publishing += published.allocations + published.reallocations;
            consuming += consumed.allocations + consumed.reallocations;
        }
    }
    (publishing, consuming)
}
