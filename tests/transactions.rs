//! Actions of the web edge that work in a transaction: effect, answer and events are one commit.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use std::{
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use pubsub::{
    Catalog, Emitter, EventRpc, Failure, HandlerError, PubSub, Router, Running,
    server::{Server, WebPolicy},
    sql::{Connection, Database, SqlActions, SqlOutbox, Tx, sqlx},
};
use serde_json::{Value, json};

const SOON: Duration = Duration::from_secs(20);

#[pubsub::event("orders:place", direction = "cse", reply = Placed)]
struct Place {
    number: i64,
}

#[pubsub::payload]
struct Placed {
    rows: i64,
}

#[pubsub::event("orders:placed", direction = "sse")]
struct OrderPlaced {
    number: i64,
}

fn written_for_sqlite(connection: Connection<'_>) -> &mut sqlx::SqliteConnection {
    match connection {
        Connection::Sqlite(connection) => connection,
        _ => panic!("the test is on SQLite"),
    }
}

/// Writes first, so that a failure has something to take back.
async fn place(order: Place, tx: Tx, emit: Emitter) -> Result<Placed, HandlerError> {
    let mut tx = tx.begin().await?;
    let connection = written_for_sqlite(tx.connection());
    sqlx::query("INSERT INTO orders (number) VALUES ($1)").bind(order.number).execute(&mut *connection).await?;
    if order.number < 0 {
        return Err(Failure::bad_request("no such number").into());
    }
    let (rows,) = sqlx::query_as("SELECT COUNT(*) FROM orders").fetch_one(connection).await?;
    emit.emit(&OrderPlaced { number: order.number })?;
    Ok(Placed { rows })
}

/// A folder that goes with the test.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let name = format!("pubsub-transactions-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let folder = std::env::temp_dir().join(name);
        std::fs::create_dir_all(&folder).unwrap();
        Self(folder)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

struct Shop {
    bus: PubSub,
    database: Database,
    outbox: SqlOutbox,
    _running: Running,
    server: Server,
    url: String,
}

impl Shop {
    async fn open(file: &Path) -> Self {
        let catalog = Catalog::new().with::<Place>().unwrap().with::<OrderPlaced>().unwrap();
        let bus = pubsub::builder("memory:").await.unwrap().catalog(catalog).build();
        let database = Database::connect(&format!("sqlite://{}?mode=rwc", file.display())).await.unwrap();
        database.migrate().await.unwrap();
        let mut tx = database.begin().await.unwrap();
        let create = sqlx::query("CREATE TABLE IF NOT EXISTS orders (number INTEGER NOT NULL)");
        create.execute(written_for_sqlite(tx.connection())).await.unwrap();
        tx.commit().await.unwrap();
        let outbox = SqlOutbox::new(&bus, &database);
        let actions: Router = Router::new().group("shop").concurrency(16).action(place);
        let running = actions.start(&bus).await.unwrap();
        let server = Server::builder(&bus)
            .channel(WebPolicy::public("orders"))
            .actions(running.clone())
            .transactions(Arc::new(SqlActions::new(&outbox)))
            .build()
            .unwrap();
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        tokio::spawn(pubsub::server::serve(listener, server.router(), std::future::pending()));
        Self { bus, database, outbox, _running: running, server, url }
    }

    async fn send(&self, number: i64, id: Option<&str>) -> (u16, Value) {
        let body = json!({ "name": "orders:place", "payload": { "number": number }, "clientEventId": id });
        let body = if id.is_some() { body } else { json!({ "name": "orders:place", "payload": { "number": number } }) };
        let answer = reqwest::Client::new().post(format!("{}/events", self.url)).json(&body).send().await.unwrap();
        (answer.status().as_u16(), answer.json().await.unwrap())
    }

