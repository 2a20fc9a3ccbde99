//! Whatever is wrong, with addresses, channels, sizes, positions or foreign bytes, is a typed error that names the cause,
//! in time, and does not stop what is right.

mod support;

use std::{
    future::pending,
    process::{self, ExitCode},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering as Order},
    },
    time::{Duration, Instant},
};

use pubsub_core::{
    ChannelName, ChannelPolicy, Envelope, Error, ErrorKind, Events, Payload, Policies, Position, PubSub, Raw,
    StartPosition,
    driver::{ChannelSpec, HistoryRange, Topology, TopologyMode},
};
use pubsub_testkit::{
    broker::{Broker, BrokerError, BrokerKind, BrokerOptions, find},
    conformance::{Numbered, numbered},
};
use support::{
    Attempt, Case, NothingToAsk, Outcome, chain, check, open,
    plain::{Place, Plain},
    with,
};
use tokio::{io::AsyncWriteExt, net::TcpListener};

/// For what is known without asking anybody, or is refused by the server.
const AT_ONCE: Duration = Duration::from_secs(8);
const PATIENCE: &str = "connect_timeout=25s";
/// For what only time can tell.
const BRIEF: &str = "connect_timeout=2s";
const BRIEFLY: Duration = Duration::from_secs(6);
const SOON: Duration = Duration::from_secs(15);
const CLOSE: Duration = Duration::from_secs(10);

fn main() -> ExitCode {
    support::run(Site::start, CASES)
}

const CASES: &[Case<Site>] = &[
    ("wrong_addresses_are_named", |site| Box::pin(wrong_addresses(site))),
    ("an_unreachable_server_is_unavailable_in_time", |site| Box::pin(unreachable(site))),
    ("a_silent_server_is_given_up_in_time", |site| Box::pin(silent(site))),
    ("a_server_of_another_kind_is_given_up_in_time", |site| Box::pin(another_kind(site))),
    ("a_database_that_is_not_there_is_named", |site| Box::pin(no_database(site))),
    ("a_different_channel_is_a_mismatch", |site| Box::pin(mismatch(site))),
    ("too_large_a_message_is_refused", |site| Box::pin(too_large(site))),
    ("a_channel_that_nobody_declared_is_not_found", |site| Box::pin(undeclared(site))),
    ("a_foreign_position_is_invalid", |site| Box::pin(positions(site))),
    ("garbage_becomes_a_dead_letter_of_a_group", |site| Box::pin(garbage_to_a_group(site))),
    ("garbage_is_an_error_of_a_broadcast", |site| Box::pin(garbage_to_a_broadcast(site, true))),
    ("garbage_is_an_error_of_an_ephemeral_broadcast", |site| Box::pin(garbage_to_a_broadcast(site, false))),
];

/// The server that all suites share, or one of our own.
struct Site {
    kind: BrokerKind,
    url: String,
    _own: Option<Broker>,
}

impl Site {
    fn start(kind: BrokerKind) -> Result<Self, BrokerError> {
        if let Some(url) = find::url_from_environment(kind) {
            return Ok(Self { kind, url, _own: None });
        }
        let broker = Broker::start(kind, &BrokerOptions::new())?;
        Ok(Self { kind, url: broker.url(), _own: Some(broker) })
    }

    fn scheme(&self) -> &str {
        self.url.split("://").next().unwrap_or_default()
    }

    /// A deployment of its own for one case.
    fn place(&self, durable: bool) -> Place {
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        let prefix = format!("bad-{}-{}", process::id(), NEXT.fetch_add(1, Order::Relaxed));
        Place { kind: self.kind, url: self.url.clone(), prefix, channel: "orders".to_owned(), durable }
    }
}

async fn bus_at(place: &Place, options: &str, policy: ChannelPolicy) -> Result<PubSub, Error> {
    let adapter = open(&with(&place.url, &format!("prefix={}{options}", place.prefix))).await?;
    Ok(PubSub::builder(adapter).policies(Policies::new(policy)).build())
}

fn channel(place: &Place) -> Result<ChannelName, Error> {
    ChannelName::parse(&place.channel)
}

/// Holds a result against the kind that it must fail with.
fn fails<T>(
    what: &str,
    result: Result<T, Error>,
    kinds: &[ErrorKind],
) -> Result<Error, Box<dyn std::error::Error + Send + Sync>> {
    match result {
        Ok(_) => Err(format!("{what} succeeded").into()),
        Err(error) if kinds.contains(&error.kind()) => Ok(error),
        Err(error) => {
            Err(format!("{what} gave {} instead of one of {kinds:?}: {}", error.kind(), chain(&error)).into())
        }
    }
}

