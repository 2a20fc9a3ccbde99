use pubsub::Event;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

#[derive(Event, Serialize, Deserialize, JsonSchema)]
#[event(name = "orders:created")]
struct Typed<T, U: Clone> {
    body: (T, U),
}

#[derive(Event)]
#[event(name = "orders:created")]
struct Counted<const N: usize> {
    body: [u8; N],
}

fn main() {}
