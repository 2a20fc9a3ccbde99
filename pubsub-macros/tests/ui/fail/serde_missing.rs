use pubsub::Event;
use schemars::JsonSchema;
use serde::Deserialize;

#[derive(Event, Deserialize, JsonSchema)]
#[event(name = "orders:created")]
struct OrderCreated;

fn main() {}
