//! The web edge: an axum router over a `PubSub` handle.

mod body;
mod connection_params;
mod error;
mod procedure;
mod query;
mod sse;
mod trpc;

pub use error::{ApiError, Issue};