async fn wrong_addresses(site: Arc<Site>) -> Outcome {
    let scheme = site.scheme();
    for (url, field) in [
        (with(&site.url, "nonsense=1"), "nonsense"),
        (with(&site.url, "prefix=a%20b"), "prefix"),
        (with(&site.url, "connect_timeout=10"), "connect_timeout"),
        (with(&site.url, "connect_timeout=0s"), "connect_timeout"),
        (with(&site.url, "start=later"), "start"),
        (with(&site.url, "wire=xml"), "wire"),
        (with(&site.url, "strict=maybe"), "strict"),
        (with(&site.url, "strict=true&strict=true"), "strict"),
        (with(&site.url, "cert=/tmp/x.pem"), "cert"),
        (format!("{scheme}://"), "host"),
        (format!("{scheme}:"), "host"),
        (format!("{scheme}://127.0.0.1:70000"), "port"),
    ] {
        let attempt = Attempt::to_open(&url).await.map_err(|fault| format!("{url}: {fault}"))?;
        attempt.is(&[ErrorKind::Invalid])?;
        attempt.within(Duration::from_secs(1))?;
        attempt.says(&[&format!("`{field}`")])?;
    }
    Ok(())
}

async fn unreachable(site: Arc<Site>) -> Outcome {
    let closed = TcpListener::bind("127.0.0.1:0").await?.local_addr()?;
    for host in [closed.to_string(), "no-such-host.invalid:1234".to_owned()] {
        let url = with(&format!("{}://{host}", site.scheme()), BRIEF);
        let attempt = Attempt::to_open(&url).await.map_err(|fault| format!("{host}: {fault}"))?;
        attempt.is(&[ErrorKind::Unavailable])?;
        attempt.within(BRIEFLY)?;
        attempt.says(&[&host])?;
    }
    Ok(())
}

async fn silent(site: Arc<Site>) -> Outcome {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let url = with(&format!("{}://{}", site.scheme(), listener.local_addr()?), BRIEF);
    let accepting = tokio::spawn(async move {
        let mut open = Vec::new();
        while let Ok((stream, _)) = listener.accept().await {
            open.push(stream);
        }
        pending::<()>().await;
    });
    let attempt = Attempt::to_open(&url).await;
    accepting.abort();
    let attempt = attempt?;
    attempt.is(&[ErrorKind::Unavailable, ErrorKind::Timeout])?;
    attempt.within(BRIEFLY)
}

async fn another_kind(site: Arc<Site>) -> Outcome {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let url = with(&format!("{}://{}", site.scheme(), listener.local_addr()?), BRIEF);
    let answering = tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            stream.write_all(b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n").await.ok();
            stream.shutdown().await.ok();
        }
    });
    let attempt = Attempt::to_open(&url).await;
    answering.abort();
    let attempt = attempt?;
    attempt.is(&[ErrorKind::Unavailable, ErrorKind::Timeout, ErrorKind::Backend])?;
    attempt.within(BRIEFLY)
}

/// Redis has numbered databases, RabbitMQ has virtual hosts.
async fn no_database(site: Arc<Site>) -> Outcome {
    let path = match site.kind {
        BrokerKind::Redis => "/99",
        BrokerKind::RabbitMq => "/no-such-host",
        BrokerKind::Nats | BrokerKind::Kafka => return Err(NothingToAsk("the broker has no databases").into()),
    };
    let attempt = Attempt::to_open(&with(&format!("{}{path}", site.url), PATIENCE)).await?;
    attempt.is(&[ErrorKind::NotFound, ErrorKind::Invalid, ErrorKind::Rejected, ErrorKind::Auth])?;
    attempt.within(AT_ONCE)
}

async fn mismatch(site: Arc<Site>) -> Outcome {
    let place = site.place(true);
    let bus = bus_at(&place, "", ChannelPolicy::new()).await?;
    let of = |mode, shards| -> Result<Topology, Error> {
        let policy = ChannelPolicy::new().ordered_per_key(shards);
        Ok(Topology::new(mode).channel(ChannelSpec::new(channel(&place)?, policy)))
    };
    fails("a missing channel", bus.ensure(&of(TopologyMode::Validate, 2)?).await, &[ErrorKind::NotFound])?;
    bus.ensure(&of(TopologyMode::Create, 2)?).await?;
    bus.ensure(&of(TopologyMode::Validate, 2)?).await?;
    for mode in [TopologyMode::Validate, TopologyMode::Create] {
        let result = bus.ensure(&of(mode, 3)?).await;
        let error = fails("another number of shards", result, &[ErrorKind::TopologyMismatch])?;
        let text = chain(&error);
        let named = ["`orders`", "ordering", "2", "3"].iter().all(|word| text.contains(word));
        check(named, format_args!("not what was declared and what was found: {text}"))?;
    }
    // What was refused has changed nothing.
    bus.ensure(&of(TopologyMode::Validate, 2)?).await?;
    Ok(bus.close(CLOSE).await?)
}

