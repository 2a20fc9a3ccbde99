use pubsub::Event;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

#[derive(Event, Serialize, Deserialize, JsonSchema)]
#[event(name = "")]
struct Empty;

#[derive(Event, Serialize, Deserialize, JsonSchema)]
#[event(name = "orders")]
struct NoColon;

#[derive(Event, Serialize, Deserialize, JsonSchema)]
#[event(name = "eu:orders:created")]
struct TwoColons;

#[derive(Event, Serialize, Deserialize, JsonSchema)]
#[event(name = ":created")]
struct NoCategory;

#[derive(Event, Serialize, Deserialize, JsonSchema)]
#[event(name = "orders:")]
struct NoEvent;

#[derive(Event, Serialize, Deserialize, JsonSchema)]
#[event(name = "orders:was created")]
struct Space;

#[derive(Event, Serialize, Deserialize, JsonSchema)]
#[event(name = "orders:\u{7}")]
struct Bell;

fn main() {}
