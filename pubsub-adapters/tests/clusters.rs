//! Clusters of three nodes on this machine: a smoke test of what the conformance suite proves on one.
#![allow(missing_docs)]

use std::{
    collections::BTreeSet,
    process::Command,
    process::ExitCode,
    thread,
    time::{Duration, Instant},
};

use libtest_mimic::{Arguments, Failed, Trial};
use pubsub_core::{
    ChannelName, ChannelPolicy, Envelope, ErrorKind, EventName, Events, Key, Payload, PubSub, Raw, driver::HistoryRange,
};
use pubsub_testkit::{
    broker::{Broker, BrokerKind, BrokerOptions, find},
    free_address,
};

const LIMIT: Duration = Duration::from_secs(30);
const NODES: usize = 3;
/// Enough channels for each node of a Redis Cluster to have some.
const CHANNELS: usize = 12;
const EVENTS: usize = 20;
const KEYS: usize = 5;
const ORDERED: &str = "ordered";

fn main() -> ExitCode {
    let mut trials = Vec::new();
    for (kind, title, case) in [
        (BrokerKind::Nats, "three nodes with three copies, one of which is killed", nats as fn() -> Result<(), Failed>),
        (BrokerKind::Redis, "three masters", redis),
    ] {
        let here = Broker::is_installed(kind).is_ok() || find::is_required(kind);
        trials.push(Trial::test(format!("{kind}: {title}"), case).with_ignored_flag(!here));
    }
    libtest_mimic::run(&Arguments::from_args(), trials).exit_code()
}

/// Starts all nodes at once: some are ready only when the others are there.
fn start(kind: BrokerKind, settings: Vec<Vec<String>>) -> Result<Vec<Broker>, Failed> {
    let starts = settings
        .into_iter()
        .map(|extra| thread::spawn(move || Broker::start(kind, &BrokerOptions::new().extra(extra))));
    let starts: Vec<_> = starts.collect();
    starts.into_iter().map(|start| Ok(start.join().map_err(|_| "a node did not start")??)).collect()
}

fn hosts(nodes: &[Broker]) -> String {
    let addresses: Vec<_> = nodes.iter().map(|node| node.address().to_string()).collect();
    addresses.join(",")
}

fn nats() -> Result<(), Failed> {
    let routes = (0..NODES).map(|_| free_address()).collect::<Result<Vec<_>, _>>()?;
    let list: Vec<_> = routes.iter().map(|address| format!("nats://{address}")).collect();
    let settings = routes.iter().enumerate().map(|(number, route)| {
        let name = format!("node-{number}");
        let route = format!("nats://{route}");
        let all = list.join(",");
        ["-n", &name, "--cluster_name", "three", "--cluster", &route, "--routes", &all].map(str::to_owned).to_vec()
    });
    let mut nodes = start(BrokerKind::Nats, settings.collect())?;
    let url = format!("nats://{}?replicas={NODES}", hosts(&nodes));
    run(async move {
        let bus = open(&url).await?;
        smoke(&bus).await?;
        // A channel of three copies can only be made while all three are there.
        let mut survivors = bus.subscribe_channel("after").group("survivors").await?;
        // Two of three are a majority, which goes on, whichever of them led.
        nodes[0].kill()?;
        for number in 0..EVENTS {
            publish_patiently(&bus, "after", number).await?;
        }
        all(&mut survivors, "the survivors' group").await?;
        Ok(bus.close(LIMIT).await?)
    })
}

