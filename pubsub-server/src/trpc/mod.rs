//! The tRPC 11 wire.

pub(crate) mod frames;
