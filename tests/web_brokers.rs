//! The web edge on every broker: two nodes serve the same streams, a client goes on at the other one, and a broker that is
//! killed costs nothing but time.

use std::{
    error::Error,
    process::ExitCode,
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use libtest_mimic::{Arguments, Failed, Trial};
use pubsub::{
    ChannelName, ChannelPolicy, Envelope, EventId, EventName, Payload, PubSub,
    server::{Server, WebPolicy, serve},
};
use pubsub_testkit::broker::{Broker, BrokerKind, BrokerOptions, find};
use serde_json::Value;
use tokio::{
    net::TcpListener,
    runtime::Runtime,
    time::{Instant, sleep, timeout},
};

type Fallible<T> = Result<T, Box<dyn Error + Send + Sync>>;

const CHANNEL: &str = "live.numbers";
const COUNT: u64 = 400;
const PATIENCE: Duration = Duration::from_secs(90);

fn main() -> ExitCode {
    let mut trials = Vec::new();
    for kind in BrokerKind::ALL {
        let here = Broker::is_installed(kind).is_ok() || find::is_required(kind);
        let calm = Trial::test(format!("{kind}: a client goes on at another node"), move || run(kind, false));
        let killed = Trial::test(format!("{kind}: streams live through a killed broker"), move || run(kind, true));
        trials.extend([calm.with_ignored_flag(!here), killed.with_ignored_flag(!here)]);
    }
    let mut arguments = Arguments::from_args();
    // Each has a broker of its own, which needs its share of the machine.
    arguments.test_threads.get_or_insert(2);
    libtest_mimic::run(&arguments, trials).exit_code()
}

fn run(kind: BrokerKind, kill: bool) -> Result<(), Failed> {
    let mut broker = Broker::start(kind, &BrokerOptions::new().fsync_always())?;
    let runtime = Runtime::new()?;
    let outcome = runtime.block_on(async { timeout(2 * PATIENCE, serve_and_read(&mut broker, kill)).await });
    runtime.shutdown_timeout(Duration::from_secs(1));
    outcome.map_err(|_| "it took too long")?.map_err(|error| error.to_string())?;
    Ok(())
}

/// A server at a port of its own.
struct Node {
    bus: PubSub,
    url: String,
}

impl Node {
    async fn start(url: &str) -> Fallible<Self> {
        let policy = ChannelPolicy::new().totally_ordered();
        let bus = pubsub::builder(url).await?.policy("live.*", policy)?.build();
        let server = Server::builder(&bus)
            .channel(WebPolicy::public("live.*"))
            .configure(|settings| {
                settings.heartbeat = Duration::from_millis(500);
                settings.outage_grace = Duration::from_millis(200);
            })
            .build()?;
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let url = format!("http://{}", listener.local_addr()?);
        tokio::spawn(serve(listener, server.router(), std::future::pending()));
        Ok(Self { bus, url })
    }
}

async fn serve_and_read(broker: &mut Broker, kill: bool) -> Fallible<()> {
    let nodes = [Node::start(&broker.url()).await?, Node::start(&broker.url()).await?];
    let published = AtomicU64::new(0);
    let reading = async {
        let first = read(&nodes, 0, 7);
        let second = read(&nodes, 1, 23);
        tokio::try_join!(first, second)
    };
    let (published, read) = (&published, reading);
    let publishing = publish(&nodes, published);
    let killing = async {
        if kill {
            while published.load(Ordering::Relaxed) < COUNT / 3 {
                sleep(Duration::from_millis(5)).await;
            }
            broker.settled()?;
            broker.kill()?;
            sleep(Duration::from_millis(500)).await; // the outage that clients are to live through
            broker.restart()?;
        }
        Ok(())
    };
    let (_, (one, two), ()) = tokio::try_join!(publishing, read, killing)?;
    if !kill && (one, two) != (0, 0) {
        return Err(format!("{one} and {two} events came twice, although nothing happened").into());
    }
    Ok(())
}

/// Publishes the numbers at both nodes in turn, each until it is confirmed.
async fn publish(nodes: &[Node; 2], published: &AtomicU64) -> Fallible<()> {
    for number in 0..COUNT {
        let bus = &nodes[usize::from(number % 2 == 1)].bus;
        let id = EventId::parse(&format!("n-{number}"))?;
        let payload = Payload::json(number.to_string());
        let mut event = Envelope::new(EventName::parse("live:number")?, ChannelName::parse(CHANNEL)?, payload);
        event.id = id;
        while bus.publish_envelope(event.clone()).timeout(Duration::from_secs(5)).await.is_err() {
            sleep(Duration::from_millis(50)).await;
        }
        published.store(number + 1, Ordering::Relaxed);
        if number % 10 == 0 {
            sleep(Duration::from_millis(5)).await;
        }
    }
    Ok(())
}

/// Reads all numbers by streams of `length` events, at both nodes in turn; gives how many came twice. An event that was
/// published again after an uncertain failure may be on the channel twice.
async fn read(nodes: &[Node; 2], begin: usize, length: usize) -> Fallible<u64> {
    let client = reqwest::Client::new();
    let (mut last, mut expected, mut twice) = ("earliest".to_owned(), 0_u64, 0);
    let started = Instant::now();
    for turn in begin.. {
        let url = format!("{}/events?channel={CHANNEL}&lastEventId={last}", nodes[turn % 2].url);
        let Ok(mut response) = client.get(url).send().await else { continue };
        if response.status() != 200 {
            return Err(format!("{}: {}", response.status(), response.text().await?).into());
        }
        let (mut text, mut taken) = (String::new(), 0);
        'stream: while let Ok(Some(chunk)) = response.chunk().await {
            text.push_str(std::str::from_utf8(&chunk)?);
            while let Some(end) = text.find("\n\n") {
                let block: String = text.drain(..end + 2).collect();
                let field = |name: &str| block.lines().find_map(|line| line.strip_prefix(name)).map(str::to_owned);
                let (Some(id), Some(data)) = (field("id: "), field("data: ")) else { continue };
                let event: Value = serde_json::from_str(&data)?;
                let Some(number) = event["payload"].as_u64() else {
                    return Err(format!("after {expected}: {event}").into());
                };
                last = id;
                taken += 1;
                match number {
                    _ if number == expected => expected += 1,
                    _ if number < expected => twice += 1,
                    _ => return Err(format!("{expected} is missing before {number}").into()),
                }
                if expected == COUNT {
                    return Ok(twice);
                }
                if taken == length {
                    break 'stream;
                }
            }
        }
        if started.elapsed() > PATIENCE {
            return Err(format!("only {expected} events after {PATIENCE:?}").into());
        }
        if taken == 0 {
            // Sent away for now.
            sleep(Duration::from_millis(100)).await;
        }
    }
    Ok(twice)
}
