//! The Kafka adapter before a server that restarts, dies, falls silent, or loses its data, and before others who change
//! what is on it; what is the same for every broker is the fault suite's.
#![cfg(feature = "kafka")]

use std::{
    collections::BTreeSet,
    time::{Duration, Instant},
};

use pubsub_adapters::kafka::{Kafka, KafkaOptions};
use pubsub_core::{
    ChannelName, ChannelPolicy, Envelope, ErrorKind, EventItem, EventName, Events, Key, Payload, PubSub, Raw,
    Retention,
    driver::{Adapter, ChannelSpec, GapReason, SubscriptionState, Topology, TopologyMode},
};
use pubsub_testkit::broker::{Broker, BrokerError, BrokerKind, BrokerOptions};
use rdkafka::{
    ClientConfig,
    admin::{AdminClient, AdminOptions, AlterConfig, ResourceSpecifier},
    client::DefaultClientContext,
    consumer::{BaseConsumer, Consumer},
    error::KafkaError,
};
use tokio::time::{sleep, timeout};

type Outcome = Result<(), Box<dyn std::error::Error>>;

const SOON: Duration = Duration::from_secs(40);

/// A server of this test. Where there is none on this machine the test fails: it would have shown nothing.
fn server() -> Result<Broker, BrokerError> {
    Broker::start(BrokerKind::Kafka, &BrokerOptions::new())
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

/// Publishes until the broker confirms.
async fn insist(bus: &PubSub, channel: &str, number: usize) -> Outcome {
    let (until, event) = (Instant::now() + SOON, event(channel, number)?);
    loop {
        match bus.publish_envelope(event.clone()).await {
            Ok(_) => return Ok(()),
            Err(error) if Instant::now() > until => return Err(error.into()),
            Err(_) => sleep(Duration::from_millis(50)).await,
        }
    }
}

/// Reads until all of these have come; says how many gaps were told of.
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
async fn restarts_kills_and_silence_cost_a_broadcast_nothing() -> Outcome {
    let mut broker = server()?;
    let bus = open(&broker.url()).await?;
    let mut all = bus.subscribe_channel("orders").await?;
    insist(&bus, "orders", 0).await?;
    let mut gaps = read(&mut all, [0]).await?;

    tokio::task::block_in_place(|| broker.restart())?;
    insist(&bus, "orders", 1).await?;
    gaps += read(&mut all, [1]).await?;

    tokio::task::block_in_place(|| broker.kill().and_then(|()| broker.restart()))?;
    insist(&bus, "orders", 2).await?;
    gaps += read(&mut all, [2]).await?;

    broker.pause()?;
    sleep(Duration::from_secs(2)).await;
    broker.resume()?;
    insist(&bus, "orders", 3).await?;
    gaps += read(&mut all, [3]).await?;
    assert_eq!(gaps, 0, "nothing was lost");
    bus.close(Duration::from_secs(10)).await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broadcast_is_told_of_what_is_lost() -> Outcome {
    let mut broker = server()?;
    let bus = open(&broker.url()).await?;
    let mut all = bus.subscribe_channel("orders").await?;
    for number in 0..50 {
        insist(&bus, "orders", number).await?;
    }
    read(&mut all, 0..50).await?;
    tokio::task::block_in_place(|| {
        broker.stop()?;
        broker.wipe()?;
        if broker.is_running() { Ok(()) } else { broker.restart() }
    })?;
    for number in 100..103 {
        insist(&bus, "orders", number).await?;
    }
    assert!(read(&mut all, 102..103).await? > 0, "a gap");
    bus.close(Duration::from_secs(10)).await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_publish_waits_as_long_as_it_was_told_to() -> Outcome {
    let mut broker = server()?;
    let bus = open(&broker.url()).await?;
    insist(&bus, "orders", 0).await?;
    broker.pause()?;
    let begun = Instant::now();
    let patient = bus.publish_envelope(event("orders", 1)?).timeout(Duration::from_secs(60)).enqueue().await?;
    let waits = bus.publish_envelope(event("orders", 2)?).timeout(Duration::from_secs(12));
    let refused = waits.await.expect_err("the broker is silent");
    let took = begun.elapsed();
    assert!(matches!(refused.kind(), ErrorKind::Timeout | ErrorKind::Unavailable), "{refused}");
    assert!((Duration::from_secs(11)..Duration::from_secs(16)).contains(&took), "{took:?}");
    broker.resume()?;
    patient.await?;
    assert!(begun.elapsed() < Duration::from_secs(45), "{:?}", begun.elapsed());
    bus.close(Duration::from_secs(20)).await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn partitions_that_are_added_are_read_and_written_and_nothing_is_lost() -> Outcome {
    let broker = server()?;
    let (bus, reader) = (open(&broker.url()).await?, open(&broker.url()).await?);
    let mut group = reader.subscribe_channel("orders").group("workers").await?;
    let mut all = reader.subscribe_channel("orders").await?;
    let keyed = |number: usize| -> Result<_, pubsub_core::Error> {
        Ok(bus.publish_envelope(event("orders", number)?).key(Key::new(&format!("key-{}", number % 50))?))
    };
    for number in 0..100 {
        keyed(number)?.await?;
    }
    let more = KafkaOptions::from_url(&broker.url().parse()?)?.partitions(4);
    let operator = Kafka::open(more).await?;
    let spec = ChannelSpec::new(ChannelName::parse("orders")?, ChannelPolicy::new());
    let report = operator.ensure(&Topology::new(TopologyMode::Update).channel(spec)).await?;
    assert!(report.differences.iter().any(|difference| difference.field == "partitions"), "{report:?}");
    // Until events go to a new partition, and a while longer.
    let (begun, mut number, mut enough) = (Instant::now(), 100, usize::MAX);
    while number < enough {
        assert!(begun.elapsed() < Duration::from_secs(20), "nothing was written to the new partitions");
        let receipt = keyed(number)?.await?;
        number += 1;
        let place = receipt.position.map(|position| position.to_string()).unwrap_or_default();
        if enough == usize::MAX && place.starts_with("kafka:3:") {
            enough = number + 300;
        }
        sleep(Duration::from_millis(5)).await;
    }
    let published = Instant::now();
    let (worked, heard) = tokio::join!(read(&mut group, 0..number), read(&mut all, 0..number));
    assert_eq!((worked?, heard?), (0, 0), "nothing was lost");
    assert!(published.elapsed() < Duration::from_secs(15), "{:?}", published.elapsed());
    operator.close(Duration::from_secs(5)).await?;
    bus.close(Duration::from_secs(10)).await?;
    reader.close(Duration::from_secs(10)).await?;
    Ok(())
}

/// Takes a member's place by its name, which is fatal for the member's client.
fn usurp(address: &str) -> Outcome {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", address).set("group.id", "orders/workers").set("group.instance.id", "only");
    config.set("partition.assignment.strategy", "cooperative-sticky").set("session.timeout.ms", "6000");
    let other: BaseConsumer = config.create()?;
    other.subscribe(&["orders"])?;
    let until = Instant::now() + SOON;
    while other.assignment()?.count() == 0 {
        if Instant::now() > until {
            return Err("no partition was to be had".into());
        }
        drop(other.poll(Duration::from_millis(100)));
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_member_whose_client_has_met_a_fatal_error_is_made_anew() -> Outcome {
    let broker = server()?;
    let bus = open(&format!("{}?kafka.group.instance.id=only", broker.url())).await?;
    let mut group = bus.subscribe_channel("orders").group("workers").await?;
    insist(&bus, "orders", 0).await?;
    read(&mut group, [0]).await?;
    let address = broker.address().to_string();
    tokio::task::block_in_place(|| usurp(&address))?;
    let mut noticed = false;
    while !noticed {
        let item = timeout(SOON, group.next_item()).await?.ok_or("the end")?;
        noticed = matches!(item, Ok(EventItem::State(SubscriptionState::Recovering(_))));
    }
    insist(&bus, "orders", 1).await?;
    read(&mut group, [1]).await?;
    bus.close(Duration::from_secs(10)).await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_an_operator_has_set_survives_an_update_and_what_differs_is_named() -> Outcome {
    let broker = server()?;
    let url = broker.url();
    let kafka = Kafka::open(KafkaOptions::from_url(&url.parse()?)?).await?;
    let kept = |seconds| ChannelPolicy::new().retention(Retention::default().age(Duration::from_secs(seconds)));
    let channel: ChannelName = "orders".parse()?;
    let topology = |mode, seconds| Topology::new(mode).channel(ChannelSpec::new(channel.clone(), kept(seconds)));
    kafka.ensure(&topology(TopologyMode::Create, 3_600)).await?;

    let servers = url.trim_start_matches("kafka://").trim_end_matches('/').to_owned();
    let admin: AdminClient<DefaultClientContext> = ClientConfig::new().set("bootstrap.servers", servers).create()?;
    let theirs = [("max.message.bytes", "77777"), ("compression.type", "gzip"), ("min.insync.replicas", "1")];
    let settings = || async {
        let (topic, options) = ([ResourceSpecifier::Topic("orders")], AdminOptions::new());
        let found = admin.describe_configs(&topic, &options).await?.remove(0).map_err(KafkaError::AdminOp)?;
        let value = |name: &str| found.get(name).and_then(|entry| entry.value.clone()).unwrap_or_default();
        let names = ["retention.ms", "cleanup.policy", "max.compaction.lag.ms"].into_iter();
        Ok::<_, KafkaError>(names.chain(theirs.map(|(name, _)| name)).map(value).collect::<Vec<_>>())
    };
    // As their tools do: what was set before is sent along.
    let before = settings().await?;
    let mut change = AlterConfig::new(ResourceSpecifier::Topic("orders")).set("max.compaction.lag.ms", &before[2]);
    for (name, value) in theirs {
        change = change.set(name, value);
    }
    change = change.set("cleanup.policy", "compact").set("retention.ms", "3600000");
    admin
        .alter_configs([&change], &AdminOptions::new())
        .await?
        .remove(0)
        .map_err(|(_, code)| KafkaError::AdminOp(code))?;

    for mode in [TopologyMode::Validate, TopologyMode::Create] {
        let refused = kafka.ensure(&topology(mode, 3_600)).await.expect_err("a compacted channel loses events");
        assert_eq!(refused.kind(), ErrorKind::TopologyMismatch);
        assert!(refused.message().contains("cleanup.policy"), "{refused}");
    }
    let report = kafka.ensure(&topology(TopologyMode::Update, 7_200)).await?;
    let fields: Vec<_> = report.differences.iter().map(|found| (found.field.as_str(), found.mended)).collect();
    assert_eq!(fields, [("retention.age", true), ("cleanup.policy", true)]);
    let after = settings().await?;
    assert_eq!(after, ["7200000", "delete", &before[2], "77777", "gzip", "1"]);
    kafka.ensure(&topology(TopologyMode::Validate, 7_200)).await?;

    let three = KafkaOptions::from_url(&url.parse()?)?.replication(3);
    let refused = Kafka::open(three).await?.ensure(&topology(TopologyMode::Update, 7_200)).await;
    let refused = refused.expect_err("one node cannot keep three copies");
    assert!(refused.message().contains("replication is 1, declared 3"), "{refused}");
    Ok(())
}

/// The first event is not settled while the group goes on far beyond what a commit can tell.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slow_event_holds_its_partition_and_loses_none_behind_it() -> Outcome {
    const EVENTS: usize = 13_000;
    let broker = server()?;
    let bus = open(&broker.url()).await?;
    let mut group = bus.subscribe_channel("orders").group("workers").await?;
    let mut tickets = Vec::with_capacity(EVENTS);
    for number in 0..EVENTS {
        tickets.push(bus.publish_envelope(event("orders", number)?).timeout(SOON).enqueue().await?);
    }
    for ticket in tickets {
        ticket.await?;
    }
    // The group may take a while to come together.
    let slow = timeout(SOON, group.next()).await?.ok_or("the end")??;
    assert_eq!(serial(slow.message()), Some(0));
    let mut seen = BTreeSet::from([0]);
    // Until nothing more comes: the partition stands still behind the slow one.
    while let Ok(item) = timeout(Duration::from_secs(3), group.next()).await {
        let event = item.ok_or("the end")??;
        let number = serial(event.message()).ok_or("no number")?;
        assert!(seen.insert(number), "{number} came twice");
        event.ack();
    }
    assert!(seen.len() < EVENTS, "nothing bounds what runs ahead");
    slow.ack_confirmed().await?;
    while seen.len() < EVENTS {
        let event =
            timeout(SOON, group.next()).await.map_err(|_| format!("{} came", seen.len()))?.ok_or("the end")??;
        let number = serial(event.message()).ok_or("no number")?;
        assert!(seen.insert(number), "{number} came twice");
        event.ack();
    }
    bus.close(Duration::from_secs(10)).await?;
    Ok(())
}

/// Scheduled events lie beside their channel: what is lost there was confirmed as well.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn scheduled_events_that_are_lost_are_told_of() -> Outcome {
    let broker = server()?;
    let bus = open(&broker.url()).await?;
    let mut events = bus.subscribe_channel("orders").group("workers").await?;
    bus.publish_envelope(event("orders", 1)?).delay(Duration::from_secs(3_600)).await?;
    let address = broker.url().replace("kafka://", "");
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", &address);
    let client: BaseConsumer = config.create()?;
    let there = client.fetch_metadata(None, SOON)?;
    let later = there.topics().iter().map(|topic| topic.name()).find(|name| name.contains("_later"));
    let admin: AdminClient<DefaultClientContext> = config.create()?;
    let deleted = admin.delete_topics(&[later.ok_or("no topic of scheduled events")?], &AdminOptions::new()).await?;
    deleted.into_iter().collect::<Result<Vec<_>, _>>().map_err(|(name, code)| format!("{name}: {code}"))?;
    let gap = async {
        loop {
            match events.next_item().await {
                Some(Ok(EventItem::Gap(gap))) => return Ok(gap),
                Some(Ok(_)) => {}
                other => return Err(format!("expected a gap; saw {other:?}")),
            }
        }
    };
    let gap = timeout(SOON, gap).await.map_err(|_| "no gap is told of")??;
    assert_eq!((gap.channel.as_str(), gap.reason), ("orders", GapReason::DataLoss));
    // What is scheduled from now on comes.
    bus.publish_envelope(event("orders", 2)?).delay(Duration::from_millis(500)).await?;
    read(&mut events, [2]).await?;
    bus.close(Duration::from_secs(10)).await?;
    Ok(())
}
