use pubsub::Event;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

#[derive(Event, Serialize, Deserialize, JsonSchema)]
#[event(name = "orders:created", direction = "up")]
struct Foreign;

#[derive(Event, Serialize, Deserialize, JsonSchema)]
#[event(name = "orders:created", direction = "intern")]
struct Near;

fn main() {}
