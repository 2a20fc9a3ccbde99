//! Events over RabbitMQ, 3.10 or later.

mod adapter;
mod broadcast;
mod capabilities;
mod connection;
mod delay;
mod error;
mod group;
mod history;
mod inbox;
mod lane;
mod lease;
mod member;
mod names;
mod options;
mod publisher;
mod settler;
mod stream;
mod subscriber;
mod topology;
mod wire;

pub use adapter::RabbitMq;
pub use options::RabbitMqOptions;
