//! Every key, in one attribute and in several.

use pubsub::{Direction, Event, Request};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Not this text.
#[derive(Event, Serialize, Deserialize, JsonSchema)]
#[event(
    name = "quotes:get",
    channel = "pricing.eu",
    version = 3,
    direction = "CSE",
    reply = BTreeMap<String, Vec<u64>>,
    read_only,
    description = "The price of a product",
    crate = "::pubsub"
)]
struct GetQuote {
    #[event(key)]
    product: u64,
}

/// The price
/// has changed.
///
/// Sent at most once a minute.
#[derive(Event, Serialize, Deserialize, JsonSchema)]
#[event(name = "quotes:changed", version = 2_u32)]
#[event(direction = "sse", read_only = false, reply = ())]
struct QuoteChanged;

#[derive(Event, Serialize, Deserialize, JsonSchema)]
#[event("quotes:both", direction = "Both")]
struct QuoteBoth;

fn reply_of<R: Request>() -> &'static str {
    std::any::type_name::<R::Reply>()
}

fn main() {
    assert_eq!((GetQuote::NAME, GetQuote::CHANNEL, GetQuote::VERSION), ("quotes:get", "pricing.eu", 3));
    assert_eq!((GetQuote::DIRECTION, GetQuote::READ_ONLY), (Direction::Cse, true));
    assert_eq!(GetQuote::DESCRIPTION, Some("The price of a product"));
    let reply = GetQuote::REPLY_SCHEMA.map(|schema| schema().to_value());
    assert_eq!(reply.as_ref().and_then(|schema| schema["type"].as_str()), Some("object"));
    assert!(QuoteBoth::REPLY_SCHEMA.is_none());
    assert!(reply_of::<GetQuote>().contains("BTreeMap"));
    assert_eq!(GetQuote { product: 4 }.key().as_deref(), Some("4"));

    assert_eq!((QuoteChanged::VERSION, QuoteChanged::DIRECTION), (2, Direction::Sse));
    assert_eq!(QuoteChanged::DESCRIPTION, Some("The price has changed."));
    assert!(!QuoteChanged::READ_ONLY);
    assert_eq!(reply_of::<QuoteChanged>(), "()");
    assert_eq!(QuoteBoth::DIRECTION, Direction::Both);
}
