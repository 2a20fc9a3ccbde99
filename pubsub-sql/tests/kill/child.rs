//! The process that is killed: it writes, relays and consumes as an application does.

use std::time::Duration;

use pubsub_core::{Events, PubSub, Raw};
use pubsub_sql::{Connection, Database, Inbox, SqlOutbox, sqlx};

use crate::support::{Running, drained, event, memory, number_of};

pub(crate) struct Job {
    pub(crate) url: String,
    /// The number of the first row that it writes.
    pub(crate) first: i64,
    /// Whether its consumer has an inbox.
    pub(crate) inbox: bool,
}

struct App {
    database: Database,
    outbox: SqlOutbox,
    events: Events<Raw>,
    relay: Running,
}

async fn start(job: &Job) -> App {
    let database = Database::connect(&job.url).await.unwrap();
    let bus: PubSub = memory();
    // Before the relay: rows count as sent when the groups that exist have settled them.
    let events = bus.subscribe_channel("things").group("billing").await.unwrap();
    let outbox = SqlOutbox::new(&bus, &database);
    // Whoever was killed still has the lease.
    let relay = outbox.relay().lease(Duration::from_millis(150)).poll(Duration::from_millis(20));
    App { database, relay: Running::start(relay), outbox, events }
}

/// Works until it is killed. Says so when it begins.
#[allow(clippy::print_stdout, reason = "its parent reads it")]
pub(crate) async fn work_until_killed(job: &Job) {
    let App { database, outbox, events, relay } = start(job).await;
    println!("at work");
    tokio::join!(write(&database, &outbox, job.first), consume(&database, events, job.inbox));
    relay.stop().await;
}

/// Publishes and consumes what is left.
pub(crate) async fn finish(job: &Job) {
    let App { database, outbox, events, relay } = start(job).await;
    tokio::select! {
        () = drained(&outbox) => {}
        () = consume(&database, events, job.inbox) => {}
    }
    relay.stop().await;
}

async fn write(database: &Database, outbox: &SqlOutbox, first: i64) {
    for n in first.. {
        let mut tx = database.begin().await.unwrap();
        insert(tx.connection(), "INSERT INTO things VALUES ($1)", n).await;
        let event = event("things", u32::try_from(n).unwrap(), None);
        outbox.publish_envelope(&mut tx, event).await.unwrap();
        if n % 7 == 0 {
            tx.rollback().await.unwrap();
        } else {
            tx.commit().await.unwrap();
        }
        // The consumer should not fall behind for ever.
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

async fn consume(database: &Database, mut events: Events<Raw>, with_inbox: bool) {
    let inbox = Inbox::new("billing").unwrap();
    while let Some(received) = events.next().await.transpose().unwrap() {
        let n = i64::from(number_of(received.payload()));
        let mut tx = database.begin().await.unwrap();
        let first = !with_inbox || inbox.first(&mut tx, received.message()).await.unwrap();
        let statement = if first { "INSERT INTO effects VALUES ($1)" } else { "INSERT INTO copies VALUES ($1)" };
        insert(tx.connection(), statement, n).await;
        tx.commit().await.unwrap();
        received.ack();
    }
}

async fn insert(connection: Connection<'_>, statement: &'static str, n: i64) {
    match connection {
        Connection::Sqlite(connection) => drop(sqlx::query(statement).bind(n).execute(connection).await.unwrap()),
        Connection::Postgres(connection) => drop(sqlx::query(statement).bind(n).execute(connection).await.unwrap()),
        _ => unreachable!("there are two databases"),
    }
}
