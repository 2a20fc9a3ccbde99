//! Structs of every form and enums are events.

use pubsub::{Direction, Event};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

#[derive(Event, Serialize, Deserialize, JsonSchema)]
#[event(name = "system:started")]
struct Started;

#[derive(Event, Serialize, Deserialize, JsonSchema)]
#[event(name = "system:stopped")]
struct Stopped {}

#[derive(Event, Serialize, Deserialize, JsonSchema)]
#[event(name = "users:renamed")]
struct Renamed(String, #[event(key)] u64);

#[derive(Event, Serialize, Deserialize, JsonSchema)]
#[event("lamp:switched")]
enum Lamp {
    On,
    Dimmed(u8),
    Off { by: String },
}

#[derive(Event, Serialize, Deserialize, JsonSchema)]
#[event(name = "sizes:set",)]
struct Bounded
where
    String: Clone,
{
    #[event(key,)]
    size: String,
}

fn main() {
    assert_eq!((Started::NAME, Started::CHANNEL, Started::VERSION), ("system:started", "system", 1));
    assert_eq!((Started::DIRECTION, Started::READ_ONLY), (Direction::Internal, false));
    assert_eq!((Started::DESCRIPTION, Started.key()), (None, None));
    assert_eq!(Stopped {}.key(), None);
    assert_eq!(Renamed(String::new(), 7).key().as_deref(), Some("7"));
    assert_eq!(Lamp::NAME, "lamp:switched");
    for lamp in [Lamp::On, Lamp::Dimmed(3), Lamp::Off { by: String::new() }] {
        assert_eq!(lamp.key(), None);
    }
    assert_eq!(Bounded { size: "xl".to_owned() }.key().as_deref(), Some("xl"));
}
