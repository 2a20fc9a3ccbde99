//! Several events at a time.
#![allow(clippy::unwrap_used)]

use std::time::Duration;

use pubsub::{
    ChannelName, Envelope, ErrorKind, EventName, Payload, PubSub,
    memory::{Memory, MemoryOptions},
};

#[pubsub::event("orders:created")]
#[derive(Debug)]
struct Created {
    number: u32,
}

fn bus() -> PubSub {
    PubSub::new(Memory::open(MemoryOptions::new()).unwrap())
}

#[tokio::test]
async fn an_error_between_events_ends_the_chunk_and_comes_with_the_next_call() {
    let bus = bus();
    let mut orders = bus.subscribe::<Created>().await.unwrap();
    let (name, channel) = (EventName::parse("orders:created").unwrap(), ChannelName::parse("orders").unwrap());
    for _ in 0..2 {
        bus.publish(&Created { number: 1 }).await.unwrap();
        bus.publish_envelope(Envelope::new(name.clone(), channel.clone(), Payload::json("{}"))).await.unwrap();
    }
    let wait = Duration::from_secs(5);
    assert_eq!(orders.next_chunk(10, wait).await.unwrap().len(), 1);
    assert_eq!(orders.next_chunk(10, wait).await.unwrap_err().kind(), ErrorKind::Codec);
    assert_eq!(orders.next_chunk(10, wait).await.unwrap()[0].number, 1);
    assert_eq!(orders.next().await.unwrap().unwrap_err().kind(), ErrorKind::Codec);
}

#[tokio::test]
async fn a_chunk_may_wait_without_end_but_not_for_nothing() {
    let bus = bus();
    let mut orders = bus.subscribe::<Created>().await.unwrap();
    for number in 0..2 {
        bus.publish(&Created { number }).await.unwrap();
    }
    assert_eq!(orders.next_chunk(2, Duration::MAX).await.unwrap().len(), 2);
    let error = orders.next_chunk(0, Duration::ZERO).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Invalid);
    assert!(error.message().contains("`max`"), "{error}");
}

#[tokio::test]
async fn items_need_no_debug() {
    let bus = bus();
    let mut orders = bus.subscribe::<Created>().await.unwrap();
    bus.publish(&Created { number: 3 }).await.unwrap();
    assert!(matches!(orders.next_item().await, Some(Ok(pubsub::EventItem::Event(order))) if order.number == 3));
}
