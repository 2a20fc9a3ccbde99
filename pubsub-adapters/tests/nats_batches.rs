//! Many events on their way to NATS: they are confirmed together, and nothing else about them changes.

#![cfg(feature = "nats")]
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use std::time::{Duration, Instant};

use async_nats::jetstream;
use pubsub_adapters::builder;
use pubsub_core::{
    ChannelName, ChannelPolicy, Envelope, ErrorKind, EventName, Payload, PubSub, Retention, StartPosition, Ticket,
    driver::{ChannelSpec, HistoryRange, Receipt, Topology, TopologyMode},
};
use pubsub_testkit::{
    broker::{Broker, BrokerKind, BrokerOptions},
    proxy::FaultProxy,
};
use serde_json::{Value, json};

const LIMIT: Duration = Duration::from_secs(40);
const STREAM: &str = "_~many";

/// A server of this test. Where there is none on this machine the test fails: it would have shown nothing.
fn broker() -> Broker {
    Broker::start(BrokerKind::Nats, &BrokerOptions::new()).unwrap()
}

fn event(text: &str) -> Envelope {
    let channel = ChannelName::parse("many").unwrap();
    Envelope::new(EventName::parse("many:event").unwrap(), channel, Payload::json(text.to_owned()))
}

async fn send(bus: &PubSub, text: &str) -> Ticket {
    bus.publish_envelope(event(text)).timeout(Duration::from_secs(30)).enqueue().await.unwrap()
}

async fn send_all(bus: &PubSub, count: usize) -> Vec<Ticket> {
    let mut tickets = Vec::with_capacity(count);
    for number in 0..count {
        tickets.push(send(bus, &number.to_string()).await);
    }
    tickets
}

async fn confirmed(tickets: Vec<Ticket>) -> Vec<Receipt> {
    let mut receipts = Vec::with_capacity(tickets.len());
    for (number, ticket) in tickets.into_iter().enumerate() {
        receipts.push(ticket.await.unwrap_or_else(|error| panic!("{number}: {error:?}")));
    }
    receipts
}

/// All that the channel has, in its order.
async fn stored(bus: &PubSub) -> Vec<String> {
    let (channel, mut from) = (ChannelName::parse("many").unwrap(), StartPosition::Earliest);
    let mut all = Vec::new();
    loop {
        let page = bus.history(&HistoryRange::new(channel.clone()).from(from).limit(1_000)).await.unwrap();
        let text =
            |message: &pubsub_core::Message| String::from_utf8(message.payload().data().unwrap().to_vec()).unwrap();
        all.extend(page.events.iter().map(|stored| text(&stored.message)));
        match page.next {
            Some(position) if !page.at_end => from = StartPosition::After(position),
            _ => return all,
        }
    }
}

fn numbers(count: usize) -> Vec<String> {
    (0..count).map(|number| number.to_string()).collect()
}

