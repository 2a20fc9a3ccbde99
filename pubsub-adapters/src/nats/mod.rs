//! Events over NATS and its JetStream.

mod adapter;
mod broadcast;
mod capabilities;
mod connection;
mod delay;
mod error;
mod group;
mod history;
mod inbox;
mod member;
mod names;
mod options;
mod outbox;
mod publisher;
mod puller;
mod reader;
mod settler;
mod shards;
mod subscriber;
mod topology;
mod wire;

pub use adapter::Nats;
pub use options::{NatsOptions, NatsStorage};
