//! The adapter for RabbitMQ where one thing is at fault: nothing else suffers, and it comes to an end.

#![cfg(feature = "rabbitmq")]
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{
    collections::BTreeSet,
    future::{Future, IntoFuture},
    time::{Duration, Instant},
};

use futures_util::future::join_all;
use lapin::{
    BasicProperties, Channel, Confirmation, Connection, ConnectionProperties,
    options::{
        BasicGetOptions, BasicNackOptions, BasicPublishOptions, ConfirmSelectOptions, QueueDeclareOptions,
        QueueDeleteOptions,
    },
    types::{AMQPValue, FieldTable},
};
use pubsub_adapters::connect;
use pubsub_core::{
    ChannelName, Envelope, ErrorKind, EventName, Events, Payload, PubSub, Raw, Received, Result, StartPosition,
    driver::{HistoryRange, RetryPolicy},
};
use pubsub_testkit::{
    broker::{Broker, BrokerKind, BrokerOptions},
    proxy::FaultProxy,
};
use tokio::time::{sleep, timeout};

/// How long anything may take on a busy machine.
const LIMIT: Duration = Duration::from_secs(60);

/// A server of this test. Where there is none on this machine the test fails: it would have shown nothing.
fn broker() -> Broker {
    Broker::start(BrokerKind::RabbitMq, &BrokerOptions::new()).unwrap()
}

/// A connection beside the adapter's.
async fn beside(broker: &Broker) -> (Connection, Channel) {
    let connection = Connection::connect(&broker.url(), ConnectionProperties::default()).await.unwrap();
    let channel = connection.create_channel().await.unwrap();
    (connection, channel)
}

fn event_on(channel: &str, number: usize) -> Envelope {
    let channel = ChannelName::parse(channel).unwrap();
    Envelope::new(EventName::parse("heals:counted").unwrap(), channel, Payload::json(number.to_string()))
}

async fn confirmed(bus: &PubSub, event: Envelope) {
    let started = Instant::now();
    while let Err(error) = bus.publish_envelope(event.clone()).await {
        assert!(error.is_retryable() && started.elapsed() < LIMIT, "{error:?}");
        sleep(Duration::from_millis(20)).await;
    }
}

async fn eventually<F: Future<Output = bool>>(what: &str, mut holds: impl FnMut() -> F) {
    let started = Instant::now();
    while !holds().await {
        assert!(started.elapsed() < LIMIT, "{what}");
        sleep(Duration::from_millis(50)).await;
    }
}

/// Puts a full queue that refuses everything in the place of a stream, or takes it away again.
async fn break_stream(broker: &Broker, name: &str, broken: bool) {
    let (_connection, channel) = beside(broker).await;
    channel.queue_delete(name.into(), QueueDeleteOptions::default()).await.unwrap();
    if !broken {
        return;
    }
    let mut arguments = FieldTable::default();
    arguments.insert("x-max-length".into(), AMQPValue::LongInt(1));
    arguments.insert("x-overflow".into(), AMQPValue::LongString("reject-publish".into()));
    let durable = QueueDeclareOptions { durable: true, ..QueueDeclareOptions::default() };
    channel.queue_declare(name.into(), durable, arguments).await.unwrap();
    channel.confirm_select(ConfirmSelectOptions::default()).await.unwrap();
    let fill = async || {
        let options = BasicPublishOptions::default();
        let sent = channel.basic_publish("".into(), name.into(), options, b"", BasicProperties::default());
        sent.await.unwrap().await.unwrap()
    };
    eventually("the queue is full", || async { matches!(fill().await, Confirmation::Nack(_)) }).await;
}

