//! A catalog with every kind of type that serde knows, and a few that only JSON Schema knows.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use pubsub::{Catalog, Direction, Event, EventDefinition, Result};
use serde_json::json;

/// A customer has placed an order.
///
/// It says more */ in a second paragraph.
#[pubsub::event("orders:created", version = 2, direction = "both", reply = Accepted)]
#[serde(rename_all = "camelCase")]
struct OrderCreated {
    #[event(key)]
    order_id: String,
    /// What is ordered.
    lines: Vec<Line>,
    total: f64,
    state: State,
    payment: Payment,
    shape: Shape,
    contact: Contact,
    #[serde(rename = "user-id")]
    user_id: Option<String>,
    #[serde(default)]
    priority: u8,
    #[serde(flatten)]
    audit: Audit,
}

/// So many of one thing.
#[pubsub::payload]
struct Line {
    sku: String,
    /// At least one.
    quantity: u32,
    /// What belongs to it, in the same form.
    parts: Option<Vec<Line>>,
    size: (f64, f64, String),
    corners: [i32; 4],
}

/// Only words.
#[pubsub::payload]
#[serde(rename_all = "kebab-case")]
enum State {
    /// Nobody has begun.
    Open,
    InWork,
    Done,
}

/// With a tag inside.
#[pubsub::payload]
#[serde(tag = "kind", rename_all = "snake_case")]
enum Payment {
    Card { number: String, expires: Option<String> },
    Invoice { days: u16 },
    Cash,
}

/// With the tag outside, as serde does by itself.
#[pubsub::payload]
enum Shape {
    Circle(f64),
    Box(f64, f64),
    Named { name: String },
    Nothing,
}

/// Without any.
#[pubsub::payload]
#[serde(untagged)]
enum Contact {
    Mail { mail: String },
    Phone(u64),
    None(()),
}

#[pubsub::payload]
#[serde(rename_all = "camelCase")]
struct Audit {
    created_by: String,
    tags: BTreeSet<String>,
}

/// What was said to an order.
#[pubsub::payload]
struct Accepted {
    success: bool,
    number: Number,
}

#[pubsub::payload]
struct Number(u64);

/// Everything that is a map or has no form.
#[pubsub::event("stats:measured", direction = "sse")]
#[serde(rename_all = "camelCase")]
struct Measured {
    by_name: HashMap<String, f64>,
    by_number: BTreeMap<u32, Line2>,
    anything: serde_json::Value,
    nothing: (),
    letter: char,
    nested: Vec<Vec<Option<bool>>>,
    pair: Pair<String>,
    big: i64,
}

/// Another type of a name that is taken.
#[pubsub::payload]
#[serde(rename = "Line", deny_unknown_fields)]
struct Line2 {
    value: f32,
}

#[pubsub::payload]
struct Pair<T> {
    first: T,
    second: T,
}

/// The targets whose name begins so.
#[pubsub::event("net-targets:list-all", channel = "net.targets", direction = "cse", read_only, reply = Vec<Target>)]
struct ListTargets {
    prefix: Option<String>,
}

#[pubsub::payload]
struct Target {
    name: String,
    line: Line,
}

/// A word and nothing else.
#[pubsub::event("chat:said", direction = "both")]
struct Said(String);

/// Nothing at all.
#[pubsub::event("chat:left", direction = "cse")]
struct Left;

/// Nobody outside sees it.
#[pubsub::event("audit:noted")]
struct Noted {
    secret: String,
}

/// What version 1 of `orders:created` was.
fn first_order() -> serde_json::Value {
    json!({
        "type": "object",
        "properties": { "orderId": { "type": "string" }, "total": { "type": "number" } },
        "required": ["orderId", "total"],
    })
}

/// What only JSON Schema can say.
fn odd() -> serde_json::Value {
    json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Odd",
        "type": "object",
        "properties": {
            "constant": { "const": "yes" },
            "literals": { "enum": [1, "two", null, true] },
            "several": { "type": ["string", "number", "null"] },
            "tuple": { "type": "array", "prefixItems": [{ "type": "string" }], "items": { "type": "number" } },
            "pair": { "type": "array", "prefixItems": [true, { "type": "boolean" }], "minItems": 1, "maxItems": 2 },
            "both": { "allOf": [{ "$ref": "#/$defs/A~1b" }, { "properties": { "extra": { "type": "string" } } }] },
            "open": { "type": "object", "properties": { "known": { "type": "string" } }, "additionalProperties": { "type": "number" } },
            "itself": { "$ref": "#" },
            "never": false,
            "when": { "type": "string", "format": "date-time", "deprecated": true, "minLength": 20 },
        },
        "required": ["constant"],
        "additionalProperties": false,
        "$defs": { "A/b": { "type": "object", "properties": { "a": { "type": "integer", "minimum": 0 } }, "required": ["a"] } },
    })
}

pub(crate) fn catalog() -> Result<Catalog> {
    let mut catalog = Catalog::new();
    catalog.insert(EventDefinition::of::<OrderCreated>()?.upcast(1, Ok))?;
    let first = EventDefinition::dynamic(OrderCreated::NAME, OrderCreated::CHANNEL, 1, first_order())?;
    catalog.insert(first.with_direction(Direction::Both).with_description("The first form of an order."))?;
    catalog.register::<Measured>()?.register::<ListTargets>()?.register::<Said>()?.register::<Left>()?;
    catalog.register::<Noted>()?;
    catalog
        .insert(EventDefinition::dynamic("odd:every-thing", "odd_ones", 1, odd())?.with_direction(Direction::Both))?;
    Ok(catalog)
}
