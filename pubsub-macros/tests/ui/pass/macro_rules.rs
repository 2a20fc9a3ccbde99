//! Definitions that come out of the user's own macros.

use pubsub::{Event, Request};

macro_rules! events {
    ($($(#[$meta:meta])* $ty:ident { $key:ident: $of:ty } = $name:literal, $version:expr, $reply:ty;)*) => {$(
        $(#[$meta])*
        #[pubsub::event($name, version = $version, reply = $reply)]
        struct $ty { #[event(key)] $key: $of }
    )*};
}

macro_rules! derived {
    ($ty:ident, $name:literal, $library:path) => {
        #[derive(Event, serde::Serialize, serde::Deserialize, schemars::JsonSchema)]
        #[event(name = $name, crate = $library)]
        struct $ty(#[event(key)] u8);
    };
}

events! {
    /// An order was placed.
    Created { id: String } = "orders:created", 2, ();
    Cancelled { order: Option<u64> } = "orders:cancelled", 1, Vec<u8>;
}
derived!(Shipped, "orders:shipped", ::pubsub);

fn replies<R: Request<Reply = T>, T>() {}

fn main() {
    assert_eq!((Created::NAME, Created::VERSION), ("orders:created", 2));
    assert_eq!(Created::DESCRIPTION, Some("An order was placed."));
    assert_eq!(Created { id: "o-1".to_owned() }.key().as_deref(), Some("o-1"));
    assert_eq!(Cancelled { order: Some(3) }.key().as_deref(), Some("3"));
    assert_eq!(Shipped(9).key().as_deref(), Some("9"));
    replies::<Created, ()>();
    replies::<Cancelled, Vec<u8>>();
}
