use pubsub::Event;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

#[derive(Event, Serialize, Deserialize, JsonSchema)]
#[event(channel = "orders")]
struct OrderCreated;

#[derive(Event, Serialize, Deserialize, JsonSchema)]
#[event]
struct OrderCancelled;

fn main() {}
