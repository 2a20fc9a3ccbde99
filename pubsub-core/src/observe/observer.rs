//! `Observer`: what a handle observes with.

#[cfg(feature = "metrics")]
use super::metered::Channels;
#[cfg(not(feature = "metrics"))]
use super::{Durations, Level, Metric, Tally};

/// What everything that belongs to one handle observes with: the name that its broker has in spans and metrics.
#[derive(Clone, Debug)]
pub struct Observer {
    pub(super) system: &'static str,
    #[cfg(feature = "metrics")]
    pub(super) channels: std::sync::Arc<Channels>,
}

/// Metrics with the same labels. Empty without the feature `metrics`.
#[derive(Clone, Debug)]
pub struct Series {
    #[cfg(feature = "metrics")]
    pub(super) labels: Vec<metrics::Label>,
}

impl Observer {
    /// For a broker of this name.
    pub fn new(system: &'static str) -> Self {
        #[cfg(feature = "metrics")]
        super::metered::describe();
        Self {
            system,
            #[cfg(feature = "metrics")]
            channels: std::sync::Arc::default(),
        }
    }

    /// The name of the broker: `messaging.system` of spans, `adapter` of metrics.
    pub fn system(&self) -> &'static str {
        self.system
    }
}

#[cfg(not(feature = "metrics"))]
impl Observer {
    /// Metrics with the adapter's label and these, which are in the order of the metrics' own.
    pub fn series(&self, _: &[(&'static str, &str)]) -> Series {
        Series {}
    }
}

#[cfg(not(feature = "metrics"))]
impl Series {
    /// A counter among them.
    pub fn tally(&self, _: &Metric) -> Tally {
        Tally::default()
    }

    /// A gauge among them.
    pub fn level(&self, _: &Metric) -> Level {
        Level::default()
    }

    /// A histogram among them.
    pub fn durations(&self, _: &Metric) -> Durations {
        Durations::default()
    }
}
