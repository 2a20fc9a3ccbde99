//! What a relay has done so far.

use std::sync::{
    Arc, Mutex, PoisonError,
    atomic::{AtomicBool, AtomicUsize, Ordering},
};

use pubsub_core::{
    Error,
    observe::{Observer, Tally, names},
};

#[derive(Debug)]
pub(super) struct Shared {
    leads: AtomicBool,
    in_flight: AtomicUsize,
    sent: Tally,
    failed: Tally,
    parked: Tally,
    last_error: Mutex<Option<Error>>,
}

impl Shared {
    pub(super) fn new(observer: &Observer) -> Self {
        let series = observer.series(&[]);
        Self {
            leads: AtomicBool::new(false),
            in_flight: AtomicUsize::new(0),
            sent: series.tally(&names::OUTBOX_SENT),
            failed: series.tally(&names::OUTBOX_FAILURES),
            parked: series.tally(&names::OUTBOX_SET_ASIDE),
            last_error: Mutex::default(),
        }
    }

    pub(super) fn leads(&self, leads: bool) {
        self.leads.store(leads, Ordering::Relaxed);
    }

    pub(super) fn in_flight(&self, rows: usize) {
        self.in_flight.store(rows, Ordering::Relaxed);
    }

    pub(super) fn sent(&self) {
        self.sent.one();
    }

    pub(super) fn failed(&self, error: &Error) {
        self.failed.one();
        self.trouble(error);
    }

    pub(super) fn parked(&self, error: &Error) {
        self.parked.one();
        self.trouble(error);
    }

    pub(super) fn trouble(&self, error: &Error) {
        // A whole value at any time, so a panic elsewhere does no harm to it.
        *self.last_error.lock().unwrap_or_else(PoisonError::into_inner) = Some(error.clone());
    }

    pub(super) fn ended(&self) {
        self.leads(false);
        self.in_flight(0);
    }
}

/// Watches a relay; see [`Relay::watch`](crate::Relay::watch).
#[derive(Clone, Debug)]
pub struct RelayWatch(pub(super) Arc<Shared>);

impl RelayWatch {
    /// The numbers now.
    pub fn stats(&self) -> RelayStats {
        let Shared { leads, in_flight, sent, failed, parked, last_error } = &*self.0;
        RelayStats {
            leads: leads.load(Ordering::Relaxed),
            in_flight: in_flight.load(Ordering::Relaxed),
            sent: sent.get(),
            failed: failed.get(),
            parked: parked.get(),
            last_error: last_error.lock().unwrap_or_else(PoisonError::into_inner).clone(),
        }
    }
}

/// What one relay has done since it began. What waits in the table tells [`Outbox::backlog`](pubsub_core::store::Outbox::backlog).
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct RelayStats {
    /// Whether it is the one that works.
    pub leads: bool,
    /// Rows on their way.
    pub in_flight: usize,
    /// Rows that were confirmed.
    pub sent: u64,
    /// Failures of rows that are tried again; one row may fail many times.
    pub failed: u64,
    /// Rows that were set aside.
    pub parked: u64,
    /// The last failure, of a row or of the database.
    pub last_error: Option<Error>,
}
