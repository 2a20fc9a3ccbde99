use pubsub::Event;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

#[derive(Event, Serialize, Deserialize, JsonSchema)]
#[event(name = "größe:gesetzt")]
struct Umlaut;

#[derive(Event, Serialize, Deserialize, JsonSchema)]
#[event(name = "_orders:created")]
struct Underscore;

fn main() {}
