//! A question and its answer, on any broker: `cargo run --example event_rpc -- [address]`, `memory:` by default.
#![allow(clippy::print_stdout)] // it talks to a terminal

use std::time::Duration;

use pubsub::{EventRpc, Failure};

#[pubsub::event(name = "quotes:get", reply = Quote)]
struct GetQuote {
    symbol: String,
}

#[derive(Debug)]
#[pubsub::payload]
struct Quote {
    price: f64,
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let address = std::env::args().nth(1).unwrap_or_else(|| "memory:".to_owned());
    let bus = pubsub::connect(&address).await?;
    let rpc = EventRpc::new(&bus);

    // In a program of its own, and as often as there is work for: the members of the group share the requests.
    let quote = |asked: GetQuote| async move {
        match asked.symbol.as_str() {
            "ABC" => Ok(Quote { price: 7.5 }),
            "SLOW" => std::future::pending().await,
            _ => Err(Failure::not_found(format!("no symbol {}", asked.symbol))),
        }
    };
    let responder = rpc.respond::<GetQuote, _, _>("quoting", quote).await?;

    for symbol in ["ABC", "XYZ", "SLOW"] {
        let call = rpc.request(&GetQuote { symbol: symbol.to_owned() }).timeout(Duration::from_secs(1));
        match call.await {
            Ok(Quote { price }) => println!("{symbol}: {price:.2}"),
            Err(error) => println!("{symbol}: {error} [{}, retryable: {}]", error.code(), error.is_retryable()),
        }
    }
    println!("{:?}", rpc.stats());

    responder.stop().await;
    Ok(bus.close(Duration::from_secs(5)).await?)
}
