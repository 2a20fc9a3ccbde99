//! The client over HTTP, before a server that is told what to answer.
#![allow(clippy::unwrap_used, clippy::panic, reason = "what fails here fails the test")]

mod calls;
mod plain;
mod script;
mod streams;
#[cfg(feature = "tls")]
mod tls;

/// What the tests speak of.
#[pubsub::event("orders:created", version = 2, direction = "both")]
#[derive(Debug, Clone, PartialEq)]
#[serde(rename_all = "camelCase")]
struct OrderCreated {
    #[event(key)]
    order_id: String,
    total: f64,
}

fn order(number: u32) -> OrderCreated {
    OrderCreated { order_id: format!("A-{number}"), total: f64::from(number) }
}

/// A question.
#[pubsub::event("quotes:get", direction = "cse", reply = Quote)]
struct GetQuote {
    symbol: String,
}

#[pubsub::payload]
#[derive(Debug, PartialEq)]
struct Quote {
    price: f64,
}
