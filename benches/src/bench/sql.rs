//! The relay of an outbox, beside the bare statements that it cannot do without.

use std::{
    fmt::Display,
    sync::atomic::{AtomicUsize, Ordering},
    time::{Duration, Instant},
};

use pubsub::{
    PubSub,
    sql::{Connection, Database, Retention, SqlOutbox, sqlx},
    wire::document,
};
use pubsub_benches::{
    event::{Order, order},
    names, pairs,
};
use tokio::{runtime::Runtime, sync::oneshot, task::JoinHandle};

use crate::{args::Options, case::Case};

const SIZE: usize = 256;
const WINDOW: i64 = 256;
type Outcome<T> = Result<T, String>;

/// The cases of a database that is there.
pub(crate) fn cases(database: &'static str, options: &Options) -> Outcome<Vec<Case>> {
    let url = match database {
        "postgres" => std::env::var("PUBSUB_TEST_POSTGRES_URL")
            .map_err(|_| "postgres: PUBSUB_TEST_POSTGRES_URL names no server".to_owned())?,
        _ => "sqlite".to_owned(),
    };
    let (rows, lone) = if options.quick { (4_000, 50) } else { (20_000, 300) };
    let limits = options.limits;
    let rate = {
        let url = url.clone();
        move |pairs| {
            let runtime = runtime();
            let ours =
                || if limits { Ok([f64::NAN]) } else { runtime.block_on(relayed(&url, rows)).map(|rate| [rate]) };
            pairs::try_run(pairs, ours, || runtime.block_on(bare(&url, rows)).map(|rate| [rate]))
                .map(|row| row.to_vec())
        }
    };
    let latency = move |pairs| {
        let runtime = runtime();
        let ours = || if limits { Ok([f64::NAN; 2]) } else { runtime.block_on(alone(&url, lone)) };
        pairs::try_run(pairs, ours, || runtime.block_on(committed(&url, lone))).map(|rows| rows.to_vec())
    };
    let row = |operation: &str, unit| (names::case(database, operation, SIZE), unit);
    Ok(vec![
        Case { rows: vec![row("relay", "events/s")], measure: Box::new(rate) },
        Case {
            rows: vec![row("lone-p50", "us (less is better)"), row("lone-p99", "us (less is better)")],
            measure: Box::new(latency),
        },
    ])
}

fn runtime() -> Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap()
}

fn told(error: impl Display) -> String {
    error.to_string()
}

/// A database with an empty outbox, and a bus in memory.
struct Place {
    bus: PubSub,
    database: Database,
    outbox: SqlOutbox,
    file: Option<std::path::PathBuf>,
}

