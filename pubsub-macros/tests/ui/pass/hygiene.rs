//! What the user's module calls `Option`, `Event` or `std` is of no concern, and no lint speaks up.

#![deny(warnings, unused_qualifications, missing_docs, unreachable_pub, single_use_lifetimes)]
#![allow(dead_code)]

mod std {}
mod core {}

struct Option;
struct Some;
struct None;
struct Cow;
struct Box;
trait Event {}
trait EventKey {}
trait Request {}
struct Direction;

/// An order was placed.
#[::pubsub::event("orders:created", direction = "both", reply = u8, read_only, version = 2)]
struct Created {
    #[event(key)]
    id: u64,
}

mod imported {
    #![allow(missing_docs)]
    use pubsub::{Direction, Event, EventKey, Request};
    use schemars::JsonSchema;
    use serde::{Deserialize, Serialize};

    #[derive(Event, Serialize, Deserialize, JsonSchema)]
    #[event("orders:cancelled", direction = "both", reply = u8)]
    struct Cancelled {
        #[event(key)]
        id: u64,
    }

    #[pubsub::event("orders:shipped", direction = "both", reply = u8)]
    struct Shipped {
        #[event(key)]
        id: u64,
    }

    const BOTH: Direction = Shipped::DIRECTION;
    fn key<E: Request>(event: &E) -> Option<String> {
        event.key().and_then(|key| key.into_owned().event_key().map(String::from))
    }
}

fn main() {}
