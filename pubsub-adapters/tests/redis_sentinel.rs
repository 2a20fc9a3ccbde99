//! The Redis adapter behind a sentinel: when the server dies, its replica takes over, and nobody is told.

#![cfg(feature = "redis")]
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use std::{
    collections::BTreeSet,
    fs,
    path::PathBuf,
    process::{self, Child, Command, Stdio},
    time::{Duration, Instant},
};

use pubsub_adapters::builder;
use pubsub_core::{ChannelName, Envelope, EventName, Payload, PubSub};
use pubsub_testkit::{
    broker::{Broker, BrokerKind, BrokerOptions, find},
    free_address,
};
use tokio::time::{sleep, timeout};

/// A sentinel that did not get its turn for two seconds does nothing for another thirty.
const LIMIT: Duration = Duration::from_secs(120);
/// How long a server may keep silent before it counts as dead: one that only waits for its turn must not be replaced.
const SILENCE: Duration = Duration::from_secs(5);
/// How long a server may take for one answer.
const ANSWER: Duration = Duration::from_secs(30);

/// A sentinel that knows the server at `port` by the name `main`.
struct Sentinel {
    process: Child,
    folder: PathBuf,
    port: u16,
}

impl Sentinel {
    fn start(master: u16) -> Self {
        let port = free_address().unwrap().port();
        let folder = std::env::temp_dir().join(format!("pubsub-sentinel-{}-{port}", process::id()));
        fs::create_dir_all(&folder).unwrap();
        let settings = folder.join("sentinel.conf");
        let text = format!(
            "port {port}\nbind 127.0.0.1\ndir {}\nsentinel monitor main 127.0.0.1 {master} 1\n\
             sentinel down-after-milliseconds main {}\nsentinel failover-timeout main 10000\n",
            folder.display(),
            SILENCE.as_millis()
        );
        fs::write(&settings, text).unwrap();
        let program = find::program("redis-server", &[]).unwrap();
        let mut command = Command::new(program);
        command.arg(settings).arg("--sentinel").stdout(Stdio::null()).stderr(Stdio::null());
        Self { process: command.spawn().unwrap(), folder, port }
    }

    async fn ask(&self, command: &redis::Cmd) -> redis::RedisResult<redis::Value> {
        ask(self.port, command).await
    }

    /// Waits until it knows a replica that can take over.
    async fn knows_a_replica(&self) {
        let command = redis::cmd("SENTINEL").arg("REPLICAS").arg("main").to_owned();
        let started = Instant::now();
        loop {
            let told = self.ask(&command).await;
            let text = format!("{told:?}");
            if text.contains("master-link-status") && text.contains("\"ok\"") {
                return;
            }
            assert!(started.elapsed() < LIMIT, "{text}");
            sleep(Duration::from_millis(100)).await;
        }
    }
}

impl Drop for Sentinel {
    fn drop(&mut self) {
        self.process.kill().ok();
        self.process.wait().ok();
        fs::remove_dir_all(&self.folder).ok();
    }
}

async fn ask(port: u16, command: &redis::Cmd) -> redis::RedisResult<redis::Value> {
    let client = redis::Client::open(format!("redis://127.0.0.1:{port}"))?;
    // Half a second by default, which is less than what is asked for may take.
    let patient = redis::AsyncConnectionConfig::new();
    let patient = patient.set_connection_timeout(Some(ANSWER)).set_response_timeout(Some(ANSWER));
    let mut connection = client.get_multiplexed_async_connection_with_config(&patient).await?;
    command.query_async(&mut connection).await
}

fn event(number: usize) -> Envelope {
    let channel = ChannelName::parse("heal").unwrap();
    Envelope::new(EventName::parse("heal:event").unwrap(), channel, Payload::json(number.to_string()))
}

/// Publishes until it is confirmed.
async fn publish(bus: &PubSub, number: usize) {
    let started = Instant::now();
    let envelope = event(number);
    while let Err(error) = bus.publish_envelope(envelope.clone()).timeout(Duration::from_secs(5)).await {
        assert!(started.elapsed() < LIMIT, "{number}: {error:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replica_takes_over_and_what_it_has_is_kept() {
    let mut master = Broker::start(BrokerKind::Redis, &BrokerOptions::new()).unwrap();
    let port = master.address().port();
    let following = ["--replicaof".to_owned(), "127.0.0.1".to_owned(), port.to_string()];
    let replica = Broker::start(BrokerKind::Redis, &BrokerOptions::new().extra(following)).unwrap();
    let sentinel = Sentinel::start(port);
    sentinel.knows_a_replica().await;

    let url = format!("redis+sentinel://127.0.0.1:{}/0?master=main", sentinel.port);
    let bus = builder(&url).await.unwrap().build();
    let lease = Duration::from_secs(2);
    let mut events = bus.subscribe_channel("heal").group("readers").lease(lease).without_dead_letters().await.unwrap();
    for number in 0..100 {
        publish(&bus, number).await;
    }
    // Redis answers before its replica has an event: what is confirmed in the last moment may go with the server.
    let told = ask(port, &redis::cmd("WAIT").arg(1).arg(20_000).to_owned()).await.unwrap();
    assert_eq!(told, redis::Value::Int(1), "the replica has not followed");
    master.kill().unwrap();
    for number in 100..200 {
        publish(&bus, number).await;
    }
    let mut missing: BTreeSet<usize> = (0..200).collect();
    let all = async {
        while !missing.is_empty() {
            let Some(next) = events.next().await else { panic!("the subscription has ended") };
            let Ok(event) = next else { continue };
            let text = String::from_utf8(event.message().payload().data().unwrap().to_vec()).unwrap();
            missing.remove(&text.parse().unwrap());
            event.ack();
        }
    };
    let ended = timeout(LIMIT, all).await;
    assert!(ended.is_ok(), "still missing: {missing:?}");
    let role = ask(replica.address().port(), &redis::cmd("ROLE")).await.unwrap();
    assert!(format!("{role:?}").contains("master"), "{role:?}");
    bus.close(Duration::from_secs(5)).await.unwrap();
}
