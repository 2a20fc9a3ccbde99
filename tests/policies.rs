//! Channel policies, enforced where events enter.
#![allow(clippy::unwrap_used)]

use std::time::Duration;

use pubsub::{
    Catalog, ChannelName, ChannelPolicy, Clock, Envelope, ErrorKind, EventName, ManualClock, Payload, PubSub,
    Retention, Timestamp,
    driver::{ChannelSpec, HistoryRange, Topology, TopologyMode},
    memory::{Memory, MemoryOptions},
};

#[pubsub::event("orders:created")]
struct Created {
    note: String,
}

fn with(policy: ChannelPolicy) -> PubSub {
    PubSub::builder(Memory::open(MemoryOptions::new()).unwrap()).policy("orders", policy).unwrap().build()
}

fn created(len: usize) -> Created {
    Created { note: "x".repeat(len) }
}

fn channel() -> ChannelName {
    ChannelName::from_static("orders").unwrap()
}

async fn count(bus: &PubSub) -> usize {
    bus.history(&HistoryRange::new(channel())).await.map_or(0, |page| page.events.len())
}

#[tokio::test]
async fn oversized_events_are_refused_and_a_batch_with_one_sends_nothing() {
    let bus = with(ChannelPolicy::new().max_payload(50));
    let error = bus.publish(&created(100)).await.unwrap_err();
    assert_eq!((error.kind(), error.channel()), (ErrorKind::TooLarge, Some(&channel())));
    let error = bus.publish_all(&[created(1), created(100)]).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::TooLarge);
    assert!(error.message().contains("item 1"), "{error}");
    assert_eq!(count(&bus).await, 0);
    bus.publish(&created(10)).await.unwrap();
    assert_eq!(count(&bus).await, 1);
}

#[tokio::test]
async fn undeclared_names_are_refused_where_the_policy_says_so() {
    let declared = |catalog| {
        let memory = Memory::open(MemoryOptions::new()).unwrap();
        let builder = PubSub::builder(memory).catalog(catalog);
        builder.policy("orders", ChannelPolicy::new().declared_only()).unwrap().build()
    };
    let bus = declared(Catalog::new());
    assert_eq!(bus.publish(&created(1)).await.unwrap_err().kind(), ErrorKind::Rejected);
    let bus = declared(Catalog::new().with::<Created>().unwrap());
    bus.publish(&created(1)).await.unwrap();
    let other = Envelope::new(EventName::parse("orders:other").unwrap(), channel(), Payload::json("1"));
    assert_eq!(bus.publish_envelope(other).await.unwrap_err().kind(), ErrorKind::Rejected);
}

