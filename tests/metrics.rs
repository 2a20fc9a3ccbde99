//! Metrics: those that are documented are those that there are, with the labels that are documented, and they count.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::LazyLock,
    time::{Duration, Instant},
};

use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};
use pubsub::{
    ChannelPolicy, Envelope, EventName, EventRpc, Failure, HandlerError, Payload, PubSub, Router,
    observe::{MetricKind, Sampler, names},
    sql::{Database, SqlOutbox, sqlx},
};
use tokio::sync::oneshot;

const GUIDE: &str = include_str!("../docs/observability.md");
const SOON: Duration = Duration::from_secs(20);

static RECORDER: LazyLock<PrometheusHandle> = LazyLock::new(|| PrometheusBuilder::new().install_recorder().unwrap());

/// A series with its labels, and its value.
type Series = (String, BTreeMap<String, String>, f64);

/// What a scrape would show.
fn shown() -> Vec<Series> {
    let text = RECORDER.render();
    let lines = text.lines().filter(|line| !line.starts_with('#') && !line.is_empty());
    lines
        .map(|line| {
            let (series, value) = line.rsplit_once(' ').unwrap();
            let (name, labels) = series.split_once('{').unwrap_or((series, "}"));
            let labels = labels.trim_end_matches('}').split("\",").filter(|label| !label.is_empty());
            let pair = |label: &str| {
                let (name, value) = label.split_once("=\"").unwrap();
                (name.to_owned(), value.trim_end_matches('"').to_owned())
            };
            (name.to_owned(), labels.map(pair).collect(), value.parse().unwrap())
        })
        .collect()
}

/// The sum of the series of this name that have these labels.
fn value(name: &str, labels: &[(&str, &str)]) -> f64 {
    let has = |all: &BTreeMap<String, String>| {
        labels.iter().all(|(name, value)| all.get(*name).is_some_and(|is| is == value))
    };
    shown().into_iter().filter(|(is, all, _)| is == name && has(all)).map(|(_, _, value)| value).sum()
}

