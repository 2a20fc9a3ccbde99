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
    //! The options that the address of every broker takes.

    pub use crate::common::options::{BrokerOptions, StartMode};
}
pub mod url;

pub use connect::{adapter, builder, connect};
