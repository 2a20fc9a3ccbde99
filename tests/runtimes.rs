//! Handles that outlive a runtime, and calls outside of any.
#![allow(clippy::unwrap_used)]

use std::{
    pin::pin,
    task::{Context, Poll, Waker},
    time::Duration,
};

use pubsub::{
    ErrorKind, PubSub,
    memory::{Memory, MemoryOptions},
};
use tokio::runtime::Runtime;

#[pubsub::event("orders:created")]
struct Created {
    number: u32,
}

#[test]
fn dead_letters_are_written_after_the_first_runtime_has_ended() {
    let bus = PubSub::new(Memory::open(MemoryOptions::new()).unwrap());
    let (one, two) = (Runtime::new().unwrap(), Runtime::new().unwrap());
    let bury = async |runtime: &str| {
        let mut orders = bus.subscribe::<Created>().group(runtime).await.unwrap();
        let mut dead = bus.history(&dead_letters(runtime)).await.map_or(0, |page| page.events.len());
        bus.publish(&Created { number: 1 }).await.unwrap();
        orders.next().await.unwrap().unwrap().reject("no").unwrap();
        while dead == 0 {
            tokio::time::sleep(Duration::from_millis(1)).await;
            dead = bus.history(&dead_letters(runtime)).await.map_or(0, |page| page.events.len());
        }
        assert_eq!(orders.stats().dead_lettered, 1);
    };
    one.block_on(bury("one"));
    drop(one);
    two.block_on(async { tokio::time::timeout(Duration::from_secs(10), bury("two")).await.unwrap() });
}

fn dead_letters(group: &str) -> pubsub::driver::HistoryRange {
    let group = pubsub::GroupName::parse(group).unwrap();
    pubsub::driver::HistoryRange::new(pubsub::ChannelName::parse("orders").unwrap().dead_letter(&group))
}

#[test]
fn a_group_outside_of_a_runtime_is_refused() {
    let bus = PubSub::new(Memory::open(MemoryOptions::new()).unwrap());
    let mut subscribing = pin!(async { bus.subscribe::<Created>().group("g").await });
    let Poll::Ready(Err(error)) = subscribing.as_mut().poll(&mut Context::from_waker(Waker::noop())) else {
        unreachable!("subscribing is refused at once");
    };
    assert_eq!(error.kind(), ErrorKind::Invalid);
    assert!(error.message().contains("tokio runtime"), "{error}");
}
