//! The NATS adapter heals by itself: broken connections, servers that stop, die, hang or lose their data.

#![cfg(feature = "nats")]
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use std::{
    collections::BTreeSet,
    time::{Duration, Instant},
};

use async_nats::jetstream::{AckKind, Message, consumer::PullConsumer};
use futures_util::StreamExt;
use pubsub_adapters::builder;
use pubsub_core::{
    ChannelName, ChannelPolicy, Envelope, ErrorKind, EventItem, EventName, Events, GroupName, Payload, PubSub, Raw,
    StartPosition,
    driver::{AdapterState, ChannelSpec, GapReason, HistoryRange, Topology, TopologyMode},
};
use pubsub_testkit::{
    broker::{Broker, BrokerKind, BrokerOptions},
    proxy::FaultProxy,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
    time::{sleep, timeout},
};

const LIMIT: Duration = Duration::from_secs(40);

/// A server of this test. Where there is none on this machine the test fails: it would have shown nothing.
fn broker() -> Broker {
    Broker::start(BrokerKind::Nats, &BrokerOptions::new()).unwrap()
}

async fn connect(url: &str) -> PubSub {
    builder(url).await.unwrap().build()
}

fn event(number: usize) -> Envelope {
    let channel = ChannelName::parse("heal").unwrap();
    Envelope::new(EventName::parse("heal:event").unwrap(), channel, Payload::json(number.to_string()))
}

async fn group(bus: &PubSub) -> Events<Raw> {
    let lease = Duration::from_secs(2);
    bus.subscribe_channel("heal").group("readers").lease(lease).without_dead_letters().await.unwrap()
}

fn number_of(message: &pubsub_core::Message) -> usize {
    String::from_utf8(message.payload().data().unwrap().to_vec()).unwrap().parse().unwrap()
}

/// Publishes until it is confirmed.
async fn publish(bus: &PubSub, number: usize) {
    let started = Instant::now();
    let envelope = event(number);
    loop {
        match bus.publish_envelope(envelope.clone()).timeout(Duration::from_secs(5)).await {
            Ok(_) => return,
            Err(error) => assert!(started.elapsed() < LIMIT, "{number}: {error:?}"),
        }
    }
}

/// Reads until all of these were seen; says which gaps came.
async fn read(events: &mut Events<Raw>, numbers: impl IntoIterator<Item = usize>) -> Vec<GapReason> {
    let mut missing: BTreeSet<usize> = numbers.into_iter().collect();
    let mut gaps = Vec::new();
    let all = async {
        while !missing.is_empty() {
            match events.next_item().await {
                Some(Ok(EventItem::Event(event))) => {
                    missing.remove(&number_of(event.message()));
                    event.ack();
                }
                Some(Ok(EventItem::Gap(gap))) => gaps.push(gap.reason),
                Some(_) => {}
                None => panic!("the subscription has ended"),
            }
        }
    };
    let ended = timeout(LIMIT, all).await;
    assert!(ended.is_ok(), "still missing: {missing:?}");
    gaps
}

