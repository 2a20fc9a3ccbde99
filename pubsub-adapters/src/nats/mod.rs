//! Events over Nats.

mod adapter;

pub use adapter::Nats;
