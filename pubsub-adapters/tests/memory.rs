//! What only the memory adapter promises; what it shares with others is in the conformance suite.
#![allow(clippy::unwrap_used, missing_docs)]

use std::{sync::Arc, time::Duration};

use pubsub_adapters::memory::{Memory, MemoryOptions};
use pubsub_core::{
    ChannelName, ChannelPolicy, Clock, Envelope, ErrorKind, EventName, Key, ManualClock, Payload, PubSub, Retention,
    Timestamp,
    driver::{Confirm, RetryPolicy, SlowConsumer},
};

fn event(n: usize) -> Envelope {
    let name = EventName::parse("test:event").unwrap();
    Envelope::new(name, ChannelName::parse("test").unwrap(), Payload::json(n.to_string()))
}

fn number(message: &pubsub_core::Message) -> usize {
    std::str::from_utf8(message.payload().data().unwrap()).unwrap().parse().unwrap()
}

fn bus(options: MemoryOptions) -> PubSub {
    PubSub::new(Memory::open(options).unwrap())
}

#[tokio::test]
async fn what_is_published_arrives_once_and_in_order() {
    let bus = bus(MemoryOptions::new());
    let mut events = bus.subscribe_channel("test").group("g").await.unwrap();
    for n in 0..500 {
        bus.publish_envelope(event(n)).await.unwrap();
    }
    for n in 0..500 {
        let event = events.next().await.unwrap().unwrap();
        assert_eq!((number(&event), event.attempt()), (n, 1));
        event.ack();
    }
    assert!(events.next_timeout(Duration::from_millis(30)).await.unwrap().is_none());
}

#[tokio::test]
async fn a_full_channel_holds_its_publisher_until_something_is_settled() {
    let bus = bus(MemoryOptions::new().capacity(4));
    let mut events = bus.subscribe_channel("test").group("g").await.unwrap();
    for n in 0..4 {
        bus.publish_envelope(event(n)).await.unwrap();
    }
    let error = bus.publish_envelope(event(4)).timeout(Duration::from_millis(50)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Backpressure);
    let waiting = tokio::spawn({
        let bus = bus.clone();
        async move { bus.publish_envelope(event(5)).await }
    });
    events.next().await.unwrap().unwrap().ack();
    waiting.await.unwrap().unwrap();
    for n in [1, 2, 3, 5] {
        let event = events.next().await.unwrap().unwrap();
        assert_eq!(number(&event), n);
        event.ack();
    }
}

