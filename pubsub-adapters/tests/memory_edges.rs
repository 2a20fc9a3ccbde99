//! Edges of the memory adapter at which something was once lost, confirmed too early, or kept for ever.
#![allow(clippy::unwrap_used, missing_docs)]

use std::{future::Future, sync::Arc, time::Duration};

use pubsub_adapters::memory::{Memory, MemoryOptions};
use pubsub_core::{
    ChannelName, ChannelPolicy, Clock, Envelope, ErrorKind, EventId, EventName, ManualClock, Payload, PubSub,
    StartPosition, Timestamp,
    driver::{Confirm, HistoryRange},
};

fn on(channel: &str, n: usize) -> Envelope {
    let name = EventName::parse("test:event").unwrap();
    Envelope::new(name, ChannelName::parse(channel).unwrap(), Payload::json(n.to_string()))
}

fn bus(options: MemoryOptions) -> PubSub {
    PubSub::new(Memory::open(options).unwrap())
}

fn with(options: MemoryOptions, pattern: &str, policy: ChannelPolicy) -> PubSub {
    PubSub::builder(Memory::open(options).unwrap()).policy(pattern, policy).unwrap().build()
}

/// A consumer that parks while an event is being scheduled must learn when that is due.
#[test]
fn an_event_scheduled_while_its_consumer_parks_is_delivered() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async {
        for round in 0..300 {
            let bus = bus(MemoryOptions::new());
            let mut events = bus.subscribe_channel("test").group("g").await.unwrap();
            let consumer = tokio::spawn(async move { events.next().await.unwrap().unwrap().ack() });
            for _ in 0..round % 7 {
                tokio::task::yield_now().await;
            }
            bus.publish_envelope(on("test", round)).delay(Duration::from_millis(2)).await.unwrap();
            tokio::time::timeout(Duration::from_secs(5), consumer).await.expect("never delivered").unwrap();
        }
    });
}

#[tokio::test]
async fn settlement_is_not_confirmed_before_it_happens() {
    let bus = with(MemoryOptions::new(), "test", ChannelPolicy::new().dedup_window(Duration::from_secs(60)));
    let mut events = bus.subscribe_channel("test").group("g").await.unwrap();
    let later = bus.publish_envelope(on("test", 1)).delay(Duration::from_secs(60)).confirm(Confirm::Settled).await;
    assert_eq!(later.unwrap_err().kind(), ErrorKind::Unsupported);
    let (id, short) = (EventId::random(), Duration::from_millis(30));
    for _ in 0..2 {
        let waited = bus.publish_envelope(on("test", 1)).id(id.clone()).confirm(Confirm::Settled).timeout(short).await;
        let error = waited.unwrap_err();
        assert!(error.kind() == ErrorKind::Timeout && error.maybe_applied());
    }
    events.next().await.unwrap().unwrap().ack();
    let again = bus.publish_envelope(on("test", 1)).id(id).confirm(Confirm::Settled).await.unwrap();
    assert!(again.duplicate);
}

#[tokio::test]
async fn an_event_that_expires_counts_as_settled() {
    let manual = ManualClock::new(Timestamp::now());
    let bus = bus(MemoryOptions::new().clock(manual.clone().into()));
    let mut events = bus.subscribe_channel("test").group("g").await.unwrap();
    let publish = bus.publish_envelope(on("test", 1)).ttl(Duration::from_secs(60)).confirm(Confirm::Settled);
    let ticket = publish.enqueue().await.unwrap();
    manual.advance(Duration::from_secs(61));
    assert!(events.next_timeout(Duration::from_millis(20)).await.unwrap().is_none());
    tokio::time::timeout(Duration::from_secs(5), ticket).await.expect("still waiting").unwrap();
}

#[tokio::test]
async fn flush_waits_for_tickets_that_nobody_polls_and_tells_of_refusals() {
    let bus = bus(MemoryOptions::new());
    let mut events = bus.subscribe_channel("test").group("g").await.unwrap();
    let ticket = bus.publish_envelope(on("test", 1)).confirm(Confirm::Settled).enqueue().await.unwrap();
    let flushing = tokio::spawn({
        let bus = bus.clone();
        async move { bus.flush().await }
    });
    tokio::task::yield_now().await;
    assert!(!flushing.is_finished());
    events.next().await.unwrap().unwrap().ack();
    flushing.await.unwrap().unwrap();
    drop(ticket);
}

