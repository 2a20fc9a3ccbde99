use pubsub::Event;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

#[derive(Event, Serialize, Deserialize, JsonSchema)]
#[event(nmae = "orders:created", channel = "_orders", version = 0, direction = "up", reply)]
struct OrderCreated<T> {
    #[event(key)]
    order: T,
    #[event(key)]
    user: String,
    #[event(index)]
    total: f64,
}

fn main() {}
