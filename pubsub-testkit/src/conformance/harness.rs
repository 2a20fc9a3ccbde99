//! What an adapter's author brings to the suite.

use std::{sync::Arc, time::Duration};

use pubsub_core::{
    Error, ErrorKind, Result,
    driver::{Adapter, async_trait},
};

use super::Minimum;

/// An adapter under test, with the backend behind it.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is no harness for the conformance suite",
    note = "implement `Harness`: a name, a fresh adapter per call, and the least it must declare"
)]
#[async_trait]
pub trait Harness: Send + Sync {
    /// The adapter's name, as reports show it.
    fn name(&self) -> &str;

    /// A fresh connection to the backend. Connections to the same `world` see the same channels and groups; different
    /// worlds share nothing, not even through wildcards. World names are letters, digits and hyphens, at most 32.
    ///
    /// # Errors
    /// What opening the adapter reports.
    async fn adapter(&self, world: &str) -> Result<Arc<dyn Adapter>>;

    /// The least that the adapter must declare. An adapter that declares less fails the suite.
    fn minimum(&self) -> Minimum;

    /// As [`Harness::adapter`], but a channel that nobody declared is an error on use.
    ///
    /// # Errors
    /// `Unsupported` where the adapter has no such mode, which must then not declare
    /// [`Feature::StrictChannels`](pubsub_core::driver::Feature).
    async fn strict(&self, world: &str) -> Result<Arc<dyn Adapter>> {
        let _ = world;
        Err(Error::new(ErrorKind::Unsupported, "open strict adapter", "the harness offers no strict adapter"))
    }

    /// How long things may take.
    fn bounds(&self) -> Bounds {
        Bounds::default()
    }

    /// A count for this adapter, given the one that the case wants. Slow backends may lower those of the default size.
    fn sized(&self, count: usize) -> usize {
        count
    }
}

/// How long things may take before a case fails, and how long silence must last.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Bounds {
    /// The longest wait for one event, or for one condition.
    pub receive: Duration,
    /// The longest wait for a redelivery beyond the delay asked for.
    pub redelivery: Duration,
    /// For how long nothing may arrive where nothing may arrive.
    pub quiet: Duration,
    /// The lease of consumers in cases about leases. Must be long enough for the backend's granularity.
    pub lease: Duration,
    /// The longest time for closing a handle.
    pub close: Duration,
    /// The longest time for a whole case.
    pub case: Duration,
    /// How many duplicates of 1,000 deliveries are allowed on a healthy run; 0 for exactly once.
    pub duplicates_per_mille: usize,
}

impl Default for Bounds {
    fn default() -> Self {
        Self {
            receive: Duration::from_secs(10),
            redelivery: Duration::from_secs(5),
            quiet: Duration::from_millis(100),
            lease: Duration::from_millis(500),
            close: Duration::from_secs(5),
            case: Duration::from_secs(45),
            duplicates_per_mille: 0,
        }
    }
}

impl Bounds {
    /// Sets the waits for events and redeliveries.
    #[must_use]
    pub fn waits(mut self, receive: Duration, redelivery: Duration) -> Self {
        self.receive = receive;
        self.redelivery = redelivery;
        self
    }

    /// Sets for how long nothing may arrive where nothing may arrive.
    #[must_use]
    pub fn quiet(mut self, quiet: Duration) -> Self {
        self.quiet = quiet;
        self
    }

    /// Sets the lease of consumers in cases about leases.
    #[must_use]
    pub fn lease(mut self, lease: Duration) -> Self {
        self.lease = lease;
        self
    }

    /// Sets the longest times for closing a handle and for a whole case.
    #[must_use]
    pub fn ends(mut self, close: Duration, case: Duration) -> Self {
        self.close = close;
        self.case = case;
        self
    }

    /// Sets how many duplicates of 1,000 deliveries are allowed on a healthy run.
    #[must_use]
    pub fn duplicates_per_mille(mut self, duplicates: usize) -> Self {
        self.duplicates_per_mille = duplicates;
        self
    }
}
