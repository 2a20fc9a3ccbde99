//! Ordered groups of the Redis adapter when a member stands still with a read at the server; the rest is the fault suite's.
#![cfg(feature = "redis")]

use std::time::Duration;

use pubsub_adapters::redis::{Redis, RedisOptions};
use pubsub_core::{ChannelPolicy, Envelope, EventName, Events, Key, Payload, PubSub, Raw};
use pubsub_testkit::{
    broker::{Broker, BrokerError, BrokerKind, BrokerOptions},
    proxy::FaultProxy,
};
use tokio::time::{Instant, sleep, timeout};

type Outcome = Result<(), Box<dyn std::error::Error>>;

const LEASE: Duration = Duration::from_millis(800);
const SOON: Duration = Duration::from_secs(10);

/// A server of this test; `None` where there is none on this machine.
fn server() -> Result<Option<Broker>, BrokerError> {
    match Broker::start(BrokerKind::Redis, &BrokerOptions::new()) {
        Ok(broker) => Ok(Some(broker)),
        Err(BrokerError::Missing { .. }) if std::env::var_os("PUBSUB_TEST_REQUIRE").is_none() => Ok(None),
        Err(fault) => Err(fault),
    }
}

async fn open(url: &str) -> pubsub_core::Result<PubSub> {
    let adapter = Redis::open(RedisOptions::from_url(&url.parse()?)?).await?;
    Ok(PubSub::builder(adapter).policy("steps", ChannelPolicy::new().ordered_per_key(1))?.build())
}

async fn join(bus: &PubSub) -> pubsub_core::Result<Events<Raw>> {
    bus.subscribe_channel("steps").group("walkers").lease(LEASE).await
}

async fn publish(bus: &PubSub, serial: usize) -> Outcome {
    let event = Envelope::new(EventName::parse("test:step")?, "steps".parse()?, Payload::json(serial.to_string()));
    bus.publish_envelope(event).key(Key::new("one")?).await?;
    Ok(())
}

async fn read(events: &mut Events<Raw>, within: Duration) -> Result<usize, Box<dyn std::error::Error>> {
    let event = timeout(within, events.next()).await.map_err(|_| "nothing came")?.ok_or("the end")??;
    let serial = std::str::from_utf8(event.message().payload().data().ok_or("no body")?)?.parse()?;
    event.ack();
    Ok(serial)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_read_that_waits_for_a_member_cut_off_takes_nothing_from_the_next_owner() -> Outcome {
    let Some(broker) = server()? else { return Ok(()) };
    let proxy = FaultProxy::start(broker.address()).await?;
    let direct = open(&broker.url()).await?;
    let behind = open(&broker.url().replace(&broker.address().to_string(), &proxy.address().to_string())).await?;
    let mut first = join(&behind).await?;
    publish(&direct, 0).await?;
    assert_eq!(read(&mut first, SOON).await?, 0);
    // Its next read is at the server now, or will be before the link stands still.
    sleep(Duration::from_millis(100)).await;
    proxy.stall();
    let mut second = join(&direct).await?;
    // What is published once the lock has run out, and while the read still waits, is the next owner's.
    sleep(LEASE + Duration::from_millis(500)).await;
    let published = Instant::now();
    for serial in 1..=3 {
        publish(&direct, serial).await?;
        assert_eq!(read(&mut second, SOON).await?, serial, "after {:?}", published.elapsed());
    }
    proxy.heal().await?;
    publish(&direct, 4).await?;
    let either = tokio::select! {
        serial = read(&mut first, SOON) => serial?,
        serial = read(&mut second, SOON) => serial?,
    };
    assert_eq!(either, 4);
    direct.close(Duration::from_secs(5)).await?;
    behind.close(Duration::from_secs(5)).await?;
    proxy.close().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_member_cut_off_hands_out_nothing_once_its_lock_has_run_out() -> Outcome {
    let Some(broker) = server()? else { return Ok(()) };
    let proxy = FaultProxy::start(broker.address()).await?;
    let direct = open(&broker.url()).await?;
    let behind = open(&broker.url().replace(&broker.address().to_string(), &proxy.address().to_string())).await?;
    let mut first = join(&behind).await?;
    for serial in 0..5 {
        publish(&direct, serial).await?;
    }
    assert_eq!(read(&mut first, SOON).await?, 0);
    // The acknowledgement, and the read of all the others, are through.
    sleep(Duration::from_millis(300)).await;
    proxy.stall();
    let mut second = join(&direct).await?;
    for serial in 1..5 {
        assert_eq!(read(&mut second, SOON).await?, serial);
    }
    assert!(read(&mut first, Duration::from_millis(300)).await.is_err(), "they are somebody else's");
    proxy.heal().await?;
    direct.close(Duration::from_secs(5)).await?;
    behind.close(Duration::from_secs(5)).await?;
    proxy.close().await;
    Ok(())
}
