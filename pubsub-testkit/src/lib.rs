//! What programs over `pubsub` and adapters of it are tested with: a bus whose time is moved by hand, the conformance
//! and fault suites, adapters that are wrong on purpose, real brokers as child processes, and a TCP proxy that injects faults.

#[cfg(all(feature = "brokers", unix))]
pub mod broker;
#[cfg(feature = "bus")]
mod bus;
#[cfg(feature = "conformance")]
pub mod conformance;
#[cfg(all(feature = "faults", unix))]
pub mod faults;
#[cfg(feature = "conformance")]
pub mod faulty;
#[cfg(any(feature = "brokers", feature = "proxy"))]
mod ports;
#[cfg(all(feature = "brokers", unix))]
pub mod postgres;
#[cfg(feature = "proxy")]
pub mod proxy;

#[cfg(feature = "bus")]
pub use bus::{HandledCall, ObservedBus, TestBus, TestRun};
#[cfg(any(feature = "brokers", feature = "proxy"))]
pub use ports::free_address;
