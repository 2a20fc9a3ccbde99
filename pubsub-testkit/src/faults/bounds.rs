//! How long things may take when brokers fail.

use std::time::Duration;

/// What an adapter promises about faults; the defaults are what every adapter is held to unless its broker cannot.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct FaultBounds {
    /// From the moment at which the broker falls silent until the adapter says that it is not ready.
    pub notice: Duration,
    /// From the broker's return until publishing and all subscriptions work.
    pub recover: Duration,
    /// From the death of a consumer's process until a peer has what it had not settled.
    pub takeover: Duration,
    /// The publish timeout in outages.
    pub publish: Duration,
    /// How much later than its deadline a call may end, on a machine with other work.
    pub slack: Duration,
    /// The lease in cases about leases: the shortest that the broker keeps well.
    pub lease: Duration,
    /// The longest silence of a flow that is not complete while nothing is broken.
    pub silence: Duration,
    /// The deadline that closing is given.
    pub close: Duration,
    /// How many acknowledged events of one member the broker may not know of yet when something breaks.
    pub unflushed: usize,
    /// For how long a broker that is killed may not have written an acknowledgement that it has confirmed.
    pub unwritten: Duration,
    /// By how many bytes a consumer may grow while everything waits for it.
    pub memory: u64,
    /// The longest time for a whole case of the default size.
    pub case: Duration,
}

impl Default for FaultBounds {
    fn default() -> Self {
        Self {
            notice: Duration::from_secs(8),
            recover: Duration::from_secs(15),
            takeover: Duration::from_secs(12),
            publish: Duration::from_secs(2),
            slack: Duration::from_secs(2),
            lease: Duration::from_secs(2),
            // Longer than the default lease, after which a broker gives again what a broken connection swallowed.
            silence: Duration::from_secs(45),
            close: Duration::from_secs(3),
            unflushed: 32,
            unwritten: Duration::ZERO,
            memory: 48 << 20,
            case: Duration::from_secs(90),
        }
    }
}

impl FaultBounds {
    /// Sets how soon silence is noticed, and how soon all works again after it.
    #[must_use]
    pub fn healing(mut self, notice: Duration, recover: Duration) -> Self {
        self.notice = notice;
        self.recover = recover;
        self
    }

    /// Sets how soon a dead consumer's events come to a peer.
    #[must_use]
    pub fn takeover(mut self, takeover: Duration) -> Self {
        self.takeover = takeover;
        self
    }

    /// Sets the lease in cases about leases.
    #[must_use]
    pub fn lease(mut self, lease: Duration) -> Self {
        self.lease = lease;
        self
    }

    /// Sets how many acknowledged events of one member the broker may not know of yet.
    #[must_use]
    pub fn unflushed(mut self, events: usize) -> Self {
        self.unflushed = events;
        self
    }

    /// Sets for how long a broker that is killed may not have written an acknowledgement that it has confirmed.
    #[must_use]
    pub fn unwritten(mut self, unwritten: Duration) -> Self {
        self.unwritten = unwritten;
        self
    }

    /// Sets the longest time for a whole case.
    #[must_use]
    pub fn case(mut self, case: Duration) -> Self {
        self.case = case;
        self
    }
}
