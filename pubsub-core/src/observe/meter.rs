//! What counts and measures: our own counters, which feed the facade `metrics` where it is switched on.

use std::{
    fmt,
    sync::atomic::{AtomicU64, Ordering},
};

/// A counter. What it has counted is read back, and, once it has a name, goes to the recorder of `metrics` as well.
#[derive(Default)]
pub struct Tally {
    count: AtomicU64,
    #[cfg(feature = "metrics")]
    meter: Option<metrics::Counter>,
}

impl Tally {
    #[cfg(feature = "metrics")]
    pub(super) fn metered(meter: metrics::Counter) -> Self {
        Self { count: AtomicU64::new(0), meter: Some(meter) }
    }

    /// Counts one.
    pub fn one(&self) {
        self.add(1);
    }

    /// Counts several.
    pub fn add(&self, count: u64) {
        self.count.fetch_add(count, Ordering::Relaxed);
        #[cfg(feature = "metrics")]
        if let Some(meter) = &self.meter {
            meter.increment(count);
        }
    }

    /// The count.
    pub fn get(&self) -> u64 {
        self.count.load(Ordering::Relaxed)
    }
}

/// How many there are now. Every step up has to be followed by a step down, so that several sources add up.
#[derive(Clone, Default)]
pub struct Level {
    #[cfg(feature = "metrics")]
    meter: Option<metrics::Gauge>,
}

impl Level {
    #[cfg(feature = "metrics")]
    pub(super) fn metered(meter: metrics::Gauge) -> Self {
        Self { meter: Some(meter) }
    }

    /// One more.
    pub fn up(&self) {
        #[cfg(feature = "metrics")]
        if let Some(meter) = &self.meter {
            meter.increment(1.0);
        }
    }

    /// One less.
    pub fn down(&self) {
        #[cfg(feature = "metrics")]
        if let Some(meter) = &self.meter {
            meter.decrement(1.0);
        }
    }
}

/// How long something took, as a distribution.
#[derive(Clone, Default)]
pub struct Durations {
    #[cfg(feature = "metrics")]
    meter: Option<metrics::Histogram>,
}

impl Durations {
    #[cfg(feature = "metrics")]
    pub(super) fn metered(meter: metrics::Histogram) -> Self {
        Self { meter: Some(meter) }
    }

    /// Notes the time since `begun`.
    pub fn since(&self, begun: Begun) {
        #[cfg(feature = "metrics")]
        if let Some(meter) = &self.meter {
            meter.record(begun.0.elapsed().as_secs_f64());
        }
        let Begun { .. } = begun;
    }
}

/// When something began; nothing where nobody measures.
#[derive(Clone, Copy, Debug)]
pub struct Begun(#[cfg(feature = "metrics")] std::time::Instant);

impl Begun {
    /// It begins now.
    #[allow(clippy::new_without_default, reason = "its value is the moment")]
    pub fn now() -> Self {
        Self(
            #[cfg(feature = "metrics")]
            std::time::Instant::now(),
        )
    }
}

impl fmt::Debug for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Tally").field(&self.get()).finish()
    }
}

impl fmt::Debug for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Level")
    }
}

impl fmt::Debug for Durations {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Durations")
    }
}
