//! Typed events over the memory adapter: versions, several types on one channel, what cannot be read.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::time::Duration;

use pubsub::{
    Catalog, ChannelName, Envelope, ErrorKind, EventDefinition, EventName, GroupName, Payload, PubSub,
    driver::HistoryRange,
    memory::{Memory, MemoryOptions},
};

#[pubsub::event("orders:created", version = 2)]
#[derive(Debug, Clone, PartialEq)]
struct Created {
    #[event(key)]
    order_id: String,
    cents: u64,
}

#[pubsub::event("orders:cancelled")]
#[derive(Debug, Clone, PartialEq)]
struct Cancelled {
    order_id: String,
}

fn created(order_id: &str) -> Created {
    Created { order_id: order_id.into(), cents: 1 }
}

fn memory() -> std::sync::Arc<Memory> {
    Memory::open(MemoryOptions::new()).unwrap()
}

fn raw(version: u32, json: &str) -> Envelope {
    let name = EventName::from_static("orders:created").unwrap();
    let mut envelope = Envelope::new(name, ChannelName::from_static("orders").unwrap(), Payload::json(json.to_owned()));
    envelope.version = version;
    envelope
}

async fn dead_letters(bus: &PubSub, group: &str) -> Vec<pubsub::driver::Stored> {
    let channel = ChannelName::from_static("orders").unwrap().dead_letter(&GroupName::parse(group).unwrap());
    let deadline = tokio::time::Instant::now() + Duration::from_secs(5);
    loop {
        match bus.history(&HistoryRange::new(channel.clone())).await {
            Ok(page) if !page.events.is_empty() => return page.events,
            _ if tokio::time::Instant::now() > deadline => panic!("no dead letter came"),
            _ => tokio::task::yield_now().await,
        }
    }
}

#[tokio::test]
async fn an_event_carries_its_definition() {
    let bus = PubSub::new(memory());
    let mut events = bus.subscribe_channel("orders").group("g").await.unwrap();
    bus.publish(&created("A")).meta(|meta| meta.user_id = Some("u".into())).await.unwrap();
    let event = events.next().await.unwrap().unwrap();
    assert_eq!((event.name().as_str(), event.version()), ("orders:created", 2));
    assert_eq!(event.message().key().map(|key| key.as_str()), Some("A"));
    assert_eq!(event.message().meta().user_id.as_deref(), Some("u"));
    assert_eq!(event.decode::<Created>().unwrap(), created("A"));
    assert_eq!(event.decode::<Cancelled>().unwrap_err().kind(), ErrorKind::Invalid);
    event.ack();
}

