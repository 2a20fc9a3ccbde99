//! The library under another path, for both macros and in both spellings; the path, though written by the user, raises no lint.

#![deny(warnings, unused_qualifications)]

mod facade {
    pub use pubsub as events;
}

use facade::events::{Direction, Event, EventKey, Request, event};

#[event("a:path", crate = crate::facade::events, direction = "sse")]
struct ByPath {
    #[event(key)]
    id: u8,
}

#[facade::events::event("a:string", crate = "crate::facade::events", reply = u8)]
struct ByString {
    #[event(key)]
    id: u8,
}

#[derive(Event, serde::Serialize, serde::Deserialize, schemars::JsonSchema)]
#[event("a:derive", crate = facade::events, direction = "cse")]
struct Derived {
    #[event(key)]
    id: u8,
}

fn replies<R: Request<Reply = u8>>() {}

fn main() {
    assert_eq!(ByPath::DIRECTION, Direction::Sse);
    assert_eq!(7_u8.event_key().as_deref(), Some("7"));
    assert_eq!(ByPath { id: 1 }.key().as_deref(), Some("1"));
    assert_eq!(ByString { id: 2 }.key().as_deref(), Some("2"));
    assert_eq!(Derived { id: 3 }.key().as_deref(), Some("3"));
    replies::<ByString>();
}
