//! Events over Kafka.

mod adapter;

pub use adapter::Kafka;