async fn too_large(site: Arc<Site>) -> Outcome {
    const TESTABLE: usize = 20 << 20;
    let place = site.place(true);
    // What the server itself takes is too much for a test; where the address may say less, it does.
    let limited = matches!(site.kind, BrokerKind::Redis | BrokerKind::RabbitMq);
    let options = if limited { "&max_payload=65536" } else { "" };
    let bus = bus_at(&place, options, ChannelPolicy::new().max_payload(usize::MAX)).await?;
    let mut events = bus.subscribe_channel(&place.channel).group("readers").await?;
    if let Some(limit) = bus.capabilities().limits.max_payload.filter(|limit| *limit < TESTABLE) {
        let large = Envelope { payload: Payload::bytes(vec![b'x'; limit + 1]), ..numbered(&channel(&place)?, 0)? };
        let begun = Instant::now();
        let error = fails("too large an event", bus.publish_envelope(large).await, &[ErrorKind::TooLarge])?;
        let text = chain(&error);
        check(text.contains("bytes") && text.contains("orders"), format_args!("neither size nor channel: {text}"))?;
        let remedy = match site.kind {
            BrokerKind::Kafka => "`message.max.bytes`",
            _ => "`max_payload`",
        };
        // How large it is with its metadata is the adapter's to say.
        let sizes = text.split(|letter: char| !letter.is_ascii_digit()).filter_map(|size| size.parse::<usize>().ok());
        let named = sizes.clone().any(|size| size == limit) && sizes.clone().any(|size| size > limit);
        check(named && text.contains(remedy), format_args!("not size, limit and remedy: {text}"))?;
        check(begun.elapsed() < AT_ONCE, "it took long to refuse it")?;
        // The metadata takes its share, so only what leaves it room is sure to fit.
        let fits = Envelope { payload: Payload::bytes(vec![b'x'; limit - 4096]), ..numbered(&channel(&place)?, 0)? };
        bus.publish_envelope(fits).await?;
        let event = events.next_timeout(SOON).await?.ok_or("the largest event did not come")?;
        check(event.message().payload().data().is_some_and(|data| data.len() == limit - 4096), "it was cut")?;
        event.ack();
    }
    bus.publish_envelope(numbered(&channel(&place)?, 5)?).await?;
    next(&mut events, 5).await?;
    Ok(bus.close(CLOSE).await?)
}

async fn undeclared(site: Arc<Site>) -> Outcome {
    let place = site.place(true);
    let adapter = open(&with(&place.url, &format!("prefix={}&strict=true", place.prefix))).await?;
    let bus = PubSub::builder(adapter).topology_mode(TopologyMode::Validate).build();
    let publish = bus.publish_envelope(numbered(&channel(&place)?, 1)?).await;
    let error = fails("publishing", publish, &[ErrorKind::NotFound])?;
    check(chain(&error).contains("orders"), format_args!("the channel is not named: {}", chain(&error)))?;
    let group = bus.subscribe_channel(&place.channel).group("readers").await;
    fails("subscribing", group, &[ErrorKind::NotFound])?;
    Ok(bus.close(CLOSE).await?)
}

async fn positions(site: Arc<Site>) -> Outcome {
    let place = site.place(true);
    let bus = bus_at(&place, "", ChannelPolicy::new()).await?;
    let receipt = bus.publish_envelope(numbered(&channel(&place)?, 1)?).await?;
    let scheme = match site.kind {
        BrokerKind::RabbitMq => "amqp",
        kind => kind.name(),
    };
    if let Some(position) = &receipt.position {
        check(position.scheme() == scheme, format_args!("the scheme of {position} is not {scheme}"))?;
    }
    let own = |body| Position::text(scheme, body);
    for position in [Position::pair("memory", 1, 2)?, own("nonsense")?, own("1:2:3:x,,;")?, own("-5")?] {
        let invalid = &[ErrorKind::Invalid];
        let range = HistoryRange::new(channel(&place)?).from(StartPosition::After(position.clone()));
        fails(&format!("history after {position}"), bus.history(&range).await, invalid)?;
        let reading = bus.subscribe_channel(&place.channel).after(position.clone()).await;
        fails(&format!("a broadcast after {position}"), reading, invalid)?;
        let reading = bus.subscribe_channel(&place.channel).group("late").after(position.clone()).await;
        fails(&format!("a group after {position}"), reading, invalid)?;
    }
    Ok(bus.close(CLOSE).await?)
}