#[tokio::test]
async fn going_back_takes_the_room_that_it_needs() {
    let bus = bus(MemoryOptions::new().capacity(16));
    let mut events = bus.subscribe_channel("test").group("g").await.unwrap();
    for n in 0..65 {
        bus.publish_envelope(on("test", n)).await.unwrap();
        events.next().await.unwrap().unwrap().ack();
    }
    events.seek(StartPosition::Earliest).await.unwrap();
    // What is retained waits again, more than has room: nothing new is taken until some of it is settled.
    for n in 65..80 {
        let refused = bus.publish_envelope(on("test", n)).timeout(Duration::ZERO).await;
        assert_eq!(refused.unwrap_err().kind(), ErrorKind::Backpressure);
    }
    for n in 33..65 {
        let event = events.next().await.unwrap().unwrap();
        assert_eq!(event.payload(), &Payload::json(n.to_string()));
        event.ack();
    }
    bus.publish_envelope(on("test", 80)).await.unwrap();
    assert_eq!(events.next().await.unwrap().unwrap().payload(), &Payload::json("80"));
    assert_eq!(events.stats().lost, 0);
}

#[tokio::test]
async fn scheduled_events_are_bounded_although_nobody_listens() {
    let bus = bus(MemoryOptions::new().capacity(4));
    let mut taken = 0;
    for n in 0..10 {
        let publish = bus.publish_envelope(on("test", n)).delay(Duration::from_secs(3600));
        taken += usize::from(publish.timeout(Duration::ZERO).await.is_ok());
    }
    assert_eq!(taken, 4);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_batch_finds_room_among_single_events() {
    let bus = bus(MemoryOptions::new().capacity(64));
    let mut events = bus.subscribe_channel("test").group("g").await.unwrap();
    let consumer = tokio::spawn(async move {
        while let Some(event) = events.next().await {
            event.unwrap().ack();
        }
    });
    let singles: Vec<_> = (0..8)
        .map(|_| {
            let bus = bus.clone();
            tokio::spawn(async move { while bus.publish_envelope(on("test", 1)).await.is_ok() {} })
        })
        .collect();
    for _ in 0..5 {
        let batch = bus.publish_envelopes((0..60).map(|n| on("test", n))).await.unwrap();
        assert!(batch.iter().all(Result::is_ok));
    }
    bus.close(Duration::from_secs(5)).await.unwrap();
    for task in singles {
        task.await.unwrap();
    }
    consumer.await.unwrap();
}

#[tokio::test]
async fn a_subscription_that_fails_leaves_no_group() {
    let bus = bus(MemoryOptions::new().capacity(4));
    let position = bus.publish_envelope(on("shop.a", 1)).await.unwrap().position.unwrap();
    bus.publish_envelope(on("shop.b", 1)).await.unwrap();
    let error = bus.subscribe_channel("shop.*").group("g").after(position).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::PositionExpired);
    for n in 0..20 {
        bus.publish_envelope(on("shop.c", n)).timeout(Duration::from_secs(10)).await.unwrap();
    }
}

#[tokio::test]
async fn positions_of_other_channels_and_lives_are_refused() {
    let clock = Clock::from(ManualClock::new(Timestamp::EPOCH));
    let open = || bus(MemoryOptions::new().clock(clock.clone()));
    let (one, two) = (open(), open());
    let mut positions = Vec::new();
    for (bus, channel) in [(&one, "a"), (&one, "b"), (&two, "a")] {
        bus.publish_envelope(on(channel, 1)).await.unwrap();
        positions.push(bus.publish_envelope(on(channel, 2)).await.unwrap().position.unwrap());
    }
    for foreign in &positions[1..] {
        let range = HistoryRange::new(ChannelName::parse("a").unwrap()).from(StartPosition::After(foreign.clone()));
        assert_eq!(one.history(&range).await.unwrap_err().kind(), ErrorKind::PositionExpired);
    }
    let own = HistoryRange::new(ChannelName::parse("a").unwrap()).from(StartPosition::After(positions[0].clone()));
    assert!(one.history(&own).await.unwrap().events.is_empty());
}

#[tokio::test]
async fn groups_do_not_reach_ephemeral_channels_by_wildcard() {
    let memory = Memory::open(MemoryOptions::new().capacity(4)).unwrap();
    let bus =
        PubSub::builder(memory.clone() as Arc<_>).policy("live.a", ChannelPolicy::new().ephemeral()).unwrap().build();
    let group = bus.subscribe_channel("live.*").group("g").await.unwrap();
    for n in 0..20 {
        bus.publish_envelope(on("live.a", n)).timeout(Duration::from_secs(10)).await.unwrap();
    }
    drop(group);
}

#[tokio::test]
async fn a_clock_that_is_set_back_does_not_confuse_history_by_time() {
    let manual = ManualClock::new(Timestamp::from_millis(1_000_000).unwrap());
    let bus = bus(MemoryOptions::new().clock(manual.clone().into()));
    bus.publish_envelope(on("test", 0)).await.unwrap();
    manual.set(Timestamp::from_millis(500_000).unwrap());
    bus.publish_envelope(on("test", 1)).await.unwrap();
    let from = StartPosition::Time(Timestamp::from_millis(1_000_000).unwrap());
    let page = bus.history(&HistoryRange::new(ChannelName::parse("test").unwrap()).from(from)).await.unwrap();
    assert_eq!(page.events.len(), 2);
}

