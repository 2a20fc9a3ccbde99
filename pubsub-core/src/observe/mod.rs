//! Observing events on their way: spans and metrics. For the crates of this project, and for authors of stores and
//! adapters of their own; programs switch it on by the features `trace`, `otel` and `metrics`.
//!
//! Everything here is there without these features, too, and does nothing then: the values are empty, so that whoever is
//! observed needs no conditions.

mod hop;
mod meter;
#[cfg(feature = "metrics")]
mod metered;
pub mod names;
mod observer;
mod publishing;
#[cfg(feature = "metrics")]
mod sampler;
#[cfg(feature = "trace")]
mod w3c;

pub use hop::Hop;
pub use meter::{Begun, Durations, Level, Tally};
pub use names::{Metric, MetricKind};
pub use observer::{Observer, Series};
pub(crate) use publishing::Publishing;
#[cfg(feature = "metrics")]
pub(crate) use sampler::Sample;
#[cfg(feature = "metrics")]
pub use sampler::Sampler;
