use pubsub::Event;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

#[derive(Event, Serialize, Deserialize, JsonSchema)]
#[event(name = "orders:created" version = 0)]
struct Comma;

#[derive(Event, Serialize, Deserialize, JsonSchema)]
#[event(name = "orders:created"; version = 2)]
struct Semicolon;

#[derive(Event, Serialize, Deserialize, JsonSchema)]
#[event(= "orders:created", version = 0)]
struct NoKey;

#[derive(Event, Serialize, Deserialize, JsonSchema)]
#[event(name = , version = 0)]
struct NoValue;

#[derive(Event, Serialize, Deserialize, JsonSchema)]
#[event(name = "orders:created", reply = )]
struct NoReply;

#[derive(Event, Serialize, Deserialize, JsonSchema)]
#[event(event::name = "orders:created", reply = Vec<)]
struct Path;

fn main() {}