/// Both channels are published over one lane.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_that_is_not_ready_holds_back_its_own_channel_alone() -> Result<()> {
    let broker = broker();
    let proxy = FaultProxy::start(broker.address()).await.unwrap();
    let url = broker.url().replace(&broker.address().to_string(), &proxy.address().to_string());
    let bus = connect(&format!("{url}?prefix=lane&lanes=1")).await?;
    for channel in ["heals", "sound"] {
        confirmed(&bus, event_on(channel, 0)).await;
    }
    break_stream(&broker, "lane/stream/heals", true).await;
    // On a new connection each stream proves itself again.
    proxy.cut().await.unwrap();
    eventually("the cut is noticed", || async { !bus.health().await.is_up() }).await;
    eventually("the connection comes back", || async { bus.health().await.is_up() }).await;
    let briefly = Duration::from_secs(3);
    let held = (1..4).map(|number| bus.publish_envelope(event_on("heals", number)).timeout(briefly).into_future());
    let held = join_all(held);
    let sound = async {
        let mut slowest = Duration::ZERO;
        for number in 1..20 {
            let started = Instant::now();
            bus.publish_envelope(event_on("sound", number)).timeout(briefly).await?;
            slowest = slowest.max(started.elapsed());
        }
        Ok::<_, pubsub_core::Error>(slowest)
    };
    let (held, sound) = tokio::join!(held, sound);
    assert!(sound? < briefly);
    for refused in held {
        let refused = refused.unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::Unavailable, "{refused:?}");
        assert!(refused.to_string().contains("not ready"), "{refused}");
    }
    break_stream(&broker, "lane/stream/heals", false).await;
    for number in 4..9 {
        confirmed(&bus, event_on("heals", number)).await;
    }
    assert_eq!(bus.history(&HistoryRange::new(ChannelName::parse("heals")?)).await?.events.len(), 5);
    bus.close(Duration::from_secs(5)).await
}

async fn next(events: &mut Events<Raw>) -> Received<Raw> {
    timeout(LIMIT, events.next()).await.unwrap().unwrap().unwrap()
}

