//! What is the Redis adapter's own: ordered groups when a member stands still with a read at the server, what is kept
//! without history, slow broadcasts, what the server refuses to move, servers that are too old. The rest is the suites.
#![cfg(feature = "redis")]

use std::time::Duration;

use pubsub_adapters::redis::{Redis, RedisOptions};
use pubsub_core::{
    ChannelPattern, ChannelPolicy, Envelope, ErrorKind, EventItem, EventName, Events, GroupName, Key, Payload, PubSub,
    Raw, Retention, StartPosition, Timestamp,
    driver::{
        Adapter, AdapterState, HistoryRange, Item, Outcome as Settled, SlowConsumer, SubscribeOptions, Subscriber,
    },
};
use pubsub_testkit::{
    broker::{Broker, BrokerError, BrokerKind, BrokerOptions},
    proxy::FaultProxy,
};
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::{TcpListener, TcpStream},
    time::{Instant, sleep, timeout},
};

type Outcome = Result<(), Box<dyn std::error::Error>>;

const LEASE: Duration = Duration::from_millis(800);
const SOON: Duration = Duration::from_secs(10);

/// A server of this test. Where there is none on this machine the test fails: it would have shown nothing.
fn server() -> Result<Broker, BrokerError> {
    Broker::start(BrokerKind::Redis, &BrokerOptions::new())
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
    let broker = server()?;
    let proxy = FaultProxy::start(broker.address()).await?;
    let direct = open(&broker.url()).await?;
    let behind = open(&broker.url().replace(&broker.address().to_string(), &proxy.address().to_string())).await?;
    let mut first = join(&behind).await?;
    publish(&direct, 0).await?;
    assert_eq!(read(&mut first, SOON).await?, 0);
    // Its next read waits at the server.
    let until = Instant::now() + SOON;
    while !told(&broker, "INFO clients").await?.contains("\nblocked_clients:1\r") {
        assert!(Instant::now() < until, "it reads no more");
        sleep(Duration::from_millis(10)).await;
    }
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
    let broker = server()?;
    let proxy = FaultProxy::start(broker.address()).await?;
    let direct = open(&broker.url()).await?;
    let behind = open(&broker.url().replace(&broker.address().to_string(), &proxy.address().to_string())).await?;
    for serial in 0..5 {
        publish(&direct, serial).await?;
    }
    let mut first = join(&behind).await?;
    // It has them all by one read.
    assert_eq!(read(&mut first, SOON).await?, 0);
    let until = Instant::now() + SOON;
    while !told(&broker, "XPENDING pubsub:{steps} walkers").await?.starts_with("*4\r\n:4\r\n") {
        assert!(Instant::now() < until, "its acknowledgement is not through");
        sleep(Duration::from_millis(10)).await;
    }
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

/// All that the server answers to a command.
async fn told(broker: &Broker, command: &str) -> Result<String, Box<dyn std::error::Error>> {
    let mut stream = TcpStream::connect(broker.address()).await?;
    stream.write_all(format!("{command}\r\nQUIT\r\n").as_bytes()).await?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await?;
    Ok(answer)
}

/// The first line that the server answers to a command.
async fn ask(broker: &Broker, command: &str) -> Result<String, Box<dyn std::error::Error>> {
    Ok(told(broker, command).await?.lines().next().unwrap_or_default().to_owned())
}

/// One number that the server answers.
async fn number(broker: &Broker, command: &str) -> Result<i64, Box<dyn std::error::Error>> {
    Ok(ask(broker, command).await?.strip_prefix(':').ok_or("no number")?.parse()?)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_history_an_event_goes_once_every_group_has_settled_it() -> Outcome {
    let broker = server()?;
    let adapter = Redis::open(RedisOptions::from_url(&broker.url().parse()?)?).await?;
    let bus = PubSub::builder(adapter).policy("steps", ChannelPolicy::new().retention(Retention::none()))?.build();
    let (mut fast, mut slow) = (join(&bus).await?, bus.subscribe_channel("steps").group("late").await?);
    for serial in 0..20 {
        publish(&bus, serial).await?;
    }
    for _ in 0..20 {
        read(&mut fast, SOON).await?;
    }
    for _ in 0..12 {
        read(&mut slow, SOON).await?;
    }
    let until = Instant::now() + Duration::from_secs(25);
    while number(&broker, "XLEN pubsub:{steps}").await? != 8 {
        assert!(Instant::now() < until, "{} are left", number(&broker, "XLEN pubsub:{steps}").await?);
        sleep(Duration::from_millis(200)).await;
    }
    for _ in 0..8 {
        read(&mut slow, SOON).await?;
    }
    bus.close(Duration::from_secs(5)).await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slow_broadcast_with_a_buffer_loses_the_oldest_and_is_told_how_many() -> Outcome {
    let broker = server()?;
    let bus = open(&broker.url()).await?;
    let mut lags = bus.subscribe_channel("steps").await?;
    let mut loses = bus.subscribe_channel("steps").slow_consumer(SlowConsumer::DropOldest).buffer(10).await?;
    for serial in 0..100 {
        publish(&bus, serial).await?;
    }
    // Longer than a reader may take nothing without counting as slow.
    sleep(Duration::from_secs(2)).await;
    for serial in 0..100 {
        assert_eq!(read(&mut lags, SOON).await?, serial, "the stream is the buffer of who asked for none");
    }
    let (mut lost, mut last, mut came) = (0, None, 0);
    while last != Some(99) {
        match timeout(SOON, loses.next_item()).await?.ok_or("the end")?? {
            EventItem::Event(event) => {
                let serial =
                    std::str::from_utf8(event.message().payload().data().ok_or("no body")?)?.parse::<usize>()?;
                last = Some(serial);
                came += 1;
            }
            EventItem::Gap(gap) => lost += gap.lost.ok_or("how many")?,
            _ => {}
        }
    }
    assert!(lost >= 50, "{lost} lost");
    assert_eq!(lost + came, 100);
    bus.close(Duration::from_secs(5)).await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_failed_comes_with_the_time_of_its_first_failure() -> Outcome {
    let broker = server()?;
    let adapter = Redis::open(RedisOptions::from_url(&broker.url().parse()?)?).await?;
    let mut options = SubscribeOptions::new(vec![ChannelPattern::parse("steps")?]);
    options.group = Some(GroupName::parse("walkers")?);
    let mut group = adapter.subscribe(options).await?;
    let bus = PubSub::new(adapter.clone());
    let begun = Timestamp::now();
    publish(&bus, 1).await?;
    let mut seen = Vec::new();
    while seen.len() < 3 {
        let item = timeout(SOON, group.next()).await?.ok_or("the end")??;
        let Item::Delivery(delivery) = item else { continue };
        seen.push(delivery.first_seen);
        let outcome = if seen.len() < 3 { Settled::Nack(Duration::from_millis(50)) } else { Settled::Ack };
        delivery.settle_as(outcome);
    }
    let first = seen[1].ok_or("a time")?;
    assert_eq!((seen[0], seen[2]), (None, Some(first)));
    assert!(first >= begun && first <= Timestamp::now());
    let until = Instant::now() + SOON;
    while number(&broker, "EXISTS pubsub:{steps}:failed:walkers:0").await? != 0 {
        assert!(Instant::now() < until, "it is forgotten once it is settled");
        sleep(Duration::from_millis(20)).await;
    }
    bus.close(Duration::from_secs(5)).await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn events_for_later_that_the_server_refuses_to_move_are_told_and_moved_once_it_takes_them() -> Outcome {
    let broker = server()?;
    let adapter = Redis::open(RedisOptions::from_url(&broker.url().parse()?)?).await?;
    let bus = PubSub::new(adapter.clone());
    let later = |channel: &str| -> Result<Envelope, Box<dyn std::error::Error>> {
        Ok(Envelope::new(EventName::parse("test:step")?, channel.parse()?, Payload::json("1".to_owned())))
    };
    let due = Duration::from_millis(300);
    // A key of another kind stands where the stream would be.
    assert_eq!(ask(&broker, "SET pubsub:{blocked} x").await?, "+OK");
    bus.publish_envelope(later("blocked")?).delay(due).await?;
    bus.publish_envelope(later("free")?).delay(due).await?;
    let is_told = || matches!(adapter.states().current(), AdapterState::Degraded(why) if why.contains("`blocked`"));
    let until = Instant::now() + SOON;
    while !is_told() {
        assert!(Instant::now() < until, "{:?}", adapter.states().current());
        sleep(Duration::from_millis(20)).await;
    }
    while number(&broker, "XLEN pubsub:{free}").await? != 1 {
        assert!(Instant::now() < until, "the other channel waits for it");
        sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(ask(&broker, "DEL pubsub:{blocked}").await?, ":1");
    let until = Instant::now() + SOON;
    while adapter.states().current() != AdapterState::Ready {
        assert!(Instant::now() < until, "{:?}", adapter.states().current());
        sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(number(&broker, "XLEN pubsub:{blocked}").await?, 1);
    bus.close(Duration::from_secs(5)).await?;
    Ok(())
}

/// Answers as a server of an old version: every command with `OK`, but `INFO`.
async fn old_server(listener: TcpListener) {
    while let Ok((stream, _)) = listener.accept().await {
        tokio::spawn(async move {
            let (reader, mut writer) = stream.into_split();
            let mut lines = BufReader::new(reader).lines();
            let mut left = 0;
            let mut command = String::new();
            while let Ok(Some(line)) = lines.next_line().await {
                match line.strip_prefix('*').and_then(|count| count.parse::<usize>().ok()) {
                    Some(count) => (left, command) = (count, String::new()),
                    None if line.starts_with('$') => {}
                    None => {
                        left -= 1;
                        command = format!("{command} {line}");
                    }
                }
                if left == 0 && !command.is_empty() {
                    let info = "redis_version:6.2.14";
                    let answer = if std::mem::take(&mut command).contains("INFO server") {
                        format!("${}\r\n{info}\r\n", info.len())
                    } else {
                        "+OK\r\n".to_owned()
                    };
                    if writer.write_all(answer.as_bytes()).await.is_err() {
                        return;
                    }
                }
            }
        });
    }
}

#[tokio::test]
async fn a_server_that_is_too_old_is_refused_at_once() -> Outcome {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let url = format!("redis://{}", listener.local_addr()?);
    let server = tokio::spawn(old_server(listener));
    let opened = timeout(Duration::from_secs(5), Redis::open(RedisOptions::from_url(&url.parse()?)?)).await?;
    let error = opened.err().ok_or("it was opened")?;
    assert_eq!(error.kind(), ErrorKind::Unsupported, "{error}");
    assert!(error.message().contains("6.2.14") && error.message().contains("7.0"), "{error}");
    server.abort();
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_sent_again_after_a_cut_keeps_its_order() -> Outcome {
    const BURSTS: usize = 8;
    const BURST: usize = 50;
    let broker = server()?;
    let proxy = FaultProxy::start(broker.address()).await?;
    let url = broker.url().replace(&broker.address().to_string(), &proxy.address().to_string());
    let adapter = Redis::open(RedisOptions::from_url(&url.parse()?)?).await?;
    let policy = ChannelPolicy::new().ordered_per_key(1).dedup_window(Duration::from_secs(60));
    let bus = PubSub::builder(adapter).policy("steps", policy)?.build();
    publish(&bus, 0).await?;
    // Several pipelines are on their way when the link breaks, and more is waiting behind them.
    proxy.stall();
    let (mut tickets, mut serial) = (Vec::new(), 0);
    for _ in 0..BURSTS {
        for _ in 0..BURST {
            serial += 1;
            let body = Payload::json(serial.to_string());
            let event = Envelope::new(EventName::parse("test:step")?, "steps".parse()?, body);
            tickets.push(bus.publish_envelope(event).key(Key::new("one")?).enqueue().await?);
        }
        sleep(Duration::from_millis(10)).await;
    }
    proxy.cut().await?;
    proxy.heal().await?;
    for ticket in tickets {
        ticket.await?;
    }
    let history = bus.history(&HistoryRange::new("steps".parse()?).limit(1_000)).await?;
    let mut serials = Vec::new();
    for stored in &history.events {
        let data = stored.message.payload().data().ok_or("no body")?;
        serials.push(std::str::from_utf8(data)?.parse::<usize>()?);
    }
    assert_eq!(serials, (0..=BURSTS * BURST).collect::<Vec<_>>());
    bus.close(Duration::from_secs(5)).await?;
    proxy.close().await;
    Ok(())
}

/// As if the process that took the mark of the channel away had died before it looked again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn events_for_later_whose_mark_is_gone_come_a_little_late() -> Outcome {
    let broker = server()?;
    let bus = open(&broker.url()).await?;
    let mut events = bus.subscribe_channel("steps").group("walkers").await?;
    let body = Payload::json("7");
    let event = Envelope::new(EventName::parse("test:step")?, "steps".parse()?, body);
    bus.publish_envelope(event).key(Key::new("one")?).delay(Duration::from_secs(3)).await?;
    let mut raw = TcpStream::connect(broker.address()).await?;
    raw.write_all(b"KEYS *scheduled*\r\n").await?;
    let mut answer = BufReader::new(&mut raw);
    let mut line = String::new();
    answer.read_line(&mut line).await?;
    assert_eq!(line, "*1\r\n", "one set of marks");
    for _ in 0..2 {
        line.clear();
        answer.read_line(&mut line).await?;
    }
    raw.write_all(format!("DEL {}\r\n", line.trim()).as_bytes()).await?;
    line.clear();
    BufReader::new(&mut raw).read_line(&mut line).await?;
    assert_eq!(line, ":1\r\n", "the marks were there, and are gone");
    assert_eq!(read(&mut events, Duration::from_secs(30)).await?, 7);
    bus.close(Duration::from_secs(5)).await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broadcast_resumed_in_the_middle_is_told_what_retention_removed_before_it() -> Outcome {
    // More than a reader takes before its subscriber does.
    const EVENTS: usize = 12_000;
    let broker = server()?;
    let bus = open(&broker.url()).await?;
    let mut tickets = Vec::new();
    for serial in 0..EVENTS {
        let body = Payload::json(serial.to_string());
        let event = Envelope::new(EventName::parse("test:step")?, "steps".parse()?, body);
        tickets.push(bus.publish_envelope(event).key(Key::new("one")?).enqueue().await?);
    }
    for ticket in tickets {
        ticket.await?;
    }
    let page = bus.history(&HistoryRange::new("steps".parse()?).limit(10)).await?;
    let after = StartPosition::After(page.next.ok_or("a position")?);
    let mut events = bus.subscribe_channel("steps").start(after).await?;
    assert_eq!(read(&mut events, SOON).await?, 10);
    // It reads on meanwhile, up to what it takes.
    assert_eq!(ask(&broker, "XTRIM pubsub:{steps} MAXLEN 20").await?, format!(":{}", EVENTS - 20));
    let (mut last, mut gaps) = (10, Vec::new());
    while last != EVENTS - 1 {
        match timeout(SOON, events.next_item()).await?.ok_or("the end")?? {
            EventItem::Event(event) => {
                let serial = std::str::from_utf8(event.message().payload().data().ok_or("no body")?)?.parse()?;
                if serial != last + 1 {
                    assert_eq!((serial, gaps.len()), (EVENTS - 20, 1), "after {last}");
                }
                last = serial;
            }
            EventItem::Gap(gap) => gaps.push(gap.lost),
            _ => {}
        }
    }
    assert_eq!(gaps, [None]);
    bus.close(Duration::from_secs(5)).await?;
    Ok(())
}