async fn state(bus: &PubSub, wanted: impl Fn(&AdapterState) -> bool) {
    let started = Instant::now();
    let states = bus.states();
    while !wanted(&states.current()) {
        assert!(started.elapsed() < LIMIT, "{:?}", states.current());
        sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn restarts_and_kills_lose_nothing_confirmed() {
    let mut broker = broker();
    let bus = connect(&broker.url()).await;
    let mut events = group(&bus).await;
    for (round, kill) in [false, true].into_iter().enumerate() {
        for number in round * 100..round * 100 + 50 {
            publish(&bus, number).await;
        }
        if kill {
            broker.kill().unwrap();
        } else {
            broker.stop().unwrap();
        }
        state(&bus, |state| matches!(state, AdapterState::Degraded(_))).await;
        let refused = bus.publish_envelope(event(9)).timeout(Duration::from_millis(300)).await.unwrap_err();
        assert!(matches!(refused.kind(), ErrorKind::Unavailable | ErrorKind::Timeout), "{refused:?}");
        broker.restart().unwrap();
        for number in round * 100 + 50..round * 100 + 100 {
            publish(&bus, number).await;
        }
    }
    read(&mut events, 0..200).await;
    state(&bus, |state| *state == AdapterState::Ready).await;
    bus.close(Duration::from_secs(5)).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_hangs_is_noticed_and_comes_back() {
    let mut broker = broker();
    let bus = connect(&broker.url()).await;
    let mut events = group(&bus).await;
    publish(&bus, 0).await;
    broker.pause().unwrap();
    let started = Instant::now();
    let refused = bus.publish_envelope(event(9)).timeout(Duration::from_secs(2)).await.unwrap_err();
    assert!(refused.kind() == ErrorKind::Timeout && refused.maybe_applied(), "{refused:?}");
    assert!(started.elapsed() < Duration::from_secs(4));
    state(&bus, |state| matches!(state, AdapterState::Degraded(_))).await;
    assert!(!bus.health().await.is_up());
    broker.resume().unwrap();
    publish(&bus, 1).await;
    read(&mut events, [0, 1]).await;
    bus.close(Duration::from_secs(5)).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn cut_connections_cost_nothing() {
    let broker = broker();
    let proxy = FaultProxy::start(broker.address()).await.unwrap();
    let bus = connect(&format!("nats://{}", proxy.address())).await;
    let mut events = group(&bus).await;
    let publisher = bus.clone();
    let publishing = tokio::spawn(async move {
        for number in 0..400 {
            publish(&publisher, number).await;
        }
    });
    for _ in 0..4 {
        sleep(Duration::from_millis(300)).await;
        proxy.cut().await.unwrap();
    }
    read(&mut events, 0..400).await;
    publishing.await.unwrap();
    bus.close(Duration::from_secs(5)).await.unwrap();
    proxy.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wiped_server_gets_its_channels_and_groups_again() {
    let mut broker = broker();
    let bus = connect(&broker.url()).await;
    let mut events = group(&bus).await;
    publish(&bus, 0).await;
    read(&mut events, [0]).await;
    broker.stop().unwrap();
    broker.wipe().unwrap();
    broker.restart().unwrap();
    publish(&bus, 1).await;
    let gaps = read(&mut events, [1]).await;
    assert!(gaps.contains(&GapReason::DataLoss), "{gaps:?}");
    bus.close(Duration::from_secs(5)).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn closing_during_an_outage_ends_in_time() {
    let mut broker = broker();
    let bus = connect(&broker.url()).await;
    let mut events = group(&bus).await;
    publish(&bus, 0).await;
    let held = timeout(LIMIT, events.next()).await.unwrap().unwrap().unwrap();
    broker.kill().unwrap();
    held.ack();
    let started = Instant::now();
    let _ = bus.close(Duration::from_secs(1)).await;
    assert!(started.elapsed() < Duration::from_secs(4), "{:?}", started.elapsed());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_confirmed_after_closing_is_refused_and_does_not_hang() {
    let broker = broker();
    let bus = connect(&broker.url()).await;
    let mut events = bus.subscribe_channel("heal").group("readers").without_dead_letters().await.unwrap();
    publish(&bus, 0).await;
    let held = timeout(LIMIT, events.next()).await.unwrap().unwrap().unwrap();
    let closed = bus.close(Duration::from_millis(300)).await.unwrap_err();
    assert_eq!(closed.kind(), ErrorKind::Timeout, "{closed:?}");
    let told = timeout(Duration::from_secs(2), held.ack_confirmed()).await;
    assert!(told.as_ref().is_ok_and(|told| told.is_err()), "{told:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ordered_groups_outlive_the_loss_of_their_records() {
    let mut broker = broker();
    let policy = ChannelPolicy::new().ordered_per_key(3);
    let bus = builder(&broker.url()).await.unwrap().policy("heal", policy).unwrap().build();
    let latest = bus.subscribe_channel("heal").group("readers").lease(Duration::from_secs(2));
    let mut events = latest.start(StartPosition::Latest).without_dead_letters().await.unwrap();
    for number in 0..10 {
        publish(&bus, number).await;
    }
    read(&mut events, 0..10).await;
    // Only the records are lost: their stream comes again.
    let client = async_nats::connect(broker.url()).await.unwrap();
    let streams = async_nats::jetstream::new(client);
    streams.delete_stream("_~_leases").await.unwrap();
    let started = Instant::now();
    while streams.get_stream("_~_leases").await.is_err() {
        assert!(started.elapsed() < LIMIT, "nobody makes the stream of records anew");
        sleep(Duration::from_millis(20)).await;
    }
    for number in 10..20 {
        publish(&bus, number).await;
    }
    read(&mut events, 10..20).await;
    // Everything is lost.
    broker.stop().unwrap();
    broker.wipe().unwrap();
    broker.restart().unwrap();
    for number in 20..30 {
        publish(&bus, number).await;
    }
    let gaps = read(&mut events, 20..30).await;
    assert!(gaps.contains(&GapReason::DataLoss), "{gaps:?}");
    bus.close(Duration::from_secs(5)).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn events_keep_their_order_when_their_stream_is_made_anew() {
    let broker = broker();
    let bus = connect(&broker.url()).await;
    publish(&bus, 0).await;
    let streams = async_nats::jetstream::new(async_nats::connect(broker.url()).await.unwrap());
    for round in 0..3 {
        streams.delete_stream("_~heal").await.unwrap();
        let mut tickets = Vec::new();
        for number in 0..500 {
            tickets.push(bus.publish_envelope(event(number)).enqueue().await.unwrap());
        }
        for ticket in tickets {
            ticket.await.unwrap();
        }
        let range = HistoryRange::new(ChannelName::parse("heal").unwrap()).limit(1_000);
        let all = bus.history(&range).await.unwrap().events;
        let order: Vec<_> = all.iter().map(|stored| number_of(&stored.message)).collect();
        assert_eq!(order, (0..500).collect::<Vec<_>>(), "round {round}");
    }
    bus.close(Duration::from_secs(5)).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_degraded_start_becomes_ready_by_itself() {
    let mut broker = broker();
    broker.stop().unwrap();
    let failed = builder(&format!("{}?connect_timeout=300ms", broker.url())).await.unwrap_err();
    assert_eq!(failed.kind(), ErrorKind::Unavailable);
    let bus = connect(&format!("{}?start=degraded", broker.url())).await;
    let refused = bus.publish_envelope(event(0)).timeout(Duration::from_millis(200)).await.unwrap_err();
    assert!(matches!(refused.kind(), ErrorKind::Unavailable | ErrorKind::Timeout), "{refused:?}");
    broker.restart().unwrap();
    state(&bus, |state| *state == AdapterState::Ready).await;
    publish(&bus, 1).await;
    let mut events = group(&bus).await;
    read(&mut events, [1]).await;
    bus.close(Duration::from_secs(5)).await.unwrap();
}

/// A member that knows nothing of this library takes all that the shard has.
async fn plain_member(client: &async_nats::Client, count: usize) -> Vec<Message> {
    let streams = async_nats::jetstream::new(client.clone());
    let consumer: PullConsumer = streams.get_consumer_from_stream("readers~0", "_~heal").await.unwrap();
    let events = consumer.fetch().max_messages(count).messages().await.unwrap();
    let events: Vec<_> = events.map(|event| event.unwrap()).collect().await;
    assert_eq!(events.len(), count);
    events
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_comes_back_in_another_order_is_handed_out_in_its_own() {
    let broker = broker();
    let policy = ChannelPolicy::new().totally_ordered();
    let member = || async {
        builder(&broker.url()).await.unwrap().policy("heal", ChannelPolicy::new().totally_ordered()).unwrap().build()
    };
    let bus = member().await;
    let (channel, readers) = (ChannelName::parse("heal").unwrap(), GroupName::parse("readers").unwrap());
    let spec = ChannelSpec::new(channel, policy).group(readers, StartPosition::Earliest);
    bus.ensure(&Topology::new(TopologyMode::Create).channel(spec)).await.unwrap();
    let client = async_nats::connect(broker.url()).await.unwrap();
    // Given back before the next member comes, and while it waits.
    for (round, while_it_waits) in [false, true, false, true].into_iter().enumerate() {
        let numbers = round * 4..round * 4 + 4;
        for number in numbers.clone() {
            publish(&bus, number).await;
        }
        let held = plain_member(&client, 3).await;
        let pause = if while_it_waits { Duration::from_millis(150) } else { Duration::ZERO };
        let giving_back = async {
            for index in [2, 0, 1] {
                sleep(pause).await;
                held[index].ack_with(AckKind::Nak(None)).await.unwrap();
            }
            client.flush().await.unwrap();
        };
        let reading = async {
            let next = member().await;
            let mut events = group(&next).await;
            let mut read = Vec::new();
            for _ in numbers.clone() {
                let event = timeout(LIMIT, events.next()).await.unwrap().unwrap().unwrap();
                read.push(number_of(event.message()));
                event.ack();
            }
            next.close(Duration::from_secs(5)).await.unwrap();
            read
        };
        let read = if while_it_waits {
            tokio::join!(giving_back, reading).1
        } else {
            giving_back.await;
            reading.await
        };
        assert_eq!(read, numbers.collect::<Vec<_>>(), "round {round}");
    }
    bus.close(Duration::from_secs(5)).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_member_takes_over_no_more_than_it_has_room_for() {
    let broker = broker();
    let bus =
        builder(&broker.url()).await.unwrap().policy("heal", ChannelPolicy::new().totally_ordered()).unwrap().build();
    let (channel, readers) = (ChannelName::parse("heal").unwrap(), GroupName::parse("readers").unwrap());
    let policy = ChannelPolicy::new().totally_ordered();
    let spec = ChannelSpec::new(channel, policy).group(readers, StartPosition::Earliest);
    bus.ensure(&Topology::new(TopologyMode::Create).channel(spec)).await.unwrap();
    for number in 0..9 {
        publish(&bus, number).await;
    }
    let client = async_nats::connect(broker.url()).await.unwrap();
    let held = plain_member(&client, 9).await;
    for event in held.iter().rev() {
        event.ack_with(AckKind::Nak(None)).await.unwrap();
    }
    client.flush().await.unwrap();
    let narrow = bus.subscribe_channel("heal").group("readers").max_in_flight(2).without_dead_letters();
    let mut events = narrow.await.unwrap();
    let mut hands = Vec::new();
    for number in 0..9 {
        let event = timeout(LIMIT, events.next()).await.unwrap().unwrap().unwrap();
        assert_eq!(number_of(event.message()), number);
        hands.push(event);
        if hands.len() == 2 {
            let third = timeout(Duration::from_millis(500), events.next()).await;
            assert!(third.is_err(), "a third one while two are in hand, after {number}");
            hands.drain(..).for_each(|event| event.ack());
        }
    }
    hands.drain(..).for_each(|event| event.ack());
    bus.close(Duration::from_secs(5)).await.unwrap();
}

/// A server that greets and lets nobody in.
async fn doorkeeper() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let info =
                "INFO {\"server_id\":\"x\",\"version\":\"2.15.1\",\"max_payload\":1048576,\"auth_required\":true}\r\n";
            stream.write_all(info.as_bytes()).await.ok();
            let mut heard = [0; 1024];
            // Whatever the client says: it is let in with nothing.
            let _ = stream.read(&mut heard).await;
            stream.write_all(b"-ERR 'Authorization Violation'\r\n").await.ok();
        }
    });
    format!("nats://me:hunter2@{address}")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn wrong_credentials_are_told_at_once() {
    let url = doorkeeper().await;
    let started = Instant::now();
    let error = builder(&url).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Auth, "{error:?}");
    assert!(started.elapsed() < Duration::from_secs(3) && !format!("{error:?}").contains("hunter2"));
    let bus = connect(&format!("{url}?start=degraded")).await;
    state(&bus, |state| matches!(state, AdapterState::Degraded(_))).await;
    let refused = bus.publish_envelope(event(0)).timeout(Duration::from_secs(1)).await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Auth, "{refused:?}");
    bus.close(Duration::from_secs(1)).await.unwrap();
}
