//! Adapters that are wrong on purpose: they prove that the cases of the suite find what they look for.

mod adapter;
mod enqueue;
mod fault;
mod ghost;
mod harness;
mod masked;
mod reader;
mod settler;
mod source;

pub use adapter::Faulty;
pub use fault::Fault;
pub use harness::{FaultyHarness, MaskedHarness};
pub use masked::Masked;
