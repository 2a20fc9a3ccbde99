//! Adapters of `pubsub`, each behind its feature, and the way from an address to one of them.

mod connect;
#[cfg(feature = "memory")]
pub mod memory;
pub mod url;

pub use connect::{adapter, builder, connect};
