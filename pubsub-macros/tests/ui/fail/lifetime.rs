use pubsub::Event;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

#[derive(Event, Serialize, Deserialize, JsonSchema)]
#[event(name = "orders:created")]
struct OrderCreated<'a> {
    id: &'a str,
}

fn main() {}
