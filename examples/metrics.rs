//! What Prometheus scrapes: `cargo run -p pubsub-examples --features metrics,sql --example metrics`. It works for a moment,
//! scrapes itself, and ends; with `--listen 127.0.0.1:9102` it goes on until Ctrl-C. `docs/grafana/pubsub.json` shows what it
//! serves.
#![allow(clippy::print_stdout)] // it talks to a terminal

use std::{future::pending, net::SocketAddr, time::Duration};

use axum::{Router as Web, routing::get};
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};
use pubsub::{
    ChannelPolicy, EventRpc, Failure, HandlerError, PubSub, Retry, Router,
    observe::Sampler,
    sql::{
        Database, SqlOutbox,
        sqlx::{SqlitePool, sqlite::SqlitePoolOptions},
    },
};
use tokio::net::TcpListener;

type Fault = Box<dyn std::error::Error + Send + Sync>;

#[pubsub::event("orders:created")]
struct OrderCreated {
    #[event(key)]
    order_id: u64,
}

#[pubsub::event(name = "quotes:get", reply = f64)]
struct GetQuote {
    symbol: String,
}

#[pubsub::event("notes:taken")]
struct Note {
    text: String,
}

#[tokio::main]
async fn main() -> Result<(), Fault> {
    let listen = std::env::args().skip_while(|word| word != "--listen").nth(1);
    // Before the bus: a series goes to the recorder that is there when it begins.
    let buckets = [0.000_1, 0.000_5, 0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 10.0];
    let recorder = PrometheusBuilder::new().set_buckets_for_metric(Matcher::Suffix("_seconds".into()), &buckets)?;
    let metrics = recorder.install_recorder()?;

    let builder = pubsub::builder("memory:").await?;
    let bus = builder.policy("notes", ChannelPolicy::new().max_payload(64))?.build();
    let listener = TcpListener::bind(listen.as_deref().unwrap_or("127.0.0.1:0")).await?;
    let address = listener.local_addr()?;
    // In memory each connection would have a database of its own.
    let pool = SqlitePoolOptions::new().max_connections(1).connect("sqlite::memory:").await?;
    let database = Database::from(pool.clone());
    database.migrate().await?;
    let outbox = SqlOutbox::new(&bus, &database);
    // It has to be asked how far groups are behind, and what waits in the outbox. It lives as long as the program.
    tokio::spawn(Sampler::new(&bus).outbox(outbox.clone()).run(Duration::from_millis(500), pending()));
    tokio::spawn(outbox.relay().run(pending()));
    tokio::spawn(serve(listener, metrics));
    println!("metrics are at http://{address}/metrics");

    let ends = listen.is_none();
    tokio::select! {
        worked = work(&bus, &outbox, &pool) => worked?,
        shown = show(address), if ends => println!("{}", shown?),
        () = pubsub::terminated() => {}
    }
    bus.close(Duration::from_secs(5)).await?;
    Ok(())
}

/// What a monitoring system asks for.
async fn serve(listener: TcpListener, metrics: PrometheusHandle) -> std::io::Result<()> {
    axum::serve(listener, Web::new().route("/metrics", get(move || async move { metrics.render() }))).await
}

/// Orders, some of which fail and some of which are given up; calls, some of which are answered too late.
async fn work(bus: &PubSub, outbox: &SqlOutbox, pool: &SqlitePool) -> Result<(), Fault> {
    let bill = |order: OrderCreated| async move {
        tokio::time::sleep(Duration::from_millis(order.order_id % 7)).await;
        match order.order_id % 10 {
            0 => Err(HandlerError::reject("nobody ordered this")),
            1 => Err(HandlerError::retry("the register is away")),
            _ => Ok(()),
        }
    };
    let router: Router = Router::new().group("billing").on(bill).concurrency(4).layer(Retry::exponential(2));
    let _running = router.start(bus).await?;
    let rpc = EventRpc::new(bus);
    let quote = |asked: GetQuote| async move {
        if asked.symbol == "SLOW" {
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
        Ok::<_, Failure>(7.5)
    };
    let _responder = rpc.respond::<GetQuote, _, _>("quoting", quote).await?;
    for order_id in 0.. {
        let mut tx = pool.begin().await?;
        outbox.publish(&mut *tx, &OrderCreated { order_id }).await?;
        tx.commit().await?;
        let symbol = if order_id % 5 == 0 { "SLOW" } else { "ABC" };
        let call = rpc.request(&GetQuote { symbol: symbol.into() }).timeout(Duration::from_millis(50));
        drop(call.await); // some are too late, and are counted
        drop(bus.publish(&Note { text: "n".repeat(20 + order_id as usize % 50) }).await); // some are too long
    }
    Ok(())
}

/// Waits until there is something to see, and scrapes it as Prometheus would.
async fn show(address: SocketAddr) -> Result<String, Fault> {
    tokio::time::sleep(Duration::from_secs(3)).await;
    scrape(address).await
}

async fn scrape(address: SocketAddr) -> Result<String, Fault> {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let mut connection = tokio::net::TcpStream::connect(address).await?;
    connection.write_all(b"GET /metrics HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n").await?;
    let mut answer = String::new();
    connection.read_to_string(&mut answer).await?;
    let shown = answer.lines().filter(|line| line.starts_with("pubsub_") && !line.contains("_bucket"));
    Ok(shown.collect::<Vec<_>>().join("\n"))
}
