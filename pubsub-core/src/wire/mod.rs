//! Wire forms of an envelope.
pub mod document;
