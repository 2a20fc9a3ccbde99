//! Events over Redis.

mod adapter;
mod broadcast;
mod capabilities;
mod channel;
mod connect;
mod connection;
mod delay;
mod error;
mod follow;
mod group;
mod history;
mod inbox;
mod names;
mod options;
mod publisher;
mod pull;
mod scripts;
mod settler;
mod share;
mod subscriber;
mod topology;
mod wire;
mod writer;

pub use adapter::Redis;
pub use options::{Deployment, Fields, RedisOptions};

/// The adapter's name, and the scheme of its positions.
const SCHEME: &str = "redis";