/// Changes the channel's stream by the server's own means.
async fn change(broker: &Broker, change: impl FnOnce(&mut Value)) {
    let streams = jetstream::new(async_nats::connect(broker.url()).await.unwrap());
    let info: Value = streams.request(format!("STREAM.INFO.{STREAM}"), &json!({})).await.unwrap();
    let mut config = info["config"].clone();
    assert_eq!(config["allow_batched"], true, "{config}");
    change(&mut config);
    let changed: Value = streams.request(format!("STREAM.UPDATE.{STREAM}"), &config).await.unwrap();
    assert!(changed.get("error").is_none(), "{changed}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_are_confirmed_together_and_lie_in_their_order() {
    let mut broker = broker();
    let bus = builder(&broker.url()).await.unwrap().build();
    let lone = send(&bus, "\"first\"").await.await.unwrap();
    assert!(lone.position.is_some(), "a lone event is confirmed by itself");
    // A server that stands still lets them pile up.
    broker.pause().unwrap();
    let tickets = send_all(&bus, 1_000).await;
    broker.resume().unwrap();
    let mut receipts = confirmed(tickets).await;
    let together = receipts.iter().filter(|receipt| receipt.position.is_none()).count();
    assert!(together > 900, "only {together} were confirmed together");
    receipts.extend(confirmed(send_all(&bus, 4_000).await).await);
    let all = stored(&bus).await;
    assert!(all[0] == "\"first\"" && all[1..] == [numbers(1_000), numbers(4_000)].concat(), "{} are stored", all.len());
    assert_eq!(receipts.len() + 1, all.len());
    bus.close(Duration::from_secs(5)).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn several_publishers_of_one_channel_disturb_each_other_in_nothing() {
    let broker = broker();
    let (mut publishing, mut all) = (Vec::new(), 0);
    for _ in 0..3 {
        let bus = builder(&broker.url()).await.unwrap().build();
        publishing.push(tokio::spawn(async move {
            confirmed(send_all(&bus, 3_000).await).await;
            bus.close(Duration::from_secs(5)).await.unwrap();
        }));
        all += 3_000;
    }
    for publisher in publishing {
        publisher.await.unwrap();
    }
    let bus = builder(&broker.url()).await.unwrap().build();
    assert_eq!(stored(&bus).await.len(), all);
    bus.close(Duration::from_secs(5)).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_broken_connection_leaves_open_is_stored_once() {
    let mut broker = broker();
    let proxy = FaultProxy::start(broker.address()).await.unwrap();
    let bus = builder(&format!("nats://{}", proxy.address())).await.unwrap().build();
    drop(send(&bus, "\"first\"").await.await.unwrap());
    let mut expected = vec!["\"first\"".to_owned()];
    for round in 0..4 {
        let publisher = bus.clone();
        let publishing = tokio::spawn(async move { confirmed(send_all(&publisher, 6_000).await).await });
        // Some are on their way by now.
        let started = Instant::now();
        while stored_count(&broker).await < expected.len() + 500 {
            assert!(started.elapsed() < LIMIT, "nothing is stored");
        }
        if round == 3 {
            broker.kill().unwrap();
            broker.restart().unwrap();
        } else {
            proxy.cut().await.unwrap();
        }
        publishing.await.unwrap();
        expected.extend(numbers(6_000));
    }
    let mut all = stored(&bus).await;
    all.sort();
    expected.sort();
    assert!(all == expected, "{} are stored, not {}", all.len(), expected.len());
    bus.close(Duration::from_secs(5)).await.unwrap();
    proxy.close().await;
}

async fn stored_count(broker: &Broker) -> usize {
    let streams = jetstream::new(async_nats::connect(broker.url()).await.unwrap());
    let info: Value = streams.request(format!("STREAM.INFO.{STREAM}"), &json!({})).await.unwrap();
    usize::try_from(info["state"]["messages"].as_u64().unwrap()).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_that_is_refused_is_the_only_one() {
    let broker = broker();
    let bus = builder(&broker.url()).await.unwrap().build();
    drop(send(&bus, "\"first\"").await.await.unwrap());
    change(&broker, |config| config["max_msg_size"] = json!(600)).await;
    let mut tickets = send_all(&bus, 1_000).await;
    let large = send(&bus, &format!("\"{}\"", "x".repeat(1_000))).await;
    tickets.extend(send_all(&bus, 1_000).await);
    assert_eq!(large.await.unwrap_err().kind(), ErrorKind::TooLarge);
    confirmed(tickets).await;
    assert_eq!(stored(&bus).await[1..], [numbers(1_000), numbers(1_000)].concat());
    bus.close(Duration::from_secs(5)).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_that_takes_no_batches_any_more_takes_events_one_by_one() {
    let broker = broker();
    let bus = builder(&broker.url()).await.unwrap().build();
    drop(send(&bus, "\"first\"").await.await.unwrap());
    change(&broker, |config| config["allow_batched"] = json!(false)).await;
    let receipts = confirmed(send_all(&bus, 3_000).await).await;
    assert!(receipts.iter().all(|receipt| receipt.position.is_some()));
    assert_eq!(stored(&bus).await[1..], numbers(3_000));
    bus.close(Duration::from_secs(5)).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ids_are_not_remembered_longer_than_events() {
    let broker = broker();
    let bus = builder(&broker.url()).await.unwrap().build();
    let policy = |window| {
        let kept = Retention::default().age(Duration::from_secs(60));
        ChannelPolicy::new().retention(kept).dedup_window(Duration::from_secs(window))
    };
    let declare = async |window| {
        let spec = ChannelSpec::new(ChannelName::parse("many").unwrap(), policy(window));
        bus.ensure(&Topology::new(TopologyMode::Create).channel(spec)).await
    };
    let refused = declare(61).await.unwrap_err();
    assert!(refused.kind() == ErrorKind::Unsupported && refused.message().contains("dedup_window"), "{refused:?}");
    declare(60).await.unwrap();
    bus.close(Duration::from_secs(5)).await.unwrap();
}
