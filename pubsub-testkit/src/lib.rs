//! What an adapter of `pubsub` is tested with: real brokers as child processes and a TCP proxy that injects faults.

#[cfg(all(feature = "brokers", unix))]
pub mod broker;
#[cfg(any(feature = "brokers", feature = "proxy"))]
mod ports;
#[cfg(feature = "proxy")]
pub mod proxy;
