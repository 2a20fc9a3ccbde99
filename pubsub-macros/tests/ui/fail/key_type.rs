use pubsub::Event;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

#[derive(Serialize, Deserialize, JsonSchema)]
struct Money(f64);

#[derive(Event, Serialize, Deserialize, JsonSchema)]
#[event(name = "orders:created")]
struct OrderCreated {
    #[event(key)]
    total: Option<f64>,
}

#[derive(Event, Serialize, Deserialize, JsonSchema)]
#[event(name = "orders:paid")]
struct OrderPaid(#[event(key)] Money);

fn main() {}
