//! The web edge: an axum router over a `PubSub` handle.

mod error;
mod procedure;
mod sse;
mod trpc;

pub use error::{ApiError, Issue};
