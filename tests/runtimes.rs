//! Handles that outlive a runtime, and calls outside of any.
#![allow(clippy::unwrap_used)]

use std::{
    pin::pin,
    task::{Context, Poll, Waker},
    time::Duration,
};

use pubsub::{
    Confirm, ErrorKind, PubSub, SlowConsumer,
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

/// What a future comes to outside of any runtime, where it must not wait.
fn at_once<T>(future: impl Future<Output = T>) -> T {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(value) => value,
        Poll::Pending => unreachable!("it answers at once"),
    }
}

fn refused<T>(result: pubsub::Result<T>) {
    let Err(error) = result else { unreachable!("it needs a runtime") };
    assert_eq!(error.kind(), ErrorKind::Invalid);
    assert!(error.message().contains("a tokio runtime with time enabled"), "{error}");
}

#[test]
fn what_needs_timers_outside_of_a_runtime_is_refused() {
    let bus = PubSub::new(Memory::open(MemoryOptions::new().capacity(1)).unwrap());
    refused(at_once(async { bus.subscribe::<Created>().group("g").await }));
    let one = Created { number: 1 };
    let mut orders = at_once(async { bus.subscribe::<Created>().slow_consumer(SlowConsumer::Block).await }).unwrap();
    at_once(bus.publish(&one)).unwrap();
    refused(at_once(bus.publish(&one)));
    refused(at_once(orders.next_timeout(Duration::from_secs(1))));
    refused(at_once(orders.next_chunk(2, Duration::from_secs(1))));
    assert_eq!(at_once(orders.next()).unwrap().unwrap().number, 1);
    refused(at_once(bus.publish(&one).confirm(Confirm::Settled)));
    at_once(bus.publish(&one).delay(Duration::from_secs(60))).unwrap();
    refused(at_once(orders.next()).unwrap());
    refused(at_once(bus.close(Duration::from_secs(1))));
    // Nothing was closed, and a runtime may still do it.
    assert_eq!(at_once(bus.publish(&one).delay(Duration::from_secs(60))).unwrap_err().kind(), ErrorKind::Invalid);
    Runtime::new().unwrap().block_on(bus.close(Duration::from_secs(1))).unwrap();
}
