use pubsub::Event;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

#[derive(Event, Serialize, Deserialize, JsonSchema)]
#[event(name = "orders:created", key)]
struct OrderCreated {
    #[event(name = "orders:id")]
    id: u64,
    #[event(id)]
    other: u64,
    #[event(key = "user")]
    user: u64,
    #[event]
    bare: u64,
    #[event("key")]
    text: u64,
}

fn main() {}
