//! Which handler gets which event, with which arguments, and what is refused when the router is built.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod common;

use std::{sync::Arc, time::Duration};

use common::{Log, OrderCancelled, OrderCreated, letters, order, until};
use pubsub::{
    Attempt, ChannelName, ChannelPolicy, Control, ErrorKind, EventId, FromState, Key, Message, Meta, Position, PubSub,
    Router, State, Timestamp, Unknown, User,
};

const SOON: Duration = Duration::from_secs(5);

async fn bus() -> PubSub {
    pubsub::connect("memory:").await.unwrap()
}

#[derive(Clone, Default)]
struct Services {
    log: Log<String>,
    rate: u64,
}

struct Rate(u64);

impl FromState<Services> for Rate {
    fn from_state(services: &Services) -> Self {
        Self(services.rate)
    }
}

/// Nine arguments beside the event.
#[expect(clippy::too_many_arguments, reason = "as many as a handler may have")]
async fn curious(
    order: Arc<OrderCreated>,
    State(services): State<Services>,
    State(Rate(rate)): State<Rate>,
    User(user): User,
    meta: Meta,
    key: Option<Key>,
    Attempt(attempt): Attempt,
    position: Option<Position>,
    id: EventId,
    message: Arc<Message>,
) {
    assert_eq!((message.id(), message.meta()), (&id, &meta));
    assert!(position.is_some());
    let key = key.unwrap();
    services.log.add(format!("{} {rate} {user} {key} {attempt} {:?}", order.number, meta.correlation_id));
}

#[tokio::test]
async fn a_handler_gets_everything_it_asks_for() {
    let (bus, services) = (bus().await, Services { rate: 3, ..Services::default() });
    let router = Router::new().group("billing").on(curious).with_state(services.clone());
    let running = router.start(&bus).await.unwrap();
    let meta = |meta: &mut Meta| (meta.user_id, meta.correlation_id) = (Some("u-1".into()), Some("c-1".into()));
    bus.publish(&order(7)).meta(meta).await.unwrap();
    assert_eq!(services.log.reach(1).await, ["7 3 u-1 C-1 1 Some(\"c-1\")"]);
    running.drain(SOON).await.unwrap();
    assert_eq!(running.handled("billing", "orders").unwrap_err().kind(), ErrorKind::NotFound);
}

#[tokio::test]
async fn what_is_not_there_is_a_reject_that_says_so_or_none() {
    let (bus, log) = (bus().await, Log::default());
    let (seen, all) = (log.clone(), log.clone());
    let strict = move |order: OrderCreated, User(_): User| {
        seen.add(order.number);
        async {}
    };
    let lenient = move |order: OrderCreated, user: Option<User>, time: Timestamp, _: Control| {
        assert!(user.is_none() && time > Timestamp::EPOCH);
        all.add(100 + order.number);
        async {}
    };
    let router: Router =
        Router::new().merge(Router::new().group("strict").on(strict)).merge(Router::new().group("lenient").on(lenient));
    let _running = router.start(&bus).await.unwrap();
    bus.publish(&order(1)).await.unwrap();
    let letters = letters(&bus, "orders", "strict", 1).await;
    assert_eq!(letters[0].message.meta().dead_reason.as_deref(), Some("the event names no user"));
    assert_eq!(letters[0].message.meta().dead_attempts, Some(1));
    assert_eq!(log.reach(1).await, [101]);
}

#[tokio::test]
async fn several_events_of_one_channel_have_handlers_of_their_own() {
    let (bus, log) = (bus().await, Log::default());
    let (created, cancelled) = (log.clone(), log.clone());
    let router: Router = Router::new()
        .group("billing")
        .on(move |order: OrderCreated| {
            created.add(("created", order.number));
            async {}
        })
        .on(move |order: OrderCancelled| {
            cancelled.add(("cancelled", order.number));
            async { Err::<(), _>("cannot be cancelled") }
        })
        .settle(pubsub::Settle::RejectOnError);
    let running = router.start(&bus).await.unwrap();
    assert_eq!(running.status().len(), 1, "one subscription for both");
    bus.publish(&order(1)).await.unwrap();
    bus.publish(&OrderCancelled { customer: "C-1".into(), number: 2 }).await.unwrap();
    assert_eq!(log.reach(2).await, [("created", 1), ("cancelled", 2)]);
    let letters = letters(&bus, "orders", "billing", 1).await;
    assert_eq!(letters[0].message.name().as_str(), "orders:cancelled");
    let handled = running.handled("billing", "orders").unwrap();
    assert_eq!((handled.succeeded, handled.failed), (1, 1));
}

