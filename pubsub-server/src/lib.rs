//! The web edge: an axum router over a `PubSub` handle.

mod error;
mod procedure;

pub use error::{ApiError, Issue};
