use pubsub::Event;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

#[derive(Event, Serialize, Deserialize, JsonSchema)]
#[event(name = "orders:changed")]
enum OrderChanged {
    Placed {
        #[event(key)]
        id: u64,
    },
    #[event(key)]
    Cancelled(u64),
}

fn main() {}
