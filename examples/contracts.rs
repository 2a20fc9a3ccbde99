//! Everything that follows from event definitions, as a command of the program that has them:
//! `cargo run --example contracts -- codegen --out examples/contracts`, and `-- contracts check`, without which it says how
//! it is used. `cargo xtask codegen` keeps `examples/contracts` fresh with it.
#![allow(clippy::print_stderr, reason = "a program's messages go to standard error")]

#[allow(dead_code, reason = "of the events of the example `orders` only the definitions are wanted here")]
#[path = "orders/order.rs"]
mod order;

use std::process::ExitCode;

use pubsub::{Catalog, EventDefinition, codegen::DocumentOptions};
use serde_json::{Value, json};

/// A parcel has left the house.
#[pubsub::event("orders:shipped", version = 2, direction = "sse")]
#[serde(rename_all = "camelCase")]
struct OrderShipped {
    #[event(key)]
    order_id: String,
    /// One per parcel; version 1 had a single `parcel`.
    parcels: Vec<String>,
}

/// From version 1 of `orders:shipped` to 2.
fn several_parcels(mut order: Value) -> Result<Value, String> {
    order["parcels"] = json!([order["parcel"].take()]);
    Ok(order)
}

/// What a thing costs just now.
#[pubsub::event("quotes:get", direction = "cse", read_only, reply = Quote)]
struct GetQuote {
    /// Such as `ABC`.
    symbol: String,
}

#[pubsub::payload]
struct Quote {
    price: f64,
}

fn catalog() -> pubsub::Result<Catalog> {
    let mut catalog = Catalog::new().with::<order::OrderCreated>()?.with::<GetQuote>()?;
    catalog.insert(EventDefinition::of::<OrderShipped>()?.upcast(1, several_parcels))?;
    Ok(catalog)
}

fn main() -> ExitCode {
    match catalog() {
        Ok(catalog) => pubsub::codegen::main(&catalog, DocumentOptions::new("Orders", env!("CARGO_PKG_VERSION"))),
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}
