//! What a relay has done so far.

use std::sync::{
    Arc, Mutex, PoisonError,
    atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
};

use pubsub_core::Error;

#[derive(Debug, Default)]
pub(super) struct Shared {
    leads: AtomicBool,
    in_flight: AtomicUsize,
    sent: AtomicU64,
    failed: AtomicU64,
    parked: AtomicU64,
    last_error: Mutex<Option<Error>>,
}

impl Shared {
    pub(super) fn leads(&self, leads: bool) {
        self.leads.store(leads, Ordering::Relaxed);
    }

    pub(super) fn in_flight(&self, rows: usize) {
        self.in_flight.store(rows, Ordering::Relaxed);
    }

    pub(super) fn sent(&self) {
        self.sent.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn failed(&self, error: &Error) {
        self.failed.fetch_add(1, Ordering::Relaxed);
        self.trouble(error);
    }

    pub(super) fn parked(&self, error: &Error) {
        self.parked.fetch_add(1, Ordering::Relaxed);
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
            sent: sent.load(Ordering::Relaxed),
            failed: failed.load(Ordering::Relaxed),
            parked: parked.load(Ordering::Relaxed),
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