    /// Orders, and events that wait for a relay.
    async fn rows(&self) -> (i64, u64) {
        let mut tx = self.database.begin().await.unwrap();
        let count = sqlx::query_as("SELECT COUNT(*) FROM orders").fetch_one(written_for_sqlite(tx.connection())).await;
        tx.rollback().await.unwrap();
        let (orders,): (i64,) = count.unwrap();
        (orders, self.outbox.backlog().await.unwrap().depth)
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn effect_answer_and_events_are_one_commit() {
    let folder = Folder::new();
    let shop = Shop::open(&folder.0.join("shop.db")).await;
    let mut events = shop.bus.subscribe_channel("orders").group("reader").await.unwrap();

    let (status, first) = shop.send(7, Some("order-7")).await;
    assert_eq!((status, &first["result"]), (200, &json!({ "rows": 1 })), "{first}");
    let names: Vec<_> = first["emittedEvents"].as_array().unwrap().iter().map(|event| &event["name"]).collect();
    assert_eq!(names, ["orders:place", "orders:placed"]);
    assert_eq!(first["eventId"], first["emittedEvents"][0]["id"]);
    assert_eq!(shop.rows().await, (1, 2), "both events wait for the relay");

    // Twelve at once are answered as the first.
    let again = futures_util::future::join_all((0..12).map(|_| shop.send(7, Some("order-7")))).await;
    for (status, answer) in again {
        assert_eq!((status, &answer["duplicate"], &answer["eventId"]), (200, &json!(true), &first["eventId"]));
        assert_eq!(answer["result"], first["result"]);
    }
    assert_eq!(shop.send(8, Some("order-7")).await.0, 409, "another payload");
    assert_eq!(shop.rows().await, (1, 2));

    // The relay publishes them in their order.
    let relay = tokio::spawn(shop.outbox.relay().run(std::future::pending()));
    for name in ["orders:place", "orders:placed"] {
        let event = events.next_timeout(SOON).await.unwrap().unwrap();
        assert_eq!(event.message().name().as_str(), name);
        event.ack();
    }
    relay.abort();

    // Another process over the same database gives the same answer.
    let other = Shop::open(&folder.0.join("shop.db")).await;
    let (_, answer) = other.send(7, Some("order-7")).await;
    assert_eq!((&answer["duplicate"], &answer["eventId"]), (&json!(true), &first["eventId"]));
    assert_eq!(other.server.streams(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_at_once_with_one_id_are_one_order() {
    let folder = Folder::new();
    let shop = Shop::open(&folder.0.join("shop.db")).await;
    let all = futures_util::future::join_all((0..12).map(|_| shop.send(1, Some("once")))).await;
    let fresh = all.iter().filter(|(status, answer)| *status == 200 && answer["duplicate"] == json!(false)).count();
    assert_eq!((all.iter().all(|(status, _)| *status == 200), fresh), (true, 1), "{all:?}");
    assert_eq!(shop.rows().await, (1, 2));
    // Without an id each is one of its own.
    for _ in 0..2 {
        assert_eq!(shop.send(1, None).await.0, 200);
    }
    assert_eq!(shop.rows().await, (3, 6));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_action_that_fails_leaves_nothing_and_may_be_tried_again() {
    let folder = Folder::new();
    let shop = Shop::open(&folder.0.join("shop.db")).await;
    for _ in 0..2 {
        let (status, answer) = shop.send(-1, Some("bad")).await;
        assert_eq!((status, &answer["error"]["message"]), (400, &json!("no such number")));
        assert_eq!(shop.rows().await, (0, 0));
    }
    // The id is free: a failure is not remembered.
    assert_eq!(shop.send(2, Some("bad")).await.0, 200);
    assert_eq!(shop.rows().await, (1, 2));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_that_came_by_the_broker_has_no_transaction() {
    let folder = Folder::new();
    let shop = Shop::open(&folder.0.join("shop.db")).await;
    let refused = EventRpc::new(&shop.bus).request(&Place { number: 3 }).timeout(SOON).await;
    assert!(refused.is_err());
    assert_eq!(shop.rows().await, (0, 0));
}