/// Waits for the group's dead letter, while no event comes, and tells its attempts.
async fn given_up(bus: &PubSub, events: &mut Events<Raw>) -> u32 {
    let started = Instant::now();
    loop {
        assert!(started.elapsed() < LIMIT, "it is not given up");
        assert!(timeout(Duration::from_millis(100), events.next()).await.is_err(), "it came again");
        let page = bus.dead_letters("heals", "readers", StartPosition::Earliest).await.unwrap();
        if let Some(letter) = page.events.first() {
            return letter.message.meta().dead_attempts.unwrap();
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_event_that_ends_its_consumers_is_given_up_after_as_many_deliveries_as_the_policy_says() -> Result<()> {
    let broker = broker();
    let bus = connect(&format!("{}?prefix=worn", broker.url())).await?;
    let retry = RetryPolicy::default().attempts(2).deliveries(5);
    let group = |bus: &PubSub| bus.subscribe_channel("heals").group("readers").retry(retry).into_future();
    let founder = connect(&format!("{}?prefix=worn", broker.url())).await?;
    drop(group(&founder).await?);
    founder.close(Duration::from_secs(5)).await?;
    confirmed(&bus, event_on("heals", 0)).await;
    // As the broker sees consumers that end.
    let (_connection, channel) = beside(&broker).await;
    let queue = "worn/group/readers/heals/-";
    for _ in 0..4 {
        let started = Instant::now();
        let got = loop {
            match channel.basic_get(queue.into(), BasicGetOptions::default()).await.unwrap() {
                Some(got) => break got,
                None => assert!(started.elapsed() < LIMIT, "the event is not in the queue"),
            }
        };
        let options = BasicNackOptions { requeue: true, multiple: false };
        channel.basic_nack(got.delivery.delivery_tag, options).await.unwrap();
    }
    let last = connect(&format!("{}?prefix=worn", broker.url())).await?;
    let mut events = group(&last).await?;
    let event = next(&mut events).await;
    assert_eq!(event.attempt(), 1, "nobody said that it failed");
    let _ = last.close(Duration::from_millis(500)).await; // with the event in hand
    drop(event);
    let mut events = group(&bus).await?;
    assert_eq!(given_up(&bus, &mut events).await, 5);
    bus.close(Duration::from_secs(5)).await
}

/// So much of a frame of 128 KiB that what a copy needs has no room.
const FOREIGN: usize = 130_600;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_event_whose_headers_leave_no_room_for_a_copy_comes_again_without_one() -> Result<()> {
    let broker = broker();
    let bus = connect(&format!("{}?prefix=stuffed", broker.url())).await?;
    let retry = RetryPolicy::default().attempts(2).deliveries(4).delays(Duration::ZERO, Duration::ZERO);
    let mut events = bus.subscribe_channel("heals").group("readers").retry(retry).await?;
    confirmed(&bus, event_on("heals", 0)).await;
    next(&mut events).await.ack();
    let (_connection, channel) = beside(&broker).await;
    let text = |text: &str| AMQPValue::LongString(text.into());
    let mut headers = FieldTable::default();
    for (name, value) in [("specversion", "1.0"), ("id", "f-1"), ("type", "heals:counted"), ("source", "/else")] {
        headers.insert(format!("cloudEvents:{name}").into(), text(value));
    }
    // A table is no attribute of the event, and so not among what its metadata may have.
    let mut table = FieldTable::default();
    table.insert("x".into(), text(&"x".repeat(FOREIGN)));
    headers.insert("x-stuff".into(), AMQPValue::FieldTable(table));
    let properties = BasicProperties::default().with_message_id("f-1".into()).with_headers(headers);
    channel.confirm_select(ConfirmSelectOptions::default()).await.unwrap();
    let options = BasicPublishOptions { mandatory: true, immediate: false };
    let sent = channel.basic_publish("stuffed/events".into(), "-.heals".into(), options, b"7", properties);
    assert!(matches!(sent.await.unwrap().await.unwrap(), Confirmation::Ack(None)));
    for number in 1..5 {
        let event = next(&mut events).await;
        assert_eq!(event.id().to_string(), "f-1");
        event.nack()?;
        // The connection is there for others.
        bus.publish_envelope(event_on("other", number)).await?;
    }
    assert_eq!(given_up(&bus, &mut events).await, 4);
    assert_eq!(bus.states().restored(), 0, "the broker has ended a connection");

    // A fresh group finds it in the history.
    let mut late = bus.subscribe_channel("heals").group("late").start(StartPosition::Earliest).await?;
    for _ in 0..2 {
        next(&mut late).await.ack();
    }
    assert_eq!(bus.states().restored(), 0, "the broker has ended a connection");
    bus.close(Duration::from_secs(5)).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_policy_of_the_broker_bounds_groups_without_losing_what_is_confirmed() -> Result<()> {
    let broker = broker();
    let bus = connect(&broker.url()).await?;
    let group = || bus.subscribe_channel("heals").group("readers").into_future();
    drop(group().await?);
    let bound = r#"{"max-length-bytes":20000,"overflow":"reject-publish"}"#;
    let policy = ["set_policy", "--apply-to", "queues", "groups", "^pubsub/group/", bound];
    tokio::task::block_in_place(|| broker.tool(&policy)).unwrap();
    let mut kept = BTreeSet::new();
    let started = Instant::now();
    let refused = loop {
        assert!(started.elapsed() < LIMIT, "it is not bounded");
        match bus.publish_envelope(event_on("heals", kept.len())).await {
            Ok(_) => kept.insert(kept.len()),
            Err(error) => break error,
        };
    };
    assert_eq!(refused.kind(), ErrorKind::Backend, "{refused:?}");
    confirmed(&bus, event_on("other", 0)).await;
    let mut events = group().await?;
    let all = kept.len();
    while !kept.is_empty() {
        let event = next(&mut events).await;
        kept.remove(&event.message().payload().decode::<usize>()?);
        event.ack();
    }
    confirmed(&bus, event_on("heals", all)).await;
    bus.close(Duration::from_secs(5)).await
}