impl Place {
    async fn open(url: &str) -> Outcome<Self> {
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        let name = format!("pubsub-bench-{}-{}.db", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let file = (url == "sqlite").then(|| std::env::temp_dir().join(name));
        let url = file.as_ref().map_or_else(|| url.to_owned(), |file| format!("sqlite:{}", file.display()));
        let database = Database::connect(&url).await.map_err(told)?;
        database.migrate().await.map_err(told)?;
        let bus = pubsub::connect("memory:").await.map_err(told)?;
        let outbox = SqlOutbox::new(&bus, &database).retention(Retention::default());
        let mut tx = database.begin().await.map_err(told)?;
        run(tx.connection(), "DELETE FROM pubsub_outbox").await?;
        tx.commit().await.map_err(told)?;
        Ok(Self { bus, database, outbox, file })
    }

    async fn fill(&self, rows: usize) -> Outcome<()> {
        let event = order(SIZE);
        for part in (0..rows).step_by(1_000) {
            let mut tx = self.database.begin().await.map_err(told)?;
            for _ in part..rows.min(part + 1_000) {
                self.outbox.publish(&mut tx, &event).await.map_err(told)?;
            }
            tx.commit().await.map_err(told)?;
        }
        Ok(())
    }

    fn relay(&self) -> (oneshot::Sender<()>, JoinHandle<pubsub::Result<()>>) {
        let (stop, stopped) = oneshot::channel::<()>();
        (stop, tokio::spawn(self.outbox.relay().run(async { drop(stopped.await) })))
    }

    async fn close(self) {
        self.database.close().await;
        for ending in ["", "-wal", "-shm"] {
            if let Some(file) = &self.file {
                std::fs::remove_file(format!("{}{ending}", file.display())).ok();
            }
        }
    }
}

/// From the start of the relay until every row is marked.
async fn relayed(url: &str, rows: usize) -> Outcome<f64> {
    let place = Place::open(url).await?;
    place.fill(rows).await?;
    let started = Instant::now();
    let (stop, relay) = place.relay();
    while place.outbox.backlog().await.map_err(told)?.depth > 0 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let rate = rows as f64 / started.elapsed().as_secs_f64();
    drop(stop);
    relay.await.map_err(told)?.map_err(told)?;
    place.close().await;
    Ok(rate)
}

/// The same rows read, published and marked by two statements a window, with nothing around them.
async fn bare(url: &str, rows: usize) -> Outcome<f64> {
    let place = Place::open(url).await?;
    place.fill(rows).await?;
    let started = Instant::now();
    let mut left = rows;
    while left > 0 {
        let mut tx = place.database.begin().await.map_err(told)?;
        let window: Vec<(i64, Vec<u8>)> = match tx.connection() {
            Connection::Sqlite(connection) => sqlx::query_as(READ).bind(WINDOW).fetch_all(connection).await,
            Connection::Postgres(connection) => sqlx::query_as(READ).bind(WINDOW).fetch_all(connection).await,
            _ => return Err("there are two databases".to_owned()),
        }
        .map_err(told)?;
        for (_, envelope) in &window {
            let envelope = document::decode(envelope).map_err(told)?;
            place.bus.publish_envelope(envelope).await.map_err(told)?;
        }
        let (Some((first, _)), Some((last, _))) = (window.first(), window.last()) else { break };
        match tx.connection() {
            Connection::Sqlite(connection) => {
                sqlx::query(MARK).bind(first).bind(last).execute(connection).await.map(drop)
            }
            Connection::Postgres(connection) => {
                sqlx::query(MARK).bind(first).bind(last).execute(connection).await.map(drop)
            }
            _ => return Err("there are two databases".to_owned()),
        }
        .map_err(told)?;
        tx.commit().await.map_err(told)?;
        left -= window.len();
    }
    let rate = rows as f64 / started.elapsed().as_secs_f64();
    place.close().await;
    Ok(rate)
}

const READ: &str = "SELECT seq, envelope FROM pubsub_outbox WHERE state = 0 ORDER BY seq LIMIT $1";
const MARK: &str = "UPDATE pubsub_outbox SET state = 1, settled = 0 WHERE state = 0 AND seq BETWEEN $1 AND $2";

/// One event at a time, from the beginning of its transaction until a subscriber has it: median and 99th percentile.
async fn alone(url: &str, count: usize) -> Outcome<[f64; 2]> {
    let place = Place::open(url).await?;
    let mut events = place.bus.subscribe::<Order>().group("g").await.map_err(told)?;
    let (stop, relay) = place.relay();
    let (event, mut samples) = (order(SIZE), Vec::new());
    for _ in 0..count {
        // A relay that is idle: the last event is marked by then.
        tokio::time::sleep(Duration::from_millis(10)).await;
        let started = Instant::now();
        let mut tx = place.database.begin().await.map_err(told)?;
        place.outbox.publish(&mut tx, &event).await.map_err(told)?;
        tx.commit().await.map_err(told)?;
        let received = events.next().await.ok_or("the bus is closed")?.map_err(told)?;
        samples.push(started.elapsed().as_secs_f64() * 1e6);
        received.ack();
    }
    drop(stop);
    relay.await.map_err(told)?.map_err(told)?;
    place.close().await;
    Ok(quantiles(samples))
}

/// The transaction alone.
async fn committed(url: &str, count: usize) -> Outcome<[f64; 2]> {
    let place = Place::open(url).await?;
    let (event, mut samples) = (order(SIZE), Vec::new());
    for _ in 0..count {
        let started = Instant::now();
        let mut tx = place.database.begin().await.map_err(told)?;
        place.outbox.publish(&mut tx, &event).await.map_err(told)?;
        tx.commit().await.map_err(told)?;
        samples.push(started.elapsed().as_secs_f64() * 1e6);
    }
    place.close().await;
    Ok(quantiles(samples))
}

fn quantiles(mut samples: Vec<f64>) -> [f64; 2] {
    [0.5, 0.99].map(|part| pairs::quantile(&mut samples, part))
}

async fn run(connection: Connection<'_>, statement: &'static str) -> Outcome<()> {
    match connection {
        Connection::Sqlite(connection) => sqlx::query(statement).execute(connection).await.map(drop),
        Connection::Postgres(connection) => sqlx::query(statement).execute(connection).await.map(drop),
        _ => return Err("there are two databases".to_owned()),
    }
    .map_err(told)
}
