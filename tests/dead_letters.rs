//! How many dead letters are kept.
#![allow(clippy::unwrap_used)]

use std::time::Duration;

use pubsub::{
    ChannelName, ChannelPolicy, Envelope, EventName, GroupName, Payload, PubSub, Retention, StartPosition,
    driver::{ChannelSpec, Topology, TopologyMode},
    memory::{Memory, MemoryOptions},
};

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
