//! What the members of one group must have in common, and what options belong to groups.
#![allow(clippy::unwrap_used)]

use std::time::Duration;

use pubsub::{
    ErrorKind, PubSub,
    memory::{Memory, MemoryOptions},
};

#[pubsub::event("orders:created")]
#[derive(Debug)]
struct Created {
    number: u32,
}

#[pubsub::event("orders:paid")]
#[derive(Debug)]
struct Paid {
    number: u32,
}

fn bus() -> PubSub {
    PubSub::new(Memory::open(MemoryOptions::new()).unwrap())
}

#[tokio::test]
async fn a_member_that_leaves_does_not_speak_for_those_that_stay() {
    let bus = bus();
    let one = bus.subscribe::<Created>().group("g").await.unwrap();
    let two = bus.subscribe::<Created>().group("g").await.unwrap();
    drop(two);
    assert_eq!(bus.subscribe::<Paid>().group("g").await.unwrap_err().kind(), ErrorKind::Conflict);
    bus.subscribe::<Paid>().group("other").await.unwrap();
    drop(one);
    bus.subscribe::<Paid>().group("g").await.unwrap();
}

#[tokio::test]
async fn members_of_overlapping_channels_take_the_same_names() {
    let bus = bus();
    let all = bus.subscribe_channel("*").group("g").await.unwrap();
    let error = bus.subscribe::<Created>().group("g").await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Conflict);
    assert!(error.message().contains("every event") && error.message().contains("orders:created"), "{error}");
    drop(all);
    let _created = bus.subscribe::<Created>().group("g").await.unwrap();
    assert_eq!(bus.subscribe_channel("*").group("g").await.unwrap_err().kind(), ErrorKind::Conflict);
    bus.subscribe_channel("elsewhere").group("g").await.unwrap();
}

#[tokio::test]
async fn a_subscription_that_was_refused_leaves_no_trace() {
    let bus = bus();
    let _created = bus.subscribe::<Created>().group("g").await.unwrap();
    bus.subscribe_channel("*").group("g").await.unwrap_err();
    bus.subscribe_events().event::<Paid>().names("other:done").group("g").await.unwrap_err();
    bus.subscribe_channel("other").group("g").await.unwrap();
}

#[tokio::test]
async fn options_of_the_other_kind_are_refused_by_name() {
    let bus = bus();
    let second = Duration::from_secs(1);
    let wrong = [
        (bus.subscribe::<Created>().lease(second), "lease"),
        (bus.subscribe::<Created>().manual_lease(second), "manual_lease"),
        (bus.subscribe::<Created>().retry(pubsub::driver::RetryPolicy::default()), "retry"),
        (bus.subscribe::<Created>().without_dead_letters(), "without_dead_letters"),
        (bus.subscribe::<Created>().max_in_flight(8), "max_in_flight"),
        (bus.subscribe::<Created>().group("g").buffer(8), "buffer"),
    ];
    for (subscribe, field) in wrong {
        let error = subscribe.await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Invalid);
        assert!(error.message().contains(&format!("`{field}`")), "{error}");
    }
}

#[tokio::test]
async fn an_ephemeral_family_has_neither_groups_nor_history() {
    let builder = PubSub::builder(Memory::open(MemoryOptions::new()).unwrap());
    let bus = builder.policy("live.*", pubsub::ChannelPolicy::new().ephemeral()).unwrap().build();
    for pattern in ["live.a", "live.*", "live.eu.*"] {
        for subscribe in [bus.subscribe_channel(pattern).group("g"), bus.subscribe_channel(pattern).from_earliest()] {
            assert_eq!(subscribe.await.unwrap_err().kind(), ErrorKind::Unsupported, "{pattern}");
        }
        bus.subscribe_channel(pattern).await.unwrap();
    }
}

fn handle(name: &str) -> PubSub {
    PubSub::new(Memory::open(MemoryOptions::new().name(name)).unwrap())
}

