//! A mistake in a definition is reported there, not at each use of the type.

use pubsub::Event;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

#[derive(Event, Serialize, Deserialize, JsonSchema)]
#[event(name = "orders")]
struct OrderCreated;

fn publish<E: Event>(_event: &E) {}

fn main() {
    publish(&OrderCreated);
    let _ = (OrderCreated::NAME, OrderCreated::VERSION, OrderCreated.key());
}
