//! How many dead letters are kept.
#![allow(clippy::unwrap_used)]

use std::time::Duration;

use pubsub::{
    ChannelName, ChannelPolicy, Envelope, EventName, GroupName, Payload, PubSub, Retention, StartPosition,
    driver::{ChannelSpec, Topology, TopologyMode},
    memory::{Memory, MemoryOptions},
};

#[pubsub::event("notes:taken")]
struct Note {
    text: String,
}

fn event(n: usize) -> Envelope {
    let (name, channel) = (EventName::parse("test:event").unwrap(), ChannelName::parse("test").unwrap());
    Envelope::new(name, channel, Payload::json(n.to_string()))
}

#[tokio::test]
async fn dead_letters_that_were_dropped_are_counted() {
    let bus = PubSub::new(Memory::open(MemoryOptions::new()).unwrap());
    let letters = ChannelName::parse("test").unwrap().dead_letter(&GroupName::parse("g").unwrap());
    let few = ChannelSpec::new(letters, ChannelPolicy::new().retention(Retention::default().count(3)));
    bus.ensure(&Topology::new(TopologyMode::Create).channel(few)).await.unwrap();
    let mut events = bus.subscribe_channel("test").group("g").await.unwrap();
    for n in 0..10 {
        bus.publish_envelope(event(n)).await.unwrap();
        events.next().await.unwrap().unwrap().reject("unfit").unwrap();
    }
    // The writer works beside us.
    let deadline = tokio::time::Instant::now() + Duration::from_secs(10);
    let page = loop {
        let page = bus.dead_letters("test", "g", StartPosition::Earliest).await.unwrap();
        if page.dropped == Some(7) {
            break page;
        }
        assert!(tokio::time::Instant::now() < deadline, "{page:?}");
        tokio::task::yield_now().await;
    };
    let left: Vec<_> = page.events.iter().map(|letter| letter.message.payload().clone()).collect();
    assert_eq!(left, [7, 8, 9].map(|n| Payload::json(n.to_string())));
}

#[tokio::test]
async fn dead_letters_are_bounded_in_bytes_and_the_newest_is_kept() {
    let bus = PubSub::new(Memory::open(MemoryOptions::new().dead_letter_bytes(50_000)).unwrap());
    let mut orders = bus.subscribe::<Note>().group("g").await.unwrap();
    let mut give_up = async |length: usize, left: usize, dropped: u64| {
        bus.publish(&Note { text: "x".repeat(length) }).await.unwrap();
        orders.next().await.unwrap().unwrap().reject("no").unwrap();
        let deadline = tokio::time::Instant::now() + Duration::from_secs(10);
        loop {
            let page = bus.dead_letters("notes", "g", StartPosition::Earliest).await.unwrap();
            if (page.events.len(), page.dropped.unwrap_or(0)) == (left, dropped) {
                return;
            }
            assert!(tokio::time::Instant::now() < deadline, "{} left, {:?} dropped", page.events.len(), page.dropped);
            tokio::task::yield_now().await;
        }
    };
    for (length, left, dropped) in [(20_000, 1, 0), (20_000, 2, 0), (20_000, 2, 1), (60_000, 1, 3), (10, 1, 4)] {
        give_up(length, left, dropped).await;
    }
}