#[tokio::test]
async fn members_on_other_handles_to_one_bus_take_the_same_names() {
    let (one, two) = (handle("names"), handle("names"));
    let created = one.subscribe::<Created>().group("g").await.unwrap();
    for refused in [
        two.subscribe_events().event::<Paid>().group("g").await,
        two.subscribe_channel("*").group("g").await,
        two.subscribe_events().names("orders:*").group("g").await,
    ] {
        let error = refused.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Conflict);
        assert!(error.message().contains("orders:created") && error.message().contains("another group"), "{error}");
    }
    let same = two.subscribe::<Created>().group("g").await.unwrap();
    two.subscribe::<Paid>().group("other").await.unwrap();
    drop((created, same));
    two.subscribe::<Paid>().group("g").await.unwrap();
}

#[tokio::test]
async fn wildcards_of_one_group_meet_before_there_is_a_channel() {
    let (one, two) = (handle("wildcards"), handle("wildcards"));
    let created = one.subscribe_events().names("orders:created").channel("*").group("g").await.unwrap();
    assert_eq!(two.subscribe_channel("shop.*").group("g").await.unwrap_err().kind(), ErrorKind::Conflict);
    assert_eq!(two.subscribe_channel("new").group("g").await.unwrap_err().kind(), ErrorKind::Conflict);
    drop(created);
    two.subscribe_channel("shop.*").group("g").await.unwrap();
}

#[tokio::test]
async fn everything_that_is_wrong_is_told_at_once() {
    let bus = bus();
    let retry = pubsub::RetryPolicy::default().jitter(2.0).delays(HOUR, Duration::ZERO);
    let wrong =
        bus.subscribe_channel("a b").names("x").group("a b").max_in_flight(0).lease(Duration::ZERO).retry(retry);
    let error = wrong.await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Invalid);
    for field in ["channel", "name", "group", "max_in_flight", "lease", "jitter", "initial"] {
        assert!(error.message().contains(&format!("`{field}`")), "{field}: {error}");
    }
    assert!(!error.message().contains("is for groups"), "{error}");
    let error = bus.subscribe::<Created>().lease(HOUR).max_in_flight(1).buffer(0).await.unwrap_err();
    for field in ["lease", "max_in_flight", "buffer"] {
        assert!(error.message().contains(&format!("`{field}`")), "{field}: {error}");
    }
}

#[tokio::test]
async fn all_that_an_ephemeral_channel_lacks_is_told_at_once() {
    let builder = PubSub::builder(Memory::open(MemoryOptions::new()).unwrap());
    let bus = builder.policy("orders", pubsub::ChannelPolicy::new().ephemeral()).unwrap().build();
    let error = bus.subscribe::<Created>().group("g").from_earliest().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unsupported);
    assert!(error.message().contains("no groups") && error.message().contains("no history"), "{error}");
}

const HOUR: Duration = Duration::from_secs(3_600);

#[tokio::test]
async fn what_lies_beyond_the_limits_of_the_adapter_is_refused() {
    let bus = bus();
    let limits = bus.capabilities().limits;
    let (delay, lease) = (limits.max_delay.unwrap(), limits.max_lease.unwrap());
    let retry = pubsub::RetryPolicy::default();
    bus.subscribe::<Created>().group("g").manual_lease(lease).retry(retry.delays(HOUR, delay)).await.unwrap();
    let beyond = retry.delays(HOUR, delay + HOUR);
    let error = bus.subscribe::<Created>().group("g").manual_lease(lease + HOUR).retry(beyond).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Invalid);
    assert!(error.message().contains("`lease`") && error.message().contains("`retry.max`"), "{error}");

    let mut orders = bus.subscribe::<Created>().group("g").retry(pubsub::RetryPolicy::immediate()).await.unwrap();
    bus.publish(&Created { number: 1 }).await.unwrap();
    let error = orders.next().await.unwrap().unwrap().nack_after(delay + HOUR).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Invalid);
    let again = orders.next().await.unwrap().unwrap();
    assert_eq!(again.attempt(), 2);
    again.nack_after(delay).unwrap();
}
