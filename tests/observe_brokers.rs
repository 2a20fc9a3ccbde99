//! On brokers: a trace goes through all hops, and the broker tells how far a group is behind.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use std::{
    process::ExitCode,
    time::{Duration, Instant},
};

use libtest_mimic::{Arguments, Failed, Trial};
use pubsub::{Emitter, ErrorKind, PubSub, Router, Trace};
use pubsub_testkit::broker::{Broker, BrokerKind, BrokerOptions, find};

#[path = "common/spans.rs"]
mod exported;
use exported::{SpanData, assert_child, attribute, export};

const KINDS: [BrokerKind; 4] = [BrokerKind::Redis, BrokerKind::Nats, BrokerKind::Kafka, BrokerKind::RabbitMq];
const SOON: Duration = Duration::from_secs(30);

fn main() -> ExitCode {
    let run = |kind: BrokerKind| {
        move || {
            let broker = Broker::start(kind, &BrokerOptions::new())?;
            let runtime = tokio::runtime::Runtime::new()?;
            runtime.block_on(async {
                let bus = pubsub::connect(&broker.url()).await?;
                traced(&bus).await?;
                behind(&bus, kind).await?;
                Ok::<_, Failed>(bus.close(Duration::from_secs(5)).await?)
            })
        }
    };
    let here = |kind| Broker::is_installed(kind).is_ok() || find::is_required(kind);
    let trials = KINDS.map(|kind| Trial::test(kind.to_string(), run(kind)).with_ignored_flag(!here(kind)));
    libtest_mimic::run(&Arguments::from_args(), trials.into()).exit_code()
}

#[derive(Debug)]
#[pubsub::event("orders:made")]
struct Ordered {
    number: u32,
}

#[pubsub::event("shipments:made")]
struct Shipped {
    number: u32,
}

#[pubsub::event("readings:made")]
struct Measured {
    number: u32,
}

/// The one span of this name from this broker, once it is there.
async fn span(system: &str, name: &str) -> SpanData {
    let deadline = Instant::now() + SOON;
    loop {
        let of = |span: &SpanData| span.name == name && attribute(span, "messaging.system").as_deref() == Some(system);
        let mut found = exported::all(of);
        if let (Some(span), true) = (found.pop(), found.is_empty()) {
            return span;
        }
        assert!(Instant::now() < deadline, "no span `{name}`, or several");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

async fn traced(bus: &PubSub) -> Result<(), Failed> {
    export();
    let ship = |order: Ordered, emit: Emitter| async move { emit.emit(&Shipped { number: order.number }) };
    let router: Router = Router::new().group("chain").on(ship).on(|_: Shipped| async {}).layer(Trace);
    let running = router.start(bus).await?;
    bus.publish(&Ordered { number: 1 }).await?;
    let system = bus.observer().system();
    let (publish, process) = (span(system, "publish orders").await, span(system, "process orders").await);
    let (emitted, second) = (span(system, "publish shipments").await, span(system, "process shipments").await);
    assert_child(&process, &publish);
    assert_child(&emitted, &process);
    assert_child(&second, &emitted);
    Ok(running.drain(SOON).await?)
}

async fn behind(bus: &PubSub, kind: BrokerKind) -> Result<(), Failed> {
    let mut readings = bus.subscribe::<Measured>().group("behind").from_earliest().max_in_flight(1).await?;
    for number in 0..5 {
        bus.publish(&Measured { number }).await?;
    }
    let first = readings.next_timeout(SOON).await?.ok_or("nothing came")?;
    // Kafka knows only what is committed.
    let waiting = if kind == BrokerKind::Kafka { 5 } else { 4 };
    until(bus, waiting).await?;
    first.ack();
    for _ in 1..5 {
        readings.next_timeout(SOON).await?.ok_or("nothing came")?.ack_confirmed().await?;
    }
    until(bus, 0).await?;
    for (channel, group) in [("readings", "nobody"), ("nowhere", "behind")] {
        let error = bus.lag(channel, group).await.err().ok_or("there is no such group")?;
        if error.kind() != ErrorKind::NotFound {
            return Err(format!("{channel} {group}: {error}").into());
        }
    }
    Ok(())
}

async fn until(bus: &PubSub, expected: u64) -> Result<(), Failed> {
    let deadline = Instant::now() + SOON;
    loop {
        let lag = bus.lag("readings", "behind").await?;
        if lag == expected {
            return Ok(());
        }
        if Instant::now() >= deadline {
            return Err(format!("the lag is {lag}, not {expected}").into());
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