#[tokio::test]
async fn a_manual_lease_ends_at_its_time_although_nobody_pulls() {
    let manual = ManualClock::new(Timestamp::now());
    let bus = bus(MemoryOptions::new().clock(manual.clone().into()));
    let mut events = bus.subscribe_channel("test").group("g").manual_lease(Duration::from_secs(1)).await.unwrap();
    bus.publish_envelope(on("test", 1)).await.unwrap();
    let event = events.next().await.unwrap().unwrap();
    assert!(event.is_live());
    manual.advance(Duration::from_secs(1));
    assert!(!event.is_live());
    assert_eq!(event.extend(Duration::from_secs(1)).await.unwrap_err().kind(), ErrorKind::Conflict);
    assert_eq!(event.ack_confirmed().await.unwrap_err().kind(), ErrorKind::Conflict);
}

#[tokio::test]
async fn an_open_bus_keeps_its_options() {
    let _first = Memory::open(MemoryOptions::new().name("keeps-its-options").capacity(16)).unwrap();
    assert!(Memory::open(MemoryOptions::new().name("keeps-its-options")).is_ok());
    let error = Memory::open(MemoryOptions::new().name("keeps-its-options").capacity(32)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Conflict);
}

/// An event that publishes another one when the last copy of it goes.
#[derive(serde::Serialize, serde::Deserialize, schemars::JsonSchema)]
struct Echo {
    n: u32,
}

thread_local! {
    static ECHO_TO: std::cell::RefCell<Option<PubSub>> = const { std::cell::RefCell::new(None) };
}

impl Drop for Echo {
    fn drop(&mut self) {
        let bus = ECHO_TO.with_borrow(Clone::clone);
        if let Some(bus) = bus {
            let mut publish = std::pin::pin!(bus.publish_envelope(on("test", 0)));
            let mut cx = std::task::Context::from_waker(std::task::Waker::noop());
            let _ = publish.as_mut().poll(&mut cx);
        }
    }
}

impl pubsub_core::Event for Echo {
    const NAME: &'static str = "test:echo";
    const CHANNEL: &'static str = "test";
}

#[test]
fn an_event_whose_end_publishes_does_not_find_the_channel_locked() {
    let (done, ended) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let bus = bus(MemoryOptions::new().capacity(256));
            // Two readers: the decoded value stays with the message, and goes when retention lets go of it.
            let mut one = bus.subscribe::<Echo>().await.unwrap();
            let mut two = bus.subscribe::<Echo>().await.unwrap();
            ECHO_TO.set(Some(bus.clone()));
            for n in 0..2_000 {
                let echo = std::mem::ManuallyDrop::new(Echo { n });
                bus.publish(&*echo).await.unwrap();
                drop(one.next().await.unwrap().unwrap());
                drop(two.next().await.unwrap().unwrap());
            }
            ECHO_TO.set(None);
        });
        done.send(()).unwrap();
    });
    ended.recv_timeout(Duration::from_secs(60)).expect("the channel was locked");
}

#[tokio::test]
async fn a_full_dedup_window_holds_publishers_back_and_forgets_nothing() {
    let manual = ManualClock::new(Timestamp::from_millis(1_000_000).unwrap());
    let clock = Clock::from(manual.clone());
    let memory = Memory::open(MemoryOptions::new().capacity(16).dedup_ids(2_000).clock(clock)).unwrap();
    let policy = ChannelPolicy::new().dedup_window(Duration::from_secs(60));
    let bus = PubSub::builder(memory).policy("test", policy).unwrap().build();
    let first = on("test", 0);
    bus.publish_envelope(first.clone()).await.unwrap();
    for n in 1..2_000 {
        bus.publish_envelope(on("test", n)).await.unwrap();
    }
    assert!(bus.publish_envelope(first.clone()).await.unwrap().duplicate);
    let error = bus.publish_envelope(on("test", 2_000)).timeout(Duration::ZERO).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Backpressure);
    assert!(error.message().contains("the dedup window of 2000 ids is full"), "{error}");
    manual.advance(Duration::from_secs(60));
    assert!(!bus.publish_envelope(first).await.unwrap().duplicate);
}

/// A name may hold what a prefix is written with.
#[tokio::test]
async fn a_prefix_is_no_part_of_the_name() {
    let one = pubsub_adapters::connect("memory://prefixed?prefix=a").await.unwrap();
    let same = pubsub_adapters::connect("memory://prefixed?prefix=a").await.unwrap();
    let other = pubsub_adapters::connect("memory://a%2fprefixed").await.unwrap();
    one.publish_envelope(on("test", 1)).await.unwrap();
    let range = HistoryRange::new(ChannelName::parse("test").unwrap());
    assert_eq!(same.history(&range).await.unwrap().events.len(), 1);
    assert_eq!(other.history(&range).await.unwrap_err().kind(), ErrorKind::NotFound);
}
