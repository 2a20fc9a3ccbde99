use pubsub::Event;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

#[derive(Event, Serialize, Deserialize, JsonSchema)]
#[event(name = 5, channel = orders, version = "2", direction = Both, reply = "Created")]
#[event(read_only = "yes", description = concat!("An ", "order"), crate = 7)]
struct OrderCreated;

fn main() {}
