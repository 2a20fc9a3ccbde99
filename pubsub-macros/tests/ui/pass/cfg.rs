//! Fields and keys that depend on the configuration.

use pubsub::Event;

#[pubsub::event("orders:created")]
struct Created {
    #[cfg(any())]
    #[event(key)]
    not_here: NoSuchType,
    #[cfg(all())]
    #[event(key)]
    id: u8,
}

#[derive(Event, serde::Serialize, serde::Deserialize, schemars::JsonSchema)]
#[cfg_attr(all(), event(name = "orders:cancelled"))]
#[cfg_attr(any(), event(name = "never:read"))]
struct Cancelled {
    #[cfg_attr(any(), event(key))]
    other: u8,
    #[cfg_attr(all(), event(key))]
    id: u8,
}

fn main() {
    assert_eq!(Created { id: 1 }.key().as_deref(), Some("1"));
    let cancelled = Cancelled { other: 1, id: 2 };
    assert_eq!((cancelled.key().as_deref(), cancelled.other), (Some("2"), 1));
    assert_eq!(Cancelled::NAME, "orders:cancelled");
}
