//! What the tests on both databases share: a fresh database for each case, a bus that fails on demand, a relay that ends.
#![allow(dead_code, reason = "no suite uses all of it")]

pub(crate) mod gate;

use std::{
    env, fs,
    path::PathBuf,
    process::{self, ExitCode},
    sync::{
        Mutex,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use libtest_mimic::{Arguments, Completion, Failed, Trial};
use pubsub_adapters::memory::{Memory, MemoryOptions};
use pubsub_core::{
    ChannelName, Envelope, EventId, EventName, Key, Payload, PubSub, Result, driver::BoxFuture, store::Outbox,
};
use pubsub_sql::{Connection, Database, Relay, RelayWatch, SqlOutbox, sqlx};
use pubsub_testkit::postgres::{self, Postgres, PostgresError, PostgresOptions};
use tokio::{
    sync::oneshot,
    task::JoinHandle,
    time::{Instant, sleep, timeout},
};

/// No case takes longer unless it hangs.
const CASE: Duration = Duration::from_secs(90);
/// No condition takes longer to come true.
const SOON: Duration = Duration::from_secs(20);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Sqlite,
    Postgres,
}

/// A name, and what is asserted on a database.
pub(crate) type Case = (&'static str, fn(Stage) -> BoxFuture<'static, ()>);

/// Makes a case of an async function.
#[macro_export]
macro_rules! case {
    ($($path:ident)::+) => {
        (concat!($("::", stringify!($path)),+), |stage| Box::pin($($path)::+(stage)))
    };
}

/// The server of this process, if it had to start one.
static SERVER: Mutex<Option<Postgres>> = Mutex::new(None);

/// The server that the environment names, or one of our own.
fn server() -> std::result::Result<String, String> {
    let root = |url: &str| url.trim_end_matches('/').to_owned();
    if let Some(url) = postgres::url_from_environment() {
        return Ok(root(&url));
    }
    let mut server = SERVER.lock().unwrap();
    if server.is_none() {
        match Postgres::start(&PostgresOptions::new()) {
            Ok(started) => *server = Some(started),
            Err(missing @ PostgresError::Missing { .. }) if !postgres::is_required() => return Err(missing.to_string()),
            Err(fault) => panic!("{fault}"),
        }
    }
    Ok(root(&server.as_ref().unwrap().url("")))
}

/// A static is not dropped by itself.
pub(crate) fn stop_server() {
    drop(SERVER.lock().unwrap().take());
}

/// The `main` of a suite: every case on a database of its own.
pub(crate) fn suite(kind: Kind, cases: &[Case]) -> ExitCode {
    let mut arguments = Arguments::from_args();
    // Cases wait more than they work.
    arguments.test_threads.get_or_insert(4);
    let trials = cases.iter().map(|&(name, case)| {
        Trial::ignorable_test(name.trim_start_matches(':').replace("cases::", ""), move || {
            let runtime = tokio::runtime::Runtime::new()?;
            let outcome = runtime.block_on(async {
                let stage = match Stage::open(kind).await {
                    Ok(stage) => stage,
                    Err(missing) => return Ok(Completion::ignored_with(missing)),
                };
                match timeout(CASE, tokio::spawn(case(stage))).await {
                    Ok(Ok(())) => Ok(Completion::Completed),
                    Ok(Err(panic)) => Err(Failed::from(panic_text(panic))),
                    Err(_) => Err(Failed::from(format!("still running after {CASE:?}"))),
                }
            });
            runtime.shutdown_timeout(Duration::from_secs(1));
            outcome
        })
    });
    let conclusion = libtest_mimic::run(&arguments, trials.collect());
    stop_server();
    conclusion.exit_code()
}

fn panic_text(panic: tokio::task::JoinError) -> String {
    let payload = panic.into_panic();
    let text = payload.downcast_ref::<String>().cloned();
    text.or_else(|| payload.downcast_ref::<&str>().map(|text| (*text).to_owned())).unwrap_or_default()
}

/// A database of its own, with the tables made.
pub(crate) struct Stage {
    pub(crate) kind: Kind,
    pub(crate) url: String,
    pub(crate) database: Database,
    home: Option<PathBuf>,
}

impl Stage {
    pub(crate) async fn open(kind: Kind) -> std::result::Result<Self, String> {
        static OPENED: AtomicU32 = AtomicU32::new(0);
        let name = format!("pubsub_sql_{}_{}", process::id(), OPENED.fetch_add(1, Ordering::Relaxed));
        let (url, home) = match kind {
            Kind::Sqlite => {
                let home = env::temp_dir().join(&name);
                fs::create_dir_all(&home).unwrap();
                (format!("sqlite:{}", home.join("test.db").display()), Some(home))
            }
            Kind::Postgres => {
                let server = tokio::task::spawn_blocking(server).await.unwrap()?;
                let mut root =
                    <sqlx::PgConnection as sqlx::Connection>::connect(&format!("{server}/postgres")).await.unwrap();
                let make = sqlx::AssertSqlSafe(format!("CREATE DATABASE {name}"));
                sqlx::query(make).execute(&mut root).await.unwrap();
                (format!("{server}/{name}"), None)
            }
        };
        let database = Database::connect(&url).await.unwrap();
        database.migrate().await.unwrap();
        let stage = Self { kind, url, database, home };
        stage.run("CREATE TABLE things (n BIGINT NOT NULL)").await;
        Ok(stage)
    }

    /// Another handle to the same database, as another process has it.
    pub(crate) async fn replica(&self) -> Database {
        Database::connect(&self.url).await.unwrap()
    }

    pub(crate) async fn run(&self, statement: &'static str) {
        let mut tx = self.database.begin().await.unwrap();
        run(tx.connection(), statement).await;
        tx.commit().await.unwrap();
    }

    /// The number that a query gives.
    pub(crate) async fn number(&self, query: &'static str) -> i64 {
        let mut tx = self.database.begin().await.unwrap();
        let (number,): (i64,) = match tx.connection() {
            Connection::Sqlite(connection) => sqlx::query_as(query).fetch_one(connection).await.unwrap(),
            Connection::Postgres(connection) => sqlx::query_as(query).fetch_one(connection).await.unwrap(),
            _ => unreachable!("there are two databases"),
        };
        tx.rollback().await.unwrap();
        number
    }

    pub(crate) async fn things(&self) -> i64 {
        self.number("SELECT COUNT(*) FROM things").await
    }

    /// Commits one event in a transaction of its own.
    pub(crate) async fn put(&self, outbox: &SqlOutbox, event: Envelope) -> EventId {
        let mut tx = self.database.begin().await.unwrap();
        let id = outbox.publish_envelope(&mut tx, event).await.unwrap();
        tx.commit().await.unwrap();
        id
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        if let Some(home) = &self.home {
            fs::remove_dir_all(home).ok();
        }
    }
}

pub(crate) async fn run(connection: Connection<'_>, statement: &'static str) {
    match connection {
        Connection::Sqlite(connection) => drop(sqlx::query(statement).execute(connection).await.unwrap()),
        Connection::Postgres(connection) => drop(sqlx::query(statement).execute(connection).await.unwrap()),
        _ => unreachable!("there are two databases"),
    }
}

/// A private bus in memory.
pub(crate) fn memory() -> PubSub {
    PubSub::new(Memory::open(MemoryOptions::new()).unwrap())
}

/// An event on `channel` whose payload is `n`.
pub(crate) fn event(channel: &str, n: u32, key: Option<&str>) -> Envelope {
    let name = EventName::parse("thing:made").unwrap();
    let mut envelope = Envelope::new(name, ChannelName::parse(channel).unwrap(), Payload::json(n.to_string()));
    envelope.key = key.map(|key| Key::new(key).unwrap());
    envelope
}

/// The number that such an event carries.
pub(crate) fn number_of(payload: &Payload) -> u32 {
    match payload {
        Payload::Data { bytes, .. } => std::str::from_utf8(bytes).unwrap().parse().unwrap(),
        Payload::Tombstone => panic!("a tombstone has no number"),
    }
}

/// Waits until a condition holds.
pub(crate) async fn eventually<F: Future<Output = bool>>(what: &str, mut holds: impl FnMut() -> F) {
    let deadline = Instant::now() + SOON;
    while !holds().await {
        assert!(Instant::now() < deadline, "not within {SOON:?}: {what}");
        sleep(Duration::from_millis(5)).await;
    }
}

/// Waits until nothing is left to be published.
pub(crate) async fn drained(outbox: &SqlOutbox) {
    eventually("the outbox is empty", || async { Outbox::backlog(outbox).await.unwrap().depth == 0 }).await;
}

/// A relay in a task of its own.
pub(crate) struct Running {
    pub(crate) watch: RelayWatch,
    stop: oneshot::Sender<()>,
    task: JoinHandle<Result<()>>,
}

impl Running {
    pub(crate) fn start(relay: Relay) -> Self {
        let (stop, stopped) = oneshot::channel();
        let watch = relay.watch();
        let task = tokio::spawn(relay.run(async { drop(stopped.await) }));
        Self { watch, stop, task }
    }

    pub(crate) async fn stop(self) {
        drop(self.stop);
        self.task.await.unwrap().unwrap();
    }

    /// As if its process had been killed.
    pub(crate) async fn kill(self) {
        self.task.abort();
        assert!(self.task.await.unwrap_err().is_cancelled());
    }

    pub(crate) async fn end(self) -> Result<()> {
        timeout(SOON, self.task).await.unwrap().unwrap()
    }
}