#[tokio::test]
async fn older_versions_are_upcast_and_unknown_ones_become_dead_letters() {
    let mut catalog = Catalog::new();
    let definition = EventDefinition::of::<Created>().unwrap().upcast(1, |mut value| {
        let euros = value["euros"].as_u64().ok_or("no euros")?;
        value["cents"] = (euros * 100).into();
        Ok(value)
    });
    catalog.insert(definition).unwrap();
    let bus = PubSub::builder(memory()).catalog(catalog).build();
    let mut orders = bus.subscribe::<Created>().group("g").await.unwrap();
    bus.publish_envelope(raw(1, r#"{"order_id":"old","euros":3}"#)).await.unwrap();
    bus.publish_envelope(raw(3, r#"{"from":"the future"}"#)).await.unwrap();
    bus.publish_envelope(raw(1, r#"{"order_id":"broken"}"#)).await.unwrap();
    bus.publish(&created("new")).await.unwrap();
    for expected in [Created { order_id: "old".into(), cents: 300 }, created("new")] {
        let order = orders.next().await.unwrap().unwrap();
        assert_eq!(*order, expected);
        order.ack();
    }
    assert_eq!(orders.stats().undecodable, 2);
    let dead = dead_letters(&bus, "g").await;
    assert_eq!(dead[0].message.payload(), &raw(3, r#"{"from":"the future"}"#).payload);
    let meta = dead[0].message.meta();
    assert!(meta.dead_reason.as_deref().unwrap().contains("version 3"), "{meta:?}");
    assert_eq!((meta.dead_attempts, meta.dead_source.as_ref().map(|c| c.as_str())), (Some(1), Some("orders")));
}

#[tokio::test]
async fn a_broadcast_returns_what_cannot_be_read_and_goes_on() {
    let bus = PubSub::new(memory());
    let mut orders = bus.subscribe::<Created>().await.unwrap();
    bus.publish_envelope(raw(2, r#"{"order_id":7}"#)).await.unwrap();
    bus.publish(&created("A")).await.unwrap();
    let error = orders.next().await.unwrap().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Codec);
    assert!(error.faults().iter().any(|fault| fault.pointer == "/order_id"), "{error}");
    let order = orders.next().await.unwrap().unwrap();
    assert_eq!(*order, created("A"));
    assert_eq!(order.nack().unwrap_err().kind(), ErrorKind::Unsupported);
}

#[tokio::test]
async fn several_types_share_a_subscription_and_a_group_cannot_be_split_by_type() {
    let bus = PubSub::new(memory());
    let mut both = bus.subscribe_events().event::<Created>().event::<Cancelled>().group("g").await.unwrap();
    let error = bus.subscribe::<Created>().group("g").await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Conflict);
    assert!(error.message().contains("subscribe_events"), "{error}");
    bus.publish(&created("A")).await.unwrap();
    bus.publish(&Cancelled { order_id: "A".into() }).await.unwrap();
    let first = both.next().await.unwrap().unwrap();
    assert!(first.decode::<Created>().is_ok());
    first.ack();
    let second = both.next().await.unwrap().unwrap();
    assert!(second.decode::<Cancelled>().is_ok());
    second.ack();
}

#[tokio::test]
async fn names_that_nobody_takes_are_acknowledged_and_counted() {
    let bus = PubSub::new(memory());
    let mut orders = bus.subscribe::<Created>().group("g").await.unwrap();
    bus.publish(&Cancelled { order_id: "A".into() }).await.unwrap();
    bus.publish(&created("B")).await.unwrap();
    orders.next().await.unwrap().unwrap().ack();
    assert_eq!(orders.stats().unclaimed, 1);
}

#[tokio::test]
async fn wildcards_reach_channels_that_come_later() {
    let bus = PubSub::new(memory());
    let mut all = bus.subscribe_channel("*").group("g").await.unwrap();
    let mut family = bus.subscribe_channel("shop.*").await.unwrap();
    let mut names = bus.subscribe_events().names("orders:*").await.unwrap();
    bus.publish(&created("A")).await.unwrap();
    let mut envelope = raw(2, r#"{"order_id":"B","cents":1}"#);
    envelope.channel = ChannelName::from_static("shop.eu").unwrap();
    bus.publish_envelope(envelope).await.unwrap();
    let mut seen = Vec::new();
    for _ in 0..2 {
        let event = all.next().await.unwrap().unwrap();
        seen.push(event.channel().as_str().to_owned());
        event.ack();
    }
    seen.sort();
    assert_eq!(seen, ["orders", "shop.eu"]);
    assert_eq!(family.next().await.unwrap().unwrap().channel().as_str(), "shop.eu");
    assert_eq!(names.next().await.unwrap().unwrap().channel().as_str(), "orders");
    assert!(names.next_timeout(Duration::from_millis(20)).await.unwrap().is_none());
}

#[tokio::test]
async fn an_event_is_decoded_once_for_all_groups_of_a_process() {
    let bus = PubSub::new(memory());
    let mut one = bus.subscribe::<Created>().group("one").await.unwrap();
    let mut two = bus.subscribe::<Created>().group("two").await.unwrap();
    bus.publish(&created("A")).await.unwrap();
    let (first, second) = (one.next().await.unwrap().unwrap(), two.next().await.unwrap().unwrap());
    assert!(std::ptr::eq(&raw const *first, &raw const *second));
}

#[tokio::test]
async fn a_fault_after_upcasting_is_located() {
    let definition = EventDefinition::of::<Created>().unwrap().upcast(1, |mut payload| {
        payload["cents"] = "many".into();
        Ok(payload)
    });
    let mut catalog = Catalog::new();
    catalog.insert(definition).unwrap();
    let bus = PubSub::builder(memory()).catalog(catalog).build();
    let mut orders = bus.subscribe::<Created>().await.unwrap();
    bus.publish_envelope(raw(1, r#"{"order_id":"A"}"#)).await.unwrap();
    let error = orders.next().await.unwrap().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Codec);
    assert!(error.message().contains("after upcasting from version 1"), "{error}");
    assert_eq!(error.faults()[0].pointer, "/cents");
}
