//! The Kafka adapter before a server that restarts, dies, falls silent, or loses its data.
#![cfg(feature = "kafka")]

use std::{
    collections::BTreeSet,
    time::{Duration, Instant},
};

use pubsub_adapters::kafka::{Kafka, KafkaOptions};
use pubsub_core::{ChannelPolicy, Envelope, EventItem, EventName, Events, Key, Payload, Policies, PubSub, Raw};
use pubsub_testkit::{
    broker::{Broker, BrokerError, BrokerKind, BrokerOptions},
    proxy::FaultProxy,
};
use tokio::time::{sleep, timeout};

type Outcome = Result<(), Box<dyn std::error::Error>>;

const SOON: Duration = Duration::from_secs(40);

/// A server of this test; `None` where there is none on this machine.
fn server(options: &BrokerOptions) -> Result<Option<Broker>, BrokerError> {
    match Broker::start(BrokerKind::Kafka, options) {
        Ok(broker) => Ok(Some(broker)),
        Err(BrokerError::Missing { .. }) if std::env::var_os("PUBSUB_TEST_REQUIRE").is_none() => Ok(None),
        Err(fault) => Err(fault),
    }
}

async fn open(url: &str) -> pubsub_core::Result<PubSub> {
    Ok(PubSub::new(Kafka::open(KafkaOptions::from_url(&url.parse()?)?).await?))
}

fn event(channel: &str, serial: usize) -> Result<Envelope, pubsub_core::Error> {
    Ok(Envelope::new(EventName::parse("test:event")?, channel.parse()?, Payload::json(serial.to_string())))
}

fn serial(message: &pubsub_core::Message) -> Option<usize> {
    std::str::from_utf8(message.payload().data()?).ok()?.parse().ok()
}

/// Publishes until the broker confirms, and says how often it was tried.
async fn insist(bus: &PubSub, channel: &str, number: usize) -> Result<usize, Box<dyn std::error::Error>> {
    let (until, event) = (Instant::now() + SOON, event(channel, number)?);
    for tries in 1.. {
        match bus.publish_envelope(event.clone()).await {
            Ok(_) => return Ok(tries),
            Err(error) if Instant::now() > until => return Err(error.into()),
            Err(_) => sleep(Duration::from_millis(50)).await,
        }
    }
    unreachable!("the loop has no end of its own")
}

