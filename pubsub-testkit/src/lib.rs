//! What an adapter of `pubsub` is tested with: the conformance suite, adapters that are wrong on purpose, real brokers
//! as child processes, and a TCP proxy that injects faults.

#[cfg(all(feature = "brokers", unix))]
pub mod broker;
#[cfg(feature = "conformance")]
pub mod conformance;
#[cfg(feature = "conformance")]
pub mod faulty;
#[cfg(any(feature = "brokers", feature = "proxy"))]
mod ports;
#[cfg(feature = "proxy")]
pub mod proxy;