#[tokio::test]
async fn a_declared_payload_is_validated_and_its_channel_is_fixed() {
    let memory = Memory::open(MemoryOptions::new()).unwrap();
    let bus = PubSub::builder(memory).catalog(Catalog::new().with::<Created>().unwrap()).build();
    let name = EventName::from_static("orders:created").unwrap();
    let bad = Envelope::new(name.clone(), channel(), Payload::json(r#"{"note":1}"#));
    let error = bus.publish_envelope(bad).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Codec);
    assert_eq!(error.faults()[0].pointer, "/note");
    let elsewhere = Envelope::new(name, ChannelName::parse("elsewhere").unwrap(), Payload::json(r#"{"note":"a"}"#));
    assert_eq!(bus.publish_envelope(elsewhere).await.unwrap_err().kind(), ErrorKind::Invalid);
    assert_eq!(count(&bus).await, 0);
}

#[tokio::test]
async fn the_rate_is_kept_per_process() {
    let manual = ManualClock::new(Timestamp::now());
    let memory = Memory::open(MemoryOptions::new().clock(Clock::from(manual.clone()))).unwrap();
    let builder = PubSub::builder(memory).clock(manual.clone().into());
    let bus = builder.policy("orders", ChannelPolicy::new().rate(10, 2)).unwrap().build();
    bus.publish(&created(1)).await.unwrap();
    bus.publish(&created(1)).await.unwrap();
    let error = bus.publish(&created(1)).await.unwrap_err();
    assert!(error.kind() == ErrorKind::Backpressure && error.is_retryable());
    manual.advance(Duration::from_millis(100));
    bus.publish(&created(1)).await.unwrap();
}

#[tokio::test]
async fn retention_by_age_count_and_bytes() {
    let manual = ManualClock::new(Timestamp::now());
    let memory = Memory::open(MemoryOptions::new().clock(manual.clone().into())).unwrap();
    let policy = |retention| ChannelPolicy::new().retention(retention);
    let bus = PubSub::builder(memory)
        .clock(manual.clone().into())
        .policy("age", policy(Retention::default().age(Duration::from_secs(60))))
        .and_then(|bus| bus.policy("count", policy(Retention::default().count(3))))
        .and_then(|bus| bus.policy("bytes", policy(Retention::default().bytes(10))))
        .and_then(|bus| bus.policy("none", policy(Retention::none())))
        .unwrap()
        .build();
    for n in 0..5 {
        for name in ["age", "count", "bytes", "none"] {
            let event = EventName::parse("a:b").unwrap();
            let envelope = Envelope::new(event, ChannelName::parse(name).unwrap(), Payload::json(format!("{n}{n}{n}")));
            bus.publish_envelope(envelope).await.unwrap();
        }
        manual.advance(Duration::from_secs(20));
    }
    for (name, expected) in [("age", 3), ("count", 3), ("bytes", 3)] {
        let page = bus.history(&HistoryRange::new(ChannelName::parse(name).unwrap())).await.unwrap();
        assert_eq!(page.events.len(), expected, "{name}");
    }
    let error = bus.history(&HistoryRange::new(ChannelName::parse("none").unwrap())).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unsupported);
}

#[tokio::test]
async fn a_second_event_of_one_id_is_dropped_within_the_window() {
    let bus = with(ChannelPolicy::new().dedup_window(Duration::from_secs(60)));
    let id = pubsub::EventId::parse("the-same").unwrap();
    let first = bus.publish(&created(1)).id(id.clone()).await.unwrap();
    let second = bus.publish(&created(1)).id(id).await.unwrap();
    assert!(!first.duplicate && second.duplicate);
    assert_eq!(first.position, second.position);
    assert_eq!(count(&bus).await, 1);
}

#[tokio::test]
async fn ephemeral_channels_refuse_groups_and_history() {
    let bus = with(ChannelPolicy::new().ephemeral());
    let refused = [
        bus.subscribe::<Created>().group("g").await.map(drop),
        bus.subscribe::<Created>().from_earliest().await.map(drop),
        bus.history(&HistoryRange::new(channel())).await.map(drop),
    ];
    // The channel exists only once it was used.
    assert_eq!(refused[0].as_ref().unwrap_err().kind(), ErrorKind::Unsupported);
    assert_eq!(refused[1].as_ref().unwrap_err().kind(), ErrorKind::Unsupported);
    let mut live = bus.subscribe::<Created>().await.unwrap();
    bus.publish(&created(3)).await.unwrap();
    assert_eq!(live.next().await.unwrap().unwrap().note, "xxx");
    assert_eq!(bus.history(&HistoryRange::new(channel())).await.unwrap_err().kind(), ErrorKind::Unsupported);
}

#[tokio::test]
async fn topology_is_compared_and_differences_are_listed() {
    let bus = with(ChannelPolicy::new());
    let spec = ChannelSpec::new(channel(), ChannelPolicy::new().ordered_per_key(4).ttl(Duration::from_secs(1)));
    let validate = Topology::new(TopologyMode::Validate).channel(spec.clone());
    assert_eq!(bus.ensure(&validate).await.unwrap_err().kind(), ErrorKind::NotFound);
    bus.publish(&created(1)).await.unwrap();
    let error = bus.ensure(&validate).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::TopologyMismatch);
    assert!(error.message().contains("ordering") && error.message().contains("ttl"), "{error}");
    let report = bus.ensure(&Topology::new(TopologyMode::Update).channel(spec)).await.unwrap();
    assert_eq!(report.differences.iter().filter(|difference| difference.mended).count(), 2);
    assert!(bus.ensure(&validate).await.unwrap().differences.is_empty());
}

#[tokio::test]
async fn two_processes_that_disagree_on_a_shared_channel_are_told() {
    let open = |policy| {
        let memory = Memory::open(MemoryOptions::new().name("disagree")).unwrap();
        PubSub::builder(memory).policy("orders", policy).unwrap().build()
    };
    let one = open(ChannelPolicy::new().ordered_per_key(4));
    let two = open(ChannelPolicy::new());
    one.publish(&created(1)).await.unwrap();
    assert_eq!(two.publish(&created(1)).await.unwrap_err().kind(), ErrorKind::TopologyMismatch);
}

#[tokio::test]
async fn a_batch_takes_of_all_rates_or_of_none() {
    let builder = PubSub::builder(Memory::open(MemoryOptions::new()).unwrap());
    let builder = builder.policy("a", ChannelPolicy::new().rate(1, 4)).unwrap();
    let bus = builder.policy("b", ChannelPolicy::new().rate(1, 1)).unwrap().build();
    let on = |channel| {
        let name = EventName::from_static("a:b").unwrap();
        Envelope::new(name, ChannelName::from_static(channel).unwrap(), Payload::json("1"))
    };
    let error = bus.publish_envelopes([on("a"), on("b"), on("b")]).await.unwrap_err();
    assert_eq!((error.kind(), error.is_retryable()), (ErrorKind::Invalid, false));
    bus.publish_envelope(on("b")).await.unwrap();
    for _ in 0..3 {
        let error = bus.publish_envelopes([on("a"), on("a"), on("b")]).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Backpressure);
    }
    assert!(bus.publish_envelopes([on("a"), on("a"), on("a"), on("a")]).await.unwrap().iter().all(Result::is_ok));
}

#[tokio::test]
async fn metadata_counts_and_has_limits_of_its_own() {
    let bus = with(ChannelPolicy::new().max_payload(1_000));
    let error = bus.publish(&created(1)).meta(|meta| meta.correlation_id = Some("x".repeat(2_000))).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::TooLarge);
    let bus = with(ChannelPolicy::new());
    let long = "x".repeat(pubsub::wire::MAX_FIELD_LEN + 1);
    let error = bus.publish(&created(1)).meta(|meta| meta.user_id = Some(long)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::TooLarge);
    assert!(error.to_string().contains("user"), "{error}");
    bus.publish(&created(1)).meta(|meta| meta.user_id = Some("u".into())).await.unwrap();
}