/// Bodies that are no event in any form, with and without headers that promise one.
fn garbage() -> Vec<Plain> {
    let ce = |name, value| Plain::new(b"\xff\x00 cut off".to_vec()).header(name, value);
    vec![
        Plain::new(b"\xff\x00\xfe no event".to_vec()),
        Plain::new(b"{\"id\": \"1\", \"cut off".to_vec()),
        ce("ce_specversion", "1.0"),
        ce("ce-specversion", "9.9"),
        ce("cloudEvents:specversion", "1.0"),
        ce("content-type", "application/cloudevents+json"),
        Plain::new(Vec::new()).header("content-type", "\u{1F980}\t"),
    ]
}

async fn next(events: &mut Events<Raw>, serial: usize) -> Outcome {
    let event = events.next_timeout(SOON).await?.ok_or_else(|| format!("event {serial} did not come"))?;
    let found = event.serial()?;
    event.ack();
    check(found == serial, format_args!("event {found} came instead of {serial}"))
}

async fn garbage_to_a_group(site: Arc<Site>) -> Outcome {
    let place = site.place(true);
    let bus = bus_at(&place, "", ChannelPolicy::new()).await?;
    let mut events = bus.subscribe_channel(&place.channel).group("readers").await?;
    bus.publish_envelope(numbered(&channel(&place)?, 1)?).await?;
    for message in &garbage() {
        place.put(message).await?;
    }
    bus.publish_envelope(numbered(&channel(&place)?, 2)?).await?;
    // Nothing keeps these in order, and what is no event must not come at all.
    let mut serials = Vec::new();
    for _ in 0..2 {
        let event = events.next_timeout(SOON).await?.ok_or_else(|| format!("after {serials:?} nothing came"))?;
        serials.push(event.serial()?);
        event.ack();
    }
    serials.sort_unstable();
    check(serials == [1, 2], format_args!("{serials:?} came"))?;

    let deadline = Instant::now() + SOON;
    let letters = loop {
        let page = bus.dead_letters(&place.channel, "readers", StartPosition::Earliest).await?;
        if page.events.len() >= garbage().len() || Instant::now() > deadline {
            break page.events;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    };
    for message in garbage() {
        let found = letters.iter().find(|letter| {
            let data = letter.message.payload().data();
            // An entry of Redis is more than its body; all its fields are kept.
            data.is_some_and(|data| match site.kind {
                BrokerKind::Redis => {
                    message.body.is_empty() || data.windows(message.body.len()).any(|part| part == message.body)
                }
                _ => data.as_ref() == message.body,
            })
        });
        let letter = found.ok_or_else(|| format!("{message:?} is no dead letter"))?;
        check(letter.message.meta().dead_reason.is_some(), format_args!("no reason: {letter:?}"))?;
    }
    check(letters.len() == garbage().len(), format_args!("{} dead letters", letters.len()))?;
    Ok(bus.close(CLOSE).await?)
}

async fn garbage_to_a_broadcast(site: Arc<Site>, durable: bool) -> Outcome {
    let place = site.place(durable);
    let policy = if durable { ChannelPolicy::new() } else { ChannelPolicy::new().ephemeral() };
    let bus = bus_at(&place, "", policy).await?;
    let mut events = bus.subscribe_channel(&place.channel).await?;
    bus.publish_envelope(numbered(&channel(&place)?, 1)?).await?;
    next(&mut events, 1).await?;
    // Redis carries no headers here, so there is less that can be wrong.
    let headers = durable || site.kind != BrokerKind::Redis;
    let bad: Vec<_> = garbage().into_iter().filter(|message| headers || message.headers.is_empty()).collect();
    for message in &bad {
        place.put(message).await?;
        let error = match events.next_timeout(SOON).await {
            Err(error) => error,
            Ok(event) => return Err(format!("{message:?} came as {event:?}").into()),
        };
        check(error.kind() == ErrorKind::Codec, format_args!("{message:?} gave {}: {}", error.kind(), chain(&error)))?;
    }
    bus.publish_envelope(numbered(&channel(&place)?, 2)?).await?;
    next(&mut events, 2).await?;
    Ok(bus.close(CLOSE).await?)
}
