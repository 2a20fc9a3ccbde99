use pubsub::Event;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

#[derive(Event, Serialize, Deserialize, JsonSchema)]
#[event("orders:created", version = 1, version = 2, name = "orders:placed")]
#[event(read_only, read_only = false)]
struct OrderCreated {
    #[event(key, key)]
    id: u8,
}

fn main() {}
