use pubsub::Event;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

#[derive(Event, Serialize, Deserialize, JsonSchema)]
#[event(name = "orders:created", version = 0)]
struct Zero;

#[derive(Event, Serialize, Deserialize, JsonSchema)]
#[event(name = "orders:created", version = -1)]
struct Negative;

#[derive(Event, Serialize, Deserialize, JsonSchema)]
#[event(name = "orders:created", version = 4294967296)]
struct Large;

#[derive(Event, Serialize, Deserialize, JsonSchema)]
#[event(name = "orders:created", version = 2u64)]
struct Suffix;

#[derive(Event, Serialize, Deserialize, JsonSchema)]
#[event(name = "orders:created", version = 1.5)]
struct Fraction;

fn main() {}
