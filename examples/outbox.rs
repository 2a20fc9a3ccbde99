//! An order and the event that tells of it, committed together; an invoice for it, written once:
//! `cargo run --features sql --example outbox`. SQLite in a temporary file; `postgres://…` is a change of the address.
#![allow(clippy::print_stdout)] // it talks to a terminal

use std::time::Duration;

use pubsub::sql::{Database, Inbox, Retention, SqlOutbox, sqlx};
use sqlx::SqlitePool;
use tokio::sync::oneshot;

type Failure = Box<dyn std::error::Error + Send + Sync>;

#[pubsub::event("orders:created")]
struct OrderCreated {
    #[event(key)]
    order_id: i64,
    total: i64,
}

#[tokio::main]
async fn main() -> Result<(), Failure> {
    let file = std::env::temp_dir().join(format!("pubsub-outbox-{}.db", std::process::id()));
    let pool = SqlitePool::connect(&format!("sqlite:{}?mode=rwc", file.display())).await?;
    sqlx::query("PRAGMA journal_mode = WAL").execute(&pool).await?;
    sqlx::query("CREATE TABLE orders (id INTEGER PRIMARY KEY, total INTEGER NOT NULL)").execute(&pool).await?;
    sqlx::query("CREATE TABLE invoices (order_id INTEGER NOT NULL)").execute(&pool).await?;
    let database = Database::from(pool.clone());
    database.migrate().await?;

    let bus = pubsub::connect("memory:").await?;
    // Before the relay: in memory a row counts as sent when the groups that exist have settled it.
    let mut orders = bus.subscribe::<OrderCreated>().group("billing").await?;
    let outbox = SqlOutbox::new(&bus, &database).retention(Retention::default());

    // Ten orders; every third is rolled back, and its event with it.
    for id in 1..=10_i64 {
        let mut tx = pool.begin().await?;
        sqlx::query("INSERT INTO orders VALUES ($1, $2)").bind(id).bind(id * 10).execute(&mut *tx).await?;
        outbox.publish(&mut *tx, &OrderCreated { order_id: id, total: id * 10 }).await?;
        if id % 3 == 0 { tx.rollback().await? } else { tx.commit().await? }
    }
    println!("committed, not yet published: {} events", outbox.backlog().await?.depth);

    let (stop, stopped) = oneshot::channel::<()>();
    let relay = tokio::spawn(outbox.relay().run(async { drop(stopped.await) }));

    // The consumer is unlucky: of each first delivery the acknowledgement is lost after its effect was committed.
    let inbox = Inbox::new("billing")?;
    let mut known = 0;
    while outbox.backlog().await?.depth > 0 {
        let next = tokio::time::timeout(Duration::from_millis(100), orders.next());
        let Ok(Some(order)) = next.await else { continue };
        let order = order?;
        let mut tx = pool.begin().await?;
        let first = inbox.first(&mut *tx, order.message()).await?;
        if first {
            sqlx::query("INSERT INTO invoices VALUES ($1)").bind(order.order_id).execute(&mut *tx).await?;
        }
        tx.commit().await?;
        if first {
            drop(order); // unsettled: it comes again
        } else {
            known += 1;
            order.ack();
        }
    }
    drop(stop);
    relay.await??;

    let count = async |query| sqlx::query_scalar::<_, i64>(query).fetch_one(&pool).await;
    let (orders, invoices) =
        (count("SELECT COUNT(*) FROM orders").await?, count("SELECT COUNT(DISTINCT order_id) FROM invoices").await?);
    let written = count("SELECT COUNT(*) FROM invoices").await?;
    println!("orders: {orders}, invoices: {written} for {invoices} orders, copies that the inbox knew: {known}");
    if (orders, written) != (invoices, invoices) {
        return Err("an order has no invoice, or more than one".into());
    }
    println!("each order that was committed has one invoice");

    bus.close(Duration::from_secs(5)).await?;
    pool.close().await;
    for ending in ["", "-wal", "-shm"] {
        std::fs::remove_file(format!("{}{ending}", file.display())).ok();
    }
    Ok(())
}
