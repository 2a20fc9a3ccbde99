use pubsub::Event;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

#[derive(Event, Serialize, Deserialize, JsonSchema)]
#[event(name = "orders:created")]
struct Named {
    #[event(key)]
    order: String,
    #[event(key)]
    user: String,
}

#[derive(Event, Serialize, Deserialize, JsonSchema)]
#[event(name = "orders:created")]
struct Unnamed(#[event(key)] u8, #[event(key)] u8);

fn main() {}
