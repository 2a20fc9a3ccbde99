//! Events over RabbitMq.

mod adapter;

pub use adapter::RabbitMq;
