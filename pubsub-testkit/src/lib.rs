//! (see the crate description)

pub mod conformance;
pub mod faulty;
