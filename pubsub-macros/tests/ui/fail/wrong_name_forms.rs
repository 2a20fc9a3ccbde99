use pubsub::Event;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

#[derive(Event, Serialize, Deserialize, JsonSchema)]
#[event(17)]
struct A;

#[derive(Event, Serialize, Deserialize, JsonSchema)]
#[event = "orders:created"]
struct B;

#[derive(Event, Serialize, Deserialize, JsonSchema)]
#[event(name("orders:created"))]
struct C;

#[derive(Event, Serialize, Deserialize, JsonSchema)]
#[event(name)]
struct D;

#[derive(Event, Serialize, Deserialize, JsonSchema)]
#[event(channel = "orders", "orders:created")]
struct E;

fn main() {}
