//! `Hop`: the span of one step of an event's way.

#[cfg(feature = "otel")]
mod otel;
#[cfg(all(feature = "trace", not(feature = "otel")))]
mod plain;
#[cfg(not(feature = "trace"))]
mod silent;
#[cfg(feature = "trace")]
mod traced;

#[cfg(feature = "otel")]
use otel as bridge;
#[cfg(all(feature = "trace", not(feature = "otel")))]
use plain as bridge;
#[cfg(not(feature = "trace"))]
pub use silent::Hop;
#[cfg(feature = "trace")]
pub use traced::Hop;
