use pubsub::Event;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

#[derive(Serialize, Deserialize)]
struct Receipt;

#[derive(Event, Serialize, Deserialize, JsonSchema)]
#[event(name = "orders:create", reply = Receipt)]
struct CreateOrder;

fn main() {}