/// Waits until the sum has this value.
async fn until(name: &str, labels: &[(&str, &str)], expected: f64) {
    let deadline = Instant::now() + SOON;
    loop {
        let now = value(name, labels);
        if now == expected {
            return;
        }
        assert!(Instant::now() < deadline, "{name} {labels:?} is {now}, not {expected}");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

async fn bus() -> PubSub {
    LazyLock::force(&RECORDER);
    pubsub::connect("memory:").await.unwrap()
}

#[pubsub::event("orders:created")]
struct Created {
    number: u32,
}

#[test]
fn the_documentation_has_all_metrics_and_no_other() {
    let rows = GUIDE.lines().filter(|line| line.starts_with("| `pubsub_"));
    let documented: Vec<Vec<String>> = rows
        .map(|row| row.trim_matches('|').split('|').map(|cell| cell.replace('`', "").trim().to_owned()).collect())
        .collect();
    let real: Vec<Vec<String>> = names::ALL
        .iter()
        .map(|metric| {
            vec![metric.name.into(), metric.kind.as_str().into(), metric.labels.join(", "), metric.about.into()]
        })
        .collect();
    assert_eq!(documented, real);
    let unique: BTreeSet<_> = names::ALL.iter().map(|metric| metric.name).collect();
    assert_eq!(unique.len(), names::ALL.len());
}

#[tokio::test]
async fn events_are_counted_from_publish_to_dead_letter() {
    let bus = bus().await;
    let handler = |created: Created| async move {
        match created.number {
            0 => Ok(()),
            1 => Err(HandlerError::reject("no")),
            _ => Err(HandlerError::retry_after(Duration::from_secs(3_600), "later")),
        }
    };
    let router: Router = Router::new().group("counted").on(handler);
    let running = router.start(&bus).await.unwrap();
    for number in [0, 0, 1, 2] {
        bus.publish(&Created { number }).await.unwrap();
    }
    let orders = [("adapter", "memory"), ("channel", "orders"), ("group", "counted")];
    until("pubsub_dead_lettered_total", &orders, 1.0).await;
    until("pubsub_retried_total", &orders, 1.0).await;
    until("pubsub_in_flight", &orders, 0.0).await;
    for (name, expected) in [("pubsub_consumed_total", 4.0), ("pubsub_failed_total", 2.0)] {
        assert_eq!(value(name, &orders), expected, "{name}");
    }
    let stats = running.stats("counted", "orders").unwrap();
    assert_eq!((stats.delivered, stats.failed, stats.retried, stats.dead_lettered), (4, 2, 1, 1));
    for (outcome, calls) in [("success", 2.0), ("failure", 2.0)] {
        let labels = [("group", "counted"), ("event", "orders:created"), ("outcome", outcome)];
        assert_eq!(value("pubsub_handler_seconds_count", &labels), calls, "{outcome}");
    }
    let published = [("channel", "_dlq.counted.orders"), ("event", "orders:created")];
    until("pubsub_published_total", &published, 1.0).await;
    assert_eq!(value("pubsub_publish_confirm_seconds_count", &published), 1.0);
    running.drain(SOON).await.unwrap();
}

#[tokio::test]
async fn samples_show_who_is_behind() {
    let bus = bus().await;
    let place = [("channel", "orders"), ("group", "behind")];
    let mut orders = bus.subscribe::<Created>().group("behind").max_in_flight(2).await.unwrap();
    for number in 0..5 {
        bus.publish(&Created { number }).await.unwrap();
    }
    let first = orders.next().await.unwrap().unwrap();
    tokio::time::sleep(Duration::from_millis(20)).await; // it has to be some time old
    let sampler = Sampler::new(&bus);
    sampler.sample().await.unwrap();
    assert_eq!(value("pubsub_in_flight", &place), 1.0);
    // Two are in flight, one of them in the subscription's buffer.
    assert_eq!(value("pubsub_lag", &place), 3.0);
    assert_eq!(bus.lag("orders", "behind").await.unwrap(), 3);
    let age = value("pubsub_oldest_unacked_seconds", &place);
    assert!(age >= 0.02, "{age}");
    assert_eq!(value("pubsub_connected", &[]), 1.0);
    first.ack();
    drop(orders);
    sampler.sample().await.unwrap();
    assert_eq!(value("pubsub_lag", &place), 0.0, "who has ended is not behind");
    assert_eq!(value("pubsub_oldest_unacked_seconds", &place), 0.0);
    assert_eq!(bus.lag("orders", "behind").await.unwrap(), 4, "but its group is");
    assert_eq!(bus.lag("orders", "nobody").await.unwrap_err().kind(), pubsub::ErrorKind::NotFound);
}

#[tokio::test]
async fn calls_are_counted_until_nothing_is_left_of_them() {
    #[pubsub::event(name = "quotes:get", reply = u32)]
    struct GetQuote {
        millis: u64,
    }
    let bus = bus().await;
    let rpc = EventRpc::new(&bus);
    let responder = rpc
        .respond::<GetQuote, _, _>("quoting", |asked| async move {
            tokio::time::sleep(Duration::from_millis(asked.millis)).await;
            if asked.millis == 0 { Ok(1) } else { Err(Failure::internal("too slow")) }
        })
        .await
        .unwrap();
    rpc.request(&GetQuote { millis: 0 }).await.unwrap();
    let slow = GetQuote { millis: 5_000 };
    let call = rpc.request(&slow).timeout(Duration::from_millis(100));
    let (called, ()) = tokio::join!(call, until("pubsub_rpc_pending", &[], 1.0));
    called.unwrap_err();
    assert_eq!(value("pubsub_rpc_pending", &[]), 0.0);
    assert_eq!(value("pubsub_rpc_timeouts_total", &[]), 1.0);
    let quoting = [("channel", "quotes"), ("group", "quoting")];
    until("pubsub_requests_expired_total", &quoting, 1.0).await;
    assert_eq!(value("pubsub_handler_seconds_count", &[("group", "quoting"), ("outcome", "success")]), 1.0);
    assert_eq!(rpc.stats().timeouts, 1);
    responder.stop().await;
}

#[tokio::test]
async fn the_number_of_series_is_bounded() {
    let bus = bus().await;
    let publish = |channel: String, event: String| {
        let channel = pubsub::ChannelName::parse(&channel).unwrap();
        bus.publish_envelope(Envelope::new(EventName::parse(&event).unwrap(), channel, Payload::json("1")))
    };
    for number in 0..300 {
        publish("many-events".into(), format!("many:{number}")).await.unwrap();
    }
    for number in 0..1_100 {
        publish(format!("many.{number}"), "many:of".into()).await.unwrap();
    }
    let named = |label: &str, prefix: &str| {
        let all = shown().into_iter().filter(|(name, ..)| name == "pubsub_published_total");
        all.filter_map(|(_, mut labels, _)| labels.remove(label)).filter(|is| is.starts_with(prefix)).count()
    };
    assert_eq!(named("event", "many:"), 256 + 1_000, "999 channels beside the first one, and the others");
    assert_eq!(value("pubsub_published_total", &[("channel", "many-events"), ("event", "(other)")]), 44.0);
    assert_eq!(value("pubsub_published_total", &[("channel", "(other)")]), 101.0);
}

#[tokio::test]
async fn every_metric_is_shown_with_its_labels() {
    LazyLock::force(&RECORDER);
    let builder = pubsub::builder("memory:").await.unwrap();
    let bus = builder.policy("refused", ChannelPolicy::new().max_payload(1)).unwrap().build();
    let file = std::env::temp_dir().join(format!("pubsub-metrics-{}.db", std::process::id()));
    let pool = sqlx::SqlitePool::connect(&format!("sqlite:{}?mode=rwc", file.display())).await.unwrap();
    let database = Database::from(pool.clone());
    database.migrate().await.unwrap();
    let outbox = SqlOutbox::new(&bus, &database);
    let mut tx = pool.begin().await.unwrap();
    outbox.publish(&mut *tx, &Created { number: 0 }).await.unwrap();
    tx.commit().await.unwrap();
    let router: Router = Router::new().group("all").on(|_: Created| async {});
    let running = router.start(&bus).await.unwrap();
    let _rpc = EventRpc::new(&bus);
    let sampler = Sampler::new(&bus).outbox(outbox.clone());
    sampler.sample().await.unwrap();
    assert_eq!(value("pubsub_outbox_depth", &[]), 1.0);
    let relay = outbox.relay();
    let (stop, stopped) = oneshot::channel::<()>();
    let relaying = tokio::spawn(relay.run(async { drop(stopped.await) }));
    until("pubsub_outbox_sent_total", &[], 1.0).await;
    until("pubsub_handler_seconds_count", &[("group", "all"), ("outcome", "success")], 1.0).await;
    sampler.sample().await.unwrap();
    assert_eq!(value("pubsub_outbox_depth", &[]), 0.0);
    let channel = pubsub::ChannelName::parse("refused").unwrap();
    let refused = Envelope::new(EventName::parse("refused:event").unwrap(), channel, Payload::json("123"));
    bus.publish_envelope(refused).await.unwrap_err();
    assert_eq!(value("pubsub_publish_failures_total", &[("kind", "too_large"), ("channel", "refused")]), 1.0);
    drop(stop);
    relaying.await.unwrap().unwrap();
    running.drain(SOON).await.unwrap();
    pool.close().await;
    for ending in ["", "-wal", "-shm"] {
        std::fs::remove_file(format!("{}{ending}", file.display())).ok();
    }

    let all = shown();
    for metric in names::ALL {
        let ending = if metric.kind == MetricKind::Histogram { "_count" } else { "" };
        let found = all.iter().find(|(name, ..)| name.strip_prefix(metric.name) == Some(ending));
        let Some((_, labels, _)) = found else { panic!("{} is not shown", metric.name) };
        let expected: BTreeSet<_> = metric.labels.iter().map(|label| (*label).to_owned()).collect();
        assert_eq!(labels.keys().cloned().collect::<BTreeSet<_>>(), expected, "{}", metric.name);
    }
    let foreign = all.iter().find(|(name, ..)| !names::ALL.iter().any(|metric| name.starts_with(metric.name)));
    assert_eq!(foreign, None);
}
