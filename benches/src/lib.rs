//! Workloads, each beside the limit that it is held against.
//!
//! Every workload is a pair of functions that do the same job for the same number of events: ours, and the plain
//! channel, the plain codec or the bare client of a broker. Criterion and `cargo xtask bench` time the same functions.
// A workload whose setup fails has nothing to measure: it stops the run with the reason.
#![allow(clippy::unwrap_used, clippy::panic, clippy::missing_panics_doc)]

pub mod brokers;
pub mod calls;
pub mod codec;
pub mod driver;
pub mod event;
pub mod json;
pub mod limit;
pub mod memory;
pub mod names;
pub mod pairs;
pub mod plain;
pub mod router;
#[cfg(feature = "sse")]
pub mod sse;