#[tokio::test]
async fn delays_follow_the_clock_that_is_given() {
    let manual = ManualClock::new(Timestamp::from_millis(1_000_000).unwrap());
    let clock = Clock::from(manual.clone());
    let memory = Memory::open(MemoryOptions::new().clock(clock.clone())).unwrap();
    let bus = PubSub::builder(memory).clock(clock).build();
    let mut events = bus.subscribe_channel("test").group("g").await.unwrap();
    bus.publish_envelope(event(1)).await.unwrap();
    events.next().await.unwrap().unwrap().nack_after(Duration::from_secs(60)).unwrap();
    bus.publish_envelope(event(2)).delay(Duration::from_secs(90)).await.unwrap();
    let order = tokio::spawn(async move {
        let mut seen = Vec::new();
        for _ in 0..2 {
            let event = events.next().await.unwrap().unwrap();
            seen.push((number(&event), event.attempt()));
            event.ack();
        }
        seen
    });
    for _ in 0..2 {
        while manual.next_due().is_none() {
            tokio::task::yield_now().await;
        }
        assert!(!order.is_finished());
        manual.advance(Duration::from_secs(60));
        tokio::task::yield_now().await;
    }
    assert_eq!(order.await.unwrap(), [(1, 2), (2, 1)]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn keys_stay_in_order_over_failures_and_members() {
    const KEYS: usize = 13;
    const EACH: usize = 1_500;
    let memory = Memory::open(MemoryOptions::new()).unwrap();
    let bus = PubSub::builder(memory).policy("test", ChannelPolicy::new().ordered_per_key(1)).unwrap().build();
    let (sender, mut seen) = tokio::sync::mpsc::unbounded_channel();
    let mut members = Vec::new();
    for member in 0..3 {
        let retry = RetryPolicy::immediate();
        let mut events = bus.subscribe_channel("test").group("g").retry(retry).max_in_flight(100).await.unwrap();
        let sender = sender.clone();
        members.push(tokio::spawn(async move {
            let mut count = 0_usize;
            while let Some(event) = events.next().await {
                let event = event.unwrap();
                count += 1;
                match (count * 7 + member) % 17 {
                    0 => event.nack().unwrap(),
                    1 => drop(event),
                    2 => event.nack_after(Duration::from_millis(2)).unwrap(),
                    _ => {
                        // Noted before it is settled, or another member's note of the next one might come first. An
                        // event that was taken back meanwhile comes again.
                        let note = (event.key().unwrap().as_str().to_owned(), number(&event));
                        if event.is_live() {
                            sender.send(note).unwrap();
                            let _ = event.ack_confirmed().await;
                        }
                    }
                }
            }
        }));
    }
    let publisher = tokio::spawn({
        let bus = bus.clone();
        async move {
            for n in 0..EACH {
                for key in 0..KEYS {
                    let mut event = event(n);
                    event.key = Some(Key::new(&format!("k{key}")).unwrap());
                    bus.publish_envelope(event).await.unwrap();
                }
            }
        }
    });
    let mut next = std::collections::HashMap::new();
    let mut total = 0;
    while total < KEYS * EACH {
        let (key, n) = tokio::time::timeout(Duration::from_secs(20), seen.recv()).await.expect("stalled").unwrap();
        let expected = next.entry(key.clone()).or_insert(0);
        assert_eq!(n, *expected, "key {key}");
        *expected += 1;
        total += 1;
    }
    publisher.await.unwrap();
    bus.close(Duration::from_secs(5)).await.unwrap();
    for member in members {
        member.await.unwrap();
    }
}

#[tokio::test]
async fn a_confirmation_by_settlement_waits_for_every_group() {
    let bus = bus(MemoryOptions::new());
    let mut one = bus.subscribe_channel("test").group("one").await.unwrap();
    let mut two = bus.subscribe_channel("test").group("two").await.unwrap();
    let publish = tokio::spawn({
        let bus = bus.clone();
        async move { bus.publish_envelope(event(1)).confirm(Confirm::Settled).await }
    });
    one.next().await.unwrap().unwrap().ack();
    let second = two.next().await.unwrap().unwrap();
    tokio::task::yield_now().await;
    assert!(!publish.is_finished());
    second.ack();
    publish.await.unwrap().unwrap();
}

#[tokio::test]
async fn retention_tells_a_group_what_it_lost() {
    let memory = Memory::open(MemoryOptions::new().capacity(64)).unwrap();
    let policy = ChannelPolicy::new().retention(Retention::default().count(10));
    let bus = PubSub::builder(memory).policy("test", policy).unwrap().build();
    let mut events = bus.subscribe_channel("test").group("g").await.unwrap();
    for n in 0..1_000 {
        bus.publish_envelope(event(n)).await.unwrap();
    }
    for n in 990..1_000 {
        let event = events.next().await.unwrap().unwrap();
        assert_eq!(number(&event), n);
        event.ack();
    }
    assert!(events.next_timeout(Duration::from_millis(30)).await.unwrap().is_none());
    assert_eq!(events.stats().lost, 990);
}

#[tokio::test]
async fn slow_broadcasts_follow_their_policy() {
    let bus = bus(MemoryOptions::new());
    let mut dropping = bus.subscribe_channel("test").slow_consumer(SlowConsumer::DropOldest).buffer(10).await.unwrap();
    let mut leaving = bus.subscribe_channel("test").slow_consumer(SlowConsumer::Disconnect).buffer(10).await.unwrap();
    let blocking = bus.subscribe_channel("other").slow_consumer(SlowConsumer::Block).buffer(10).await.unwrap();
    for n in 0..100 {
        bus.publish_envelope(event(n)).await.unwrap();
    }
    assert_eq!(number(&dropping.next().await.unwrap().unwrap()), 90);
    assert_eq!(dropping.stats().lost, 90);
    assert_eq!(leaving.next().await.unwrap().unwrap_err().kind(), ErrorKind::Backpressure);
    assert!(leaving.next().await.is_none());
    assert_eq!((leaving.stats().disconnected, dropping.stats().disconnected), (1, 0));
    let mut refused = 0;
    for n in 0..12 {
        let mut event = event(n);
        event.channel = ChannelName::parse("other").unwrap();
        let outcome = bus.publish_envelope(event).timeout(Duration::ZERO).await;
        refused += usize::from(outcome.is_err_and(|error| error.kind() == ErrorKind::Backpressure));
    }
    assert_eq!(refused, 2);
    drop(blocking);
}

#[tokio::test]
async fn a_message_is_decoded_once_for_all_groups() {
    let memory: Arc<Memory> = Memory::open(MemoryOptions::new()).unwrap();
    let bus = PubSub::new(memory);
    let mut one = bus.subscribe_channel("test").group("one").await.unwrap();
    let mut two = bus.subscribe_channel("test").group("two").await.unwrap();
    bus.publish_envelope(event(1)).await.unwrap();
    let (first, second) = (one.next().await.unwrap().unwrap(), two.next().await.unwrap().unwrap());
    assert!(Arc::ptr_eq(first.message(), second.message()));
}

#[tokio::test]
async fn a_reader_that_stalls_keeps_no_more_than_retention_does() {
    let bus = bus(MemoryOptions::new().capacity(256));
    let mut stalled = bus.subscribe_channel("test").await.unwrap();
    bus.publish_envelope(event(0)).await.unwrap();
    assert_eq!(number(&stalled.next().await.unwrap().unwrap()), 0);
    let mut early = Vec::new();
    for n in 1..10_000 {
        let sent = Arc::new(pubsub_core::Message::from(event(n)));
        if n < 100 {
            early.push(Arc::downgrade(&sent));
        }
        let batch = [sent].into_iter().collect();
        bus.adapter().enqueue(batch, &Default::default()).await.unwrap().await.unwrap();
    }
    assert_eq!(early.iter().filter(|message| message.strong_count() > 0).count(), 0);
    assert_eq!(number(&stalled.next().await.unwrap().unwrap()), 10_000 - 512);
    assert_eq!(stalled.stats().lost, 10_000 - 512 - 1);
}

/// On a single thread, a loop that publishes must let others run, whichever way it publishes.
#[tokio::test]
async fn a_publisher_that_never_waits_still_lets_its_readers_run() {
    for way in 0..3 {
        let bus = bus(MemoryOptions::new());
        let mut events = bus.subscribe_channel("test").await.unwrap();
        let reader = tokio::spawn(async move { events.next().await });
        for n in 0..1_000 {
            match way {
                0 => drop(bus.publish_envelope(event(n)).await.unwrap()),
                1 => drop(bus.publish_envelope(event(n)).enqueue().await.unwrap()),
                _ => drop(bus.publish_envelopes([event(n)]).await.unwrap()),
            }
        }
        assert!(reader.is_finished(), "way {way}");
    }
}