fn redis() -> Result<(), Failed> {
    let mut settings = Vec::new();
    for _ in 0..NODES {
        let port = free_address()?.port().to_string();
        settings.push(["--cluster-enabled", "yes", "--cluster-port", &port].map(str::to_owned).to_vec());
    }
    let nodes = start(BrokerKind::Redis, settings)?;
    let mut create = Command::new(find::program("redis-cli", &[]).ok_or("redis-cli is not on PATH")?);
    create.args(["--cluster", "create"]).args(nodes.iter().map(|node| node.address().to_string()));
    let created = create.args(["--cluster-replicas", "0", "--cluster-yes"]).output()?;
    if !created.status.success() {
        return Err(format!("no cluster: {}", String::from_utf8_lossy(&created.stdout)).into());
    }
    let url = format!("redis+cluster://{}", hosts(&nodes));
    run(async move {
        let bus = open(&url).await?;
        smoke(&bus).await?;
        for group in [true, false] {
            let both = bus.subscribe_channel("channel-0").channel("channel-1");
            let refused = if group { both.group("group").await } else { both.await };
            let error = refused.err().ok_or("two durable channels were taken, though no command reads both")?;
            if error.kind() != ErrorKind::Unsupported || !error.to_string().contains("cluster") {
                return Err(format!("two durable channels gave {error}").into());
            }
        }
        Ok(bus.close(LIMIT).await?)
    })
}

fn run(case: impl Future<Output = Result<(), Failed>>) -> Result<(), Failed> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let limit = LIMIT * 4;
    runtime.block_on(async { tokio::time::timeout(limit, case).await.map_err(|_| "the case did not end in time")? })
}

async fn open(url: &str) -> Result<PubSub, Failed> {
    let builder = pubsub_adapters::builder(url).await?;
    Ok(builder.policy(ORDERED, ChannelPolicy::new().ordered_per_key(4))?.build())
}

async fn publish(bus: &PubSub, channel: &str, number: usize) -> pubsub_core::Result<()> {
    let name = EventName::parse("cluster:event")?;
    let mut envelope = Envelope::new(name, ChannelName::parse(channel)?, Payload::json(number.to_string()));
    envelope.key = Some(Key::new(&format!("key-{}", number % KEYS))?);
    bus.publish_envelope(envelope).await.map(drop)
}

/// Publishes in spite of errors that pass, such as while the nodes elect another leader.
async fn publish_patiently(bus: &PubSub, channel: &str, number: usize) -> Result<(), Failed> {
    let begun = Instant::now();
    loop {
        match publish(bus, channel, number).await {
            Err(error) if error.is_retryable() && begun.elapsed() < LIMIT => {
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
            outcome => return Ok(outcome?),
        }
    }
}

/// Waits for all numbers, and settles them. On the ordered channel those of one key come in order.
async fn all(events: &mut Events<Raw>, what: &str) -> Result<(), Failed> {
    let mut missing: BTreeSet<_> = (0..EVENTS).collect();
    let mut latest = [None; KEYS];
    while !missing.is_empty() {
        let next = tokio::time::timeout(LIMIT, events.next()).await;
        let event = next.map_err(|_| format!("{what} misses {missing:?}"))?.ok_or_else(|| format!("{what} ended"))?;
        let event = event.map_err(|error| format!("{what}: {error}"))?;
        let number: usize = event.message().payload().decode()?;
        let latest = &mut latest[number % KEYS];
        if missing.remove(&number)
            && event.message().channel().as_str() == ORDERED
            && latest.replace(number) > Some(number)
        {
            return Err(format!("{what} has {number} out of order").into());
        }
        event.ack();
    }
    Ok(())
}

/// Publishing, groups, broadcasts and history on many channels, and order per key on one.
async fn smoke(bus: &PubSub) -> Result<(), Failed> {
    let channels: Vec<_> =
        (0..CHANNELS).map(|number| format!("channel-{number}")).chain([ORDERED.to_owned()]).collect();
    let mut readers = Vec::new();
    for channel in &channels {
        let group = bus.subscribe_channel(channel).group("group").await?;
        let broadcast = bus.subscribe_channel(channel).await?;
        readers.push((channel, group, broadcast));
    }
    for channel in &channels {
        for number in 0..EVENTS {
            publish(bus, channel, number).await?;
        }
    }
    for (channel, group, broadcast) in &mut readers {
        all(group, &format!("the group on {channel}")).await?;
        all(broadcast, &format!("the broadcast of {channel}")).await?;
    }
    for channel in &channels {
        let history = bus.history(&HistoryRange::new(ChannelName::parse(channel)?)).await?;
        if history.events.len() != EVENTS {
            return Err(format!("the history of {channel} has {} of {EVENTS} events", history.events.len()).into());
        }
    }
    Ok(())
}