#[tokio::test]
async fn an_event_that_nobody_takes_is_acknowledged_or_a_dead_letter() {
    let bus = bus().await;
    let quiet = Router::new().group("quiet").on(|_: OrderCreated| async {});
    let loud = Router::new().group("loud").unknown(Unknown::DeadLetter).on(|_: OrderCreated| async {});
    let router: Router = Router::new().merge(quiet).merge(loud);
    let running = router.start(&bus).await.unwrap();
    bus.publish(&OrderCancelled { customer: "C-1".into(), number: 2 }).await.unwrap();
    let letters = letters(&bus, "orders", "loud", 1).await;
    assert!(letters[0].message.meta().dead_reason.as_deref().unwrap().contains("orders:cancelled"));
    until("the count", || running.stats("quiet", "orders").unwrap().unclaimed == 1).await;
    assert!(running.stats("quiet", "orders").unwrap().outstanding == 0);
}

#[tokio::test]
async fn prefixes_nest_and_the_same_handlers_count_once() {
    let (bus, log) = (bus().await, Log::default());
    let seen = log.clone();
    let orders = Router::new().group("billing").on(move |order: OrderCreated, message: Arc<Message>| {
        seen.add((message.channel().to_string(), order.number));
        async {}
    });
    let eu = Router::new().nest("eu", orders.clone());
    let router: Router =
        Router::new().merge(orders.clone()).merge(orders.clone()).nest("shop", eu.clone()).nest("shop", eu);
    let running = router.start(&bus).await.unwrap();
    let channels: Vec<_> = running.status().iter().map(|status| status.channel.to_string()).collect();
    assert_eq!(channels, ["orders", "shop.eu.orders"]);
    let mut envelope = bus.envelope(&order(2)).unwrap();
    envelope.channel = ChannelName::parse("shop.eu.orders").unwrap();
    bus.publish(&order(1)).await.unwrap();
    log.reach(1).await;
    bus.publish_envelope(envelope).await.unwrap();
    assert_eq!(log.reach(2).await, [("orders".to_owned(), 1), ("shop.eu.orders".to_owned(), 2)]);
    assert_eq!(running.in_hand(), 0);
}

#[tokio::test]
async fn everything_that_is_wrong_is_told_when_the_router_is_built() {
    let bus = bus().await;
    let handler = || |_: OrderCreated| async {};
    let kind_of = async |router: Router| {
        let error = router.start(&bus).await.map(drop).unwrap_err();
        (error.kind(), error.message().to_owned())
    };
    let (kind, text) = kind_of(Router::new()).await;
    assert_eq!((kind, text.as_str()), (ErrorKind::Invalid, "the router has no handlers"));
    let (kind, text) = kind_of(Router::new().on(handler())).await;
    assert_eq!(kind, ErrorKind::Invalid);
    assert!(text.contains("`orders:created` has no group"), "{text}");
    let (kind, text) = kind_of(Router::new().group("g").on(handler()).on(handler())).await;
    assert_eq!(kind, ErrorKind::Conflict);
    assert!(text.contains("two handlers of `orders:created` on `orders`"), "{text}");
    let (kind, text) = kind_of(Router::new().group("bad group").on(handler()).nest("p!", Router::new())).await;
    assert_eq!(kind, ErrorKind::Invalid);
    assert!(text.contains("p!") && text.contains("bad group"), "{text}");
    let (kind, _) = kind_of(Router::new().group("g").concurrency(0).on(handler())).await;
    assert_eq!(kind, ErrorKind::Invalid);
    let two = Router::new()
        .group("g")
        .merge(Router::new().concurrency(2).on(handler()))
        .merge(Router::new().concurrency(3).on(|_: OrderCancelled| async {}));
    let (kind, text) = kind_of(two).await;
    assert_eq!(kind, ErrorKind::Conflict);
    assert!(text.contains("concurrency"), "{text}");
}

#[tokio::test]
async fn a_handler_of_an_event_that_its_channel_does_not_take_is_refused() {
    let builder = pubsub::builder("memory:").await.unwrap();
    let bus = builder.policy("orders", ChannelPolicy::new().declared_only()).unwrap().build();
    let router: Router = Router::new().group("g").on(|_: OrderCreated| async {});
    let error = router.start(&bus).await.map(drop).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Rejected);
    assert!(error.message().contains("`orders:created` version 1 is not in the catalog"), "{error}");
}
