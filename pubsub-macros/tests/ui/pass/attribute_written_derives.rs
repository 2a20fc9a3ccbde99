//! Derives that are there already are not added again.

use pubsub::Event;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

#[pubsub::event("a:serde")]
#[derive(Debug, Serialize, Deserialize)]
struct BothOfSerde {
    #[event(key)]
    id: u8,
}

#[pubsub::event("a:half")]
#[derive(serde::Deserialize)]
#[derive(JsonSchema)]
#[serde(rename_all = "camelCase")]
struct HalfOfSerde {
    #[event(key)]
    some_id: u8,
}

#[pubsub::event("a:all", version = 4)]
#[derive(Serialize, Deserialize, JsonSchema, Event)]
#[serde(deny_unknown_fields)]
struct All {
    #[event(key)]
    id: u8,
}

#[pubsub::event("a:event")]
#[derive(pubsub::Event)]
#[event(version = 2)]
struct OnlyEvent {
    #[event(key)]
    id: u8,
}

#[pubsub::event("a:redirected")]
#[serde(crate = "serde")]
#[schemars(crate = "schemars")]
struct Redirected {
    #[event(key)]
    id: u8,
}

#[pubsub::event("a:conditional")]
#[cfg_attr(all(), derive(Serialize, Clone))]
struct Conditional {
    #[event(key)]
    id: u8,
}

fn main() {
    assert_eq!(BothOfSerde { id: 1 }.key().as_deref(), Some("1"));
    assert_eq!(HalfOfSerde { some_id: 2 }.key().as_deref(), Some("2"));
    assert_eq!((All { id: 3 }.key().as_deref(), All::VERSION), (Some("3"), 4));
    assert_eq!((OnlyEvent { id: 4 }.key().as_deref(), OnlyEvent::VERSION), (Some("4"), 2));
    assert_eq!(Redirected { id: 5 }.key().as_deref(), Some("5"));
    assert_eq!(Conditional { id: 6 }.clone().key().as_deref(), Some("6"));
}
