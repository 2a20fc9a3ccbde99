//! The adapter for RabbitMQ heals by itself: restarts, a silent broker, cut connections, a deleted queue.

#![cfg(feature = "rabbitmq")]
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{
    collections::BTreeSet,
    future::Future,
    time::{Duration, Instant},
};

use futures_util::future::join_all;
use pubsub_adapters::{adapter, connect};
use pubsub_core::{
    ChannelName, ChannelPolicy, Envelope, ErrorKind, EventName, Events, GroupName, Payload, PubSub, Raw, Result,
    StartPosition,
    driver::{ChannelSpec, HistoryRange, RetryPolicy, Topology, TopologyMode},
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

fn event(number: usize) -> Envelope {
    event_on("heals", number)
}

fn event_on(channel: &str, number: usize) -> Envelope {
    let channel = ChannelName::parse(channel).unwrap();
    Envelope::new(EventName::parse("heals:counted").unwrap(), channel, Payload::json(number.to_string()))
}

async fn publish_until_confirmed(bus: &PubSub, number: usize) {
    confirmed(bus, event(number)).await;
}

async fn confirmed(bus: &PubSub, event: Envelope) {
    let started = Instant::now();
    while let Err(error) = bus.publish_envelope(event.clone()).await {
        assert!(error.is_retryable() && started.elapsed() < LIMIT, "{error:?}");
        sleep(Duration::from_millis(20)).await;
    }
}

async fn read_all(events: &mut Events<Raw>, numbers: impl IntoIterator<Item = usize>) {
    let mut missing: BTreeSet<_> = numbers.into_iter().collect();
    let started = Instant::now();
    while !missing.is_empty() {
        assert!(started.elapsed() < LIMIT, "missing: {missing:?}");
        if let Ok(Some(Ok(event))) = timeout(Duration::from_secs(1), events.next()).await {
            let number: usize = event.message().payload().decode().unwrap();
            missing.remove(&number);
            event.ack();
        }
    }
}

async fn group(bus: &PubSub) -> Events<Raw> {
    let retry = RetryPolicy::default().attempts(0);
    bus.subscribe_channel("heals").group("readers").retry(retry).await.unwrap()
}

async fn eventually<F: Future<Output = bool>>(what: &str, mut holds: impl FnMut() -> F) {
    let started = Instant::now();
    while !holds().await {
        assert!(started.elapsed() < LIMIT, "{what}");
        sleep(Duration::from_millis(50)).await;
    }
}

/// An address whose connections go through a proxy.
fn through(broker: &Broker, proxy: &FaultProxy) -> String {
    broker.url().replace(&broker.address().to_string(), &proxy.address().to_string())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_confirmed_is_lost_by_restarts_and_kills() {
    let mut broker = broker();
    let bus = connect(&broker.url()).await.unwrap();
    let mut events = group(&bus).await;
    for number in 0..20 {
        publish_until_confirmed(&bus, number).await;
    }
    broker.restart().unwrap();
    for number in 20..40 {
        publish_until_confirmed(&bus, number).await;
    }
    broker.kill().unwrap();
    let refused = bus.publish_envelope(event(0)).timeout(Duration::from_millis(500)).await.unwrap_err();
    assert!(matches!(refused.kind(), ErrorKind::Unavailable | ErrorKind::Timeout), "{refused:?}");
    broker.restart().unwrap();
    for number in 40..60 {
        publish_until_confirmed(&bus, number).await;
    }
    read_all(&mut events, 0..60).await;
    bus.close(Duration::from_secs(5)).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_silent_broker_is_noticed_and_found_again() {
    let mut broker = broker();
    let bus = connect(&broker.url()).await.unwrap();
    let mut events = group(&bus).await;
    publish_until_confirmed(&bus, 0).await;
    broker.pause().unwrap();
    let started = Instant::now();
    let refused = bus.publish_envelope(event(1)).timeout(Duration::from_secs(2)).await.unwrap_err();
    assert!(started.elapsed() < Duration::from_secs(4), "{:?}", started.elapsed());
    assert!(matches!(refused.kind(), ErrorKind::Unavailable | ErrorKind::Timeout), "{refused:?}");
    eventually("the silence is noticed", || async { !bus.health().await.is_up() }).await;
    broker.resume().unwrap();
    eventually("the broker is found again", || async { bus.health().await.is_up() }).await;
    for number in 2..5 {
        publish_until_confirmed(&bus, number).await;
    }
    read_all(&mut events, [0, 2, 3, 4]).await;
    bus.close(Duration::from_secs(5)).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn cut_connections_lose_nothing_confirmed() {
    let broker = broker();
    let proxy = FaultProxy::start(broker.address()).await.unwrap();
    let bus = connect(&through(&broker, &proxy)).await.unwrap();
    let mut events = group(&bus).await;
    let publisher = bus.clone();
    let publishing = tokio::spawn(async move {
        for number in 0..300 {
            publish_until_confirmed(&publisher, number).await;
        }
    });
    for _ in 0..4 {
        sleep(Duration::from_millis(500)).await;
        proxy.cut().await.unwrap();
    }
    read_all(&mut events, 0..300).await;
    publishing.await.unwrap();
    proxy.refuse().await.unwrap();
    proxy.cut().await.unwrap();
    let started = Instant::now();
    let _ = bus.close(Duration::from_secs(2)).await;
    assert!(started.elapsed() < Duration::from_secs(4), "closing during an outage ends in time");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_deleted_queue_is_made_again() -> Result<()> {
    let broker = broker();
    let bus = connect(&format!("{}?prefix=doomed", broker.url())).await?;
    let mut events = group(&bus).await;
    publish_until_confirmed(&bus, 0).await;
    read_all(&mut events, [0]).await;
    let other = lapin::Connection::connect(&broker.url(), lapin::ConnectionProperties::default()).await.unwrap();
    let channel = other.create_channel().await.unwrap();
    let options = lapin::options::QueueDeleteOptions::default();
    channel.queue_delete("doomed/group/readers/heals/-".into(), options).await.unwrap();
    for number in 1..10 {
        publish_until_confirmed(&bus, number).await;
    }
    read_all(&mut events, 1..10).await;
    assert!(events.stats().gaps > 0, "{:?}", events.stats());
    bus.close(Duration::from_secs(5)).await
}

/// A handle that knows the channel's policy.
async fn declared(url: &str, policy: ChannelPolicy) -> Result<PubSub> {
    Ok(PubSub::builder(adapter(&url.parse()?).await?).policy("heals", policy)?.build())
}

/// Deletes the exchanges of a deployment.
async fn delete_exchanges(broker: &Broker, names: &[&str]) {
    let other = lapin::Connection::connect(&broker.url(), lapin::ConnectionProperties::default()).await.unwrap();
    let channel = other.create_channel().await.unwrap();
    for name in names {
        let options = lapin::options::ExchangeDeleteOptions::default();
        channel.exchange_delete((*name).into(), options).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn exchanges_that_were_deleted_come_back_with_the_bindings_of_all_groups() -> Result<()> {
    let broker = broker();
    let url = format!("{}?prefix=bound", broker.url());
    let founder = connect(&url).await?;
    let retry = RetryPolicy::default().attempts(0);
    // Nobody is there any more who made these groups, one of which takes a wildcard.
    drop(founder.subscribe_channel("heals").group("absent").retry(retry).await?);
    drop(founder.subscribe_channel("*").group("wild").retry(retry).await?);
    founder.close(Duration::from_secs(5)).await?;

    let bus = connect(&url).await?;
    publish_until_confirmed(&bus, 0).await;
    let exchanges = ["bound/gate/events", "bound/events", "bound/later", "bound/ready/absent/heals"];
    delete_exchanges(&broker, &exchanges).await;
    for number in 1..20 {
        publish_until_confirmed(&bus, number).await;
    }
    // Without the gate's exchange nothing is found by name.
    delete_exchanges(&broker, &["bound/events"]).await;
    // Many at a time: some come back unrouted, and others find no gate while it is made again for those.
    join_all((20..40).map(|number| publish_until_confirmed(&bus, number))).await;
    let reader = connect(&url).await?;
    let mut absent = reader.subscribe_channel("heals").group("absent").retry(retry).await?;
    read_all(&mut absent, 0..40).await;
    let mut wild = reader.subscribe_channel("*").group("wild").retry(retry).await?;
    read_all(&mut wild, 0..40).await;
    reader.close(Duration::from_secs(5)).await?;
    bus.close(Duration::from_secs(5)).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn broadcasts_outlive_the_exchange_they_are_bound_to() -> Result<()> {
    let broker = broker();
    let url = format!("{}?prefix=heard", broker.url());
    let policy = ChannelPolicy::new().ephemeral();
    let (reader, writer) = (declared(&url, policy.clone()).await?, declared(&url, policy).await?);
    let mut events = reader.subscribe_channel("heals").await?;
    publish_until_confirmed(&writer, 0).await;
    read_all(&mut events, [0]).await;
    delete_exchanges(&broker, &["heard/live"]).await;
    // What is missed is missed; but it says so, and goes on.
    let heard = async {
        for number in 1.. {
            publish_until_confirmed(&writer, number).await;
            if let Ok(Some(Ok(_))) = timeout(Duration::from_millis(100), events.next()).await {
                return;
            }
        }
    };
    timeout(LIMIT / 4, heard).await.unwrap();
    assert!(events.stats().gaps > 0, "{:?}", events.stats());

    // Over a wildcard nothing is missed.
    let (durable, other) = (connect(&url).await?, connect(&url).await?);
    let mut wild = durable.subscribe_channel("lasting.*").await?;
    let event = |number: usize| {
        let channel = ChannelName::parse("lasting.one").unwrap();
        Envelope::new(EventName::parse("heals:counted").unwrap(), channel, Payload::json(number.to_string()))
    };
    other.publish_envelope(event(0)).await?;
    read_all(&mut wild, [0]).await;
    delete_exchanges(&broker, &["heard/events"]).await;
    for number in 1..20 {
        other.publish_envelope(event(number)).await?;
    }
    read_all(&mut wild, 1..20).await;
    for bus in [reader, writer, durable, other] {
        bus.close(Duration::from_secs(5)).await?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_group_is_deleted_whole_by_who_never_declared_its_channel() -> Result<()> {
    let broker = broker();
    let url = format!("{}?prefix=sharded", broker.url());
    let founder = declared(&url, ChannelPolicy::new().ordered_per_key(4)).await?;
    drop(group(&founder).await);
    founder.close(Duration::from_secs(5)).await?;
    let other = lapin::Connection::connect(&broker.url(), lapin::ConnectionProperties::default()).await.unwrap();
    let is_there = async |shard: usize| {
        let channel = other.create_channel().await.unwrap();
        let look = lapin::options::QueueDeclareOptions { passive: true, durable: true, ..Default::default() };
        let name = format!("sharded/group/readers/heals/{shard}");
        channel.queue_declare(name.as_str().into(), look, lapin::types::FieldTable::default()).await.is_ok()
    };
    assert!(is_there(3).await);
    let stranger = connect(&url).await?;
    stranger.delete_group("heals", "readers").await?;
    for shard in 0..4 {
        assert!(!is_there(shard).await, "shard {shard}");
    }
    stranger.close(Duration::from_secs(5)).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_ephemeral_channel_has_no_groups() -> Result<()> {
    let broker = broker();
    let bus = connect(&format!("{}?prefix=short", broker.url())).await?;
    let spec = ChannelSpec::new(ChannelName::parse("heals")?, ChannelPolicy::new().ephemeral());
    let spec = spec.group(GroupName::parse("readers")?, StartPosition::Earliest);
    let refused = bus.ensure(&Topology::new(TopologyMode::Create).channel(spec)).await;
    assert_eq!(refused.unwrap_err().kind(), ErrorKind::Unsupported);
    bus.close(Duration::from_secs(5)).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_position_of_a_stream_that_was_made_anew_is_refused() -> Result<()> {
    let broker = broker();
    let bus = connect(&format!("{}?prefix=again", broker.url())).await?;
    let channel = ChannelName::parse("heals")?;
    for number in 0..3 {
        publish_until_confirmed(&bus, number).await;
    }
    let first = bus.history(&HistoryRange::new(channel.clone()).limit(1)).await?.events.remove(0).position;
    let after = |position| HistoryRange::new(channel.clone()).from(StartPosition::After(position));
    assert_eq!(bus.history(&after(first.clone())).await?.events.len(), 2);
    let other = lapin::Connection::connect(&broker.url(), lapin::ConnectionProperties::default()).await.unwrap();
    let options = lapin::options::QueueDeleteOptions::default();
    other.create_channel().await.unwrap().queue_delete("again/stream/heals".into(), options).await.unwrap();
    for number in 0..9 {
        publish_until_confirmed(&bus, number).await;
    }
    assert_eq!(bus.history(&after(first)).await.unwrap_err().kind(), ErrorKind::PositionExpired);
    bus.close(Duration::from_secs(5)).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_degraded_start_heals_and_wrong_passwords_fail_at_once() {
    let mut broker = broker();
    let wrong = broker.url().replace("amqp://", "amqp://nobody:wrong@").replace("guest:guest@", "");
    let started = Instant::now();
    assert_eq!(connect(&wrong).await.unwrap_err().kind(), ErrorKind::Auth);
    assert!(started.elapsed() < Duration::from_secs(8));
    broker.stop().unwrap();
    let bus = connect(&format!("{}?start=degraded", broker.url())).await.unwrap();
    assert!(!bus.health().await.is_up());
    broker.restart().unwrap();
    eventually("the connection comes", || async { bus.health().await.is_up() }).await;
    publish_until_confirmed(&bus, 0).await;
    bus.close(Duration::from_secs(5)).await.unwrap();
}

/// A group over two channels that retain events, and a steady flow on one of them, which alone must not keep the other's
/// backlog from ending.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_group_over_channels_with_history_goes_on_live_on_each() -> Result<()> {
    let broker = broker();
    let bus = connect(&format!("{}?prefix=both", broker.url())).await?;
    for number in 0..20 {
        confirmed(&bus, event_on("left", number)).await;
        confirmed(&bus, event_on("right", 100 + number)).await;
    }
    let retry = RetryPolicy::default().attempts(0);
    let from = StartPosition::Earliest;
    let mut events = bus.subscribe_channel("left").channel("right").group("readers").start(from).retry(retry).await?;
    let mut held = None;
    let publisher = bus.clone();
    let flow = tokio::spawn(async move {
        for number in 20..60 {
            confirmed(&publisher, event_on("left", number)).await;
            confirmed(&publisher, event_on("right", 100 + number)).await;
        }
    });
    let mut missing: BTreeSet<usize> = (0..60).chain(100..160).collect();
    let started = Instant::now();
    while missing.len() > 1 {
        assert!(started.elapsed() < LIMIT, "missing: {missing:?}");
        let Ok(Some(Ok(event))) = timeout(Duration::from_secs(1), events.next()).await else { continue };
        let number: usize = event.message().payload().decode()?;
        // One of the left stays in hand: it keeps nothing of the right back.
        if number == 0 && held.is_none() {
            held = Some(event);
            missing.retain(|number| *number >= 100 || *number < 20);
        } else {
            event.ack();
        }
        missing.remove(&number);
        if missing.iter().all(|number| *number < 100) && held.is_some() {
            break;
        }
    }
    held.unwrap().ack();
    confirmed(&bus, event_on("left", 60)).await;
    read_all(&mut events, [60]).await;
    flow.await.unwrap();
    bus.close(Duration::from_secs(5)).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn metadata_beyond_a_frame_of_the_protocol_is_refused_at_once() -> Result<()> {
    let broker = broker();
    let bus = connect(&format!("{}?prefix=frame", broker.url())).await?;
    let long = || Some("x".repeat(8_190));
    let mut fits = event(0);
    fits.meta.extra.insert("note".to_owned(), "x".repeat(65_000).into());
    (fits.meta.correlation_id, fits.meta.causation_id, fits.meta.user_id) = (long(), long(), long());
    bus.publish_envelope(fits.clone()).await?;
    let mut large = fits;
    (large.meta.client_event_id, large.meta.tracestate, large.meta.dead_reason) = (long(), long(), long());
    large.meta.traceparent = long();
    let refused = bus.publish_envelope(large).await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::TooLarge);
    assert!(refused.to_string().contains("114688"), "{refused}");
    bus.close(Duration::from_secs(5)).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broadcast_over_a_wildcard_repeats_nothing_after_a_cut() {
    let broker = broker();
    let proxy = FaultProxy::start(broker.address()).await.unwrap();
    let bus = connect(&broker.url()).await.unwrap();
    confirmed(&bus, event_on("told", 0)).await;
    let reader =
        connect(&broker.url().replace(&broker.address().to_string(), &proxy.address().to_string())).await.unwrap();
    let mut events = reader.subscribe_channel("*").await.unwrap();
    let mut seen = Vec::new();
    for round in 0..3 {
        let numbers = round * 50..round * 50 + 50;
        for number in numbers.clone() {
            confirmed(&bus, event_on("told", number)).await;
        }
        while seen.len() < numbers.end {
            let event = timeout(LIMIT, events.next()).await.unwrap().unwrap();
            seen.extend(event.ok().map(|event| event.message().payload().decode::<usize>().unwrap()));
        }
        proxy.cut().await.unwrap();
    }
    assert_eq!(seen, (0..150).collect::<Vec<_>>());
    reader.close(Duration::from_secs(5)).await.unwrap();
    bus.close(Duration::from_secs(5)).await.unwrap();
}

/// All numbers that the channel's history holds.
async fn stored(bus: &PubSub) -> Result<BTreeSet<usize>> {
    let mut range = HistoryRange::new(ChannelName::parse("heals")?).limit(1_000);
    let mut numbers = BTreeSet::new();
    loop {
        let page = bus.history(&range).await?;
        for stored in &page.events {
            numbers.insert(stored.message.payload().decode::<usize>()?);
        }
        match page.next {
            Some(next) if !page.at_end => range = range.from(StartPosition::After(next)),
            _ => return Ok(numbers),
        }
    }
}

/// Several publishers, as each connects at a moment of its own, perhaps before the streams are there.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn streams_keep_what_is_confirmed_while_they_come_back() -> Result<()> {
    const PUBLISHERS: usize = 6;
    const EACH: usize = 40;
    let mut broker = broker();
    let url = broker.url();
    let policy = ChannelPolicy::new().totally_ordered();
    let reader = declared(&url, policy.clone()).await?;
    let (mut all, mut some) = (reader.subscribe_channel("heals").await?, group(&reader).await);
    let mut publishers = Vec::new();
    for _ in 0..PUBLISHERS {
        publishers.push(declared(&url, policy.clone()).await?);
    }
    let mut from = 0;
    for _ in 0..3 {
        let publishing: Vec<_> = publishers.iter().cloned().zip(from..).collect();
        let publishing = publishing.into_iter().map(|(bus, first)| {
            tokio::spawn(async move {
                for number in (first..).step_by(PUBLISHERS).take(EACH) {
                    publish_until_confirmed(&bus, number).await;
                }
            })
        });
        let publishing: Vec<_> = publishing.collect();
        if from > 0 {
            tokio::task::block_in_place(|| {
                broker.settled().and_then(|()| broker.kill()).and_then(|()| broker.restart())
            })
            .unwrap();
        }
        for publishing in publishing {
            publishing.await.unwrap();
        }
        let until = from + PUBLISHERS * EACH;
        read_all(&mut some, from..until).await;
        read_all(&mut all, from..until).await;
        from = until;
    }
    assert_eq!(stored(&reader).await?, (0..from).collect());
    for bus in publishers.iter().chain([&reader]) {
        bus.close(Duration::from_secs(5)).await?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_that_the_broker_does_not_find_again_is_not_taken_for_one_that_never_was() -> Result<()> {
    let mut broker = broker();
    let bus = connect(&broker.url()).await?;
    publish_until_confirmed(&bus, 0).await;
    // Before it has written down that there is a stream, if we are quick.
    broker.kill().unwrap();
    broker.restart().unwrap();
    let until = Instant::now() + Duration::from_secs(15);
    while Instant::now() < until {
        let page = bus.history(&HistoryRange::new(ChannelName::parse("heals")?)).await;
        let told = page.as_ref().map_or_else(|error| error.is_retryable(), |page| page.events.len() == 1);
        assert!(told, "{page:?}");
        sleep(Duration::from_millis(100)).await;
    }
    bus.close(Duration::from_secs(5)).await
}
