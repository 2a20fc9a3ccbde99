//! Adapters of `pubsub`, each behind its feature, and the way from an address to one of them.

#[cfg(any(feature = "redis", feature = "kafka", feature = "nats", feature = "rabbitmq"))]
mod common;
mod connect;
#[cfg(feature = "kafka")]
pub mod kafka;
#[cfg(feature = "memory")]
pub mod memory;
#[cfg(feature = "nats")]
pub mod nats;
#[cfg(feature = "rabbitmq")]
pub mod rabbitmq;
#[cfg(feature = "redis")]
pub mod redis;
#[cfg(any(feature = "redis", feature = "kafka", feature = "nats", feature = "rabbitmq"))]
pub mod options {
    //! What the options of all brokers have in common.

    pub use crate::common::options::{BrokerOptions, StartMode};
}
pub mod url;

pub use connect::{adapter, builder, connect};
