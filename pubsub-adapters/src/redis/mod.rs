//! Events over Redis.

mod adapter;

pub use adapter::Redis;
