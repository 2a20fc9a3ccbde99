use pubsub::Event;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

#[derive(Event, Serialize, Deserialize, JsonSchema)]
#[event(name = "orders:created", verison = 2, topic = Map<String, u8>, chanel = "orders")]
struct OrderCreated;

fn main() {}
