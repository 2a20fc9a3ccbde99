//! Events over Kafka.

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
mod position;
mod progress;
mod publisher;
mod settler;
mod subscriber;
mod topology;
mod wire;

pub use adapter::Kafka;
pub use options::{KafkaOptions, Mechanism, Profile, Security};
