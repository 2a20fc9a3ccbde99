use pubsub::Event;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

#[derive(Event, Serialize, Deserialize, JsonSchema)]
#[event(name = "orders:created", channel = "")]
struct Empty;

#[derive(Event, Serialize, Deserialize, JsonSchema)]
#[event(name = "orders:created", channel = "_dlq.orders")]
struct Underscore;

#[derive(Event, Serialize, Deserialize, JsonSchema)]
#[event(name = "orders:created", channel = "orders/eu")]
struct Slash;

#[derive(Event, Serialize, Deserialize, JsonSchema)]
#[event(name = "orders:created", channel = "orders.*")]
struct Pattern;

#[derive(Event, Serialize, Deserialize, JsonSchema)]
#[event(
    name = "orders:created",
    channel = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
)]
struct Long;

fn main() {}