/// Reads and acknowledges until all of these have come; says how many gaps were told of.
async fn read(events: &mut Events<Raw>, expected: impl IntoIterator<Item = usize>) -> Result<usize, String> {
    let (mut missing, mut gaps): (BTreeSet<_>, _) = (expected.into_iter().collect(), 0);
    while !missing.is_empty() {
        let item = timeout(SOON, events.next_item()).await.map_err(|_| format!("missing {missing:?}"))?;
        match item.ok_or("the end")?.map_err(|error| error.to_string())? {
            EventItem::Event(event) => {
                missing.remove(&serial(event.message()).ok_or("no serial")?);
                event.ack();
            }
            EventItem::Gap(_) => gaps += 1,
            _ => {}
        }
    }
    Ok(gaps)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn restarts_kills_and_silence_cost_nothing_that_was_confirmed() -> Outcome {
    let Some(mut broker) = server(&BrokerOptions::new())? else { return Ok(()) };
    let bus = open(&broker.url()).await?;
    let mut group = bus.subscribe_channel("orders").group("billing").await?;
    let mut all = bus.subscribe_channel("orders").await?;
    insist(&bus, "orders", 0).await?;
    read(&mut group, [0]).await?;
    read(&mut all, [0]).await?;

    tokio::task::block_in_place(|| broker.restart())?;
    insist(&bus, "orders", 1).await?;
    read(&mut group, [1]).await?;
    read(&mut all, [1]).await?;

    tokio::task::block_in_place(|| broker.kill().and_then(|()| broker.restart()))?;
    insist(&bus, "orders", 2).await?;
    read(&mut group, [2]).await?;
    read(&mut all, [2]).await?;

    broker.pause()?;
    let began = Instant::now();
    let silent = bus.publish_envelope(event("orders", 3)?).await;
    assert!(silent.is_err() && began.elapsed() < Duration::from_secs(12), "{silent:?} after {:?}", began.elapsed());
    assert!(!bus.health().await.is_up());
    broker.resume()?;
    insist(&bus, "orders", 4).await?;
    read(&mut group, [4]).await?;
    read(&mut all, [4]).await?;
    bus.close(Duration::from_secs(10)).await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn cut_connections_heal_and_a_late_broker_is_found() -> Outcome {
    let proxy = FaultProxy::bind().await?;
    let options = BrokerOptions::new().advertised(proxy.address());
    let url = format!("kafka://{}?start=degraded", proxy.address());
    // There is nobody yet.
    let bus = open(&url).await?;
    assert!(!bus.health().await.is_up());
    let Some(broker) = server(&options)? else { return Ok(()) };
    proxy.set_upstream(broker.address());
    let until = Instant::now() + SOON;
    while !bus.health().await.is_up() {
        assert!(Instant::now() < until, "it stays down");
        sleep(Duration::from_millis(50)).await;
    }
    let mut group = bus.subscribe_channel("orders").group("billing").await?;
    for number in 0..20 {
        insist(&bus, "orders", number).await?;
        if number % 5 == 4 {
            proxy.cut().await?;
        }
    }
    read(&mut group, 0..20).await?;

    proxy.refuse().await?;
    let began = Instant::now();
    let _ = bus.close(Duration::from_secs(3)).await;
    assert!(began.elapsed() < Duration::from_secs(5), "closing took {:?}", began.elapsed());
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_loses_its_data_is_made_anew_and_reported() -> Outcome {
    let Some(mut broker) = server(&BrokerOptions::new())? else { return Ok(()) };
    let bus = open(&broker.url()).await?;
    let mut group = bus.subscribe_channel("orders").group("billing").await?;
    let mut all = bus.subscribe_channel("orders").await?;
    for number in 0..50 {
        insist(&bus, "orders", number).await?;
    }
    read(&mut group, 0..50).await?;
    read(&mut all, 0..50).await?;
    tokio::task::block_in_place(|| {
        broker.stop()?;
        broker.wipe()?;
        if broker.is_running() { Ok(()) } else { broker.restart() }
    })?;
    for number in 100..103 {
        insist(&bus, "orders", number).await?;
    }
    assert!(read(&mut group, 102..103).await? > 0, "a gap of the group");
    assert!(read(&mut all, 102..103).await? > 0, "a gap of the broadcast");
    bus.close(Duration::from_secs(10)).await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn keys_keep_their_order_while_members_come_and_go() -> Outcome {
    const COUNT: usize = 2_000;
    let Some(broker) = server(&BrokerOptions::new())? else { return Ok(()) };
    let url = broker.url();
    let member = async || {
        let adapter = Kafka::open(KafkaOptions::from_url(&url.parse()?)?).await?;
        let policies = Policies::new(ChannelPolicy::new().ordered_per_key(4));
        Ok::<_, Box<dyn std::error::Error>>(PubSub::builder(adapter).policies(policies).build())
    };
    let publisher = member().await?;
    let (seen, mut seen_by) = tokio::sync::mpsc::unbounded_channel();
    let mut buses = Vec::new();
    for index in 0..3 {
        let bus = member().await?;
        let mut events = bus.subscribe_channel("orders").group("billing").max_in_flight(32).await?;
        let seen = seen.clone();
        tokio::spawn(async move {
            while let Some(Ok(event)) = events.next().await {
                let key = event.key().map(ToString::to_string).unwrap_or_default();
                let _ = seen.send((key, serial(event.message())));
                event.ack();
            }
        });
        buses.push(bus);
        for number in index * COUNT / 3..(index + 1) * COUNT / 3 {
            let envelope = event("orders", number)?;
            publisher.publish_envelope(envelope).key(Key::new(&format!("k{}", number % 16))?).await?;
        }
        if index == 1 {
            // One leaves in the middle.
            buses.remove(0).close(Duration::from_secs(10)).await?;
        }
    }
    for number in COUNT / 3 * 3..COUNT {
        publisher.publish_envelope(event("orders", number)?).key(Key::new(&format!("k{}", number % 16))?).await?;
    }
    let mut last = std::collections::HashMap::new();
    let mut distinct = BTreeSet::new();
    while distinct.len() < COUNT {
        let (key, number) =
            timeout(SOON, seen_by.recv()).await.map_err(|_| format!("{} came", distinct.len()))?.ok_or("the end")?;
        let number = number.ok_or("no serial")?;
        if distinct.insert(number) {
            let before = last.insert(key.clone(), number);
            assert!(before.is_none_or(|before| before < number), "{number} of {key} after {before:?}");
        }
    }
    for bus in buses {
        bus.close(Duration::from_secs(10)).await?;
    }
    Ok(())
}
