//! How a router's handlers are subscribed.

use std::time::Duration;

use pubsub_core::{Error, ErrorKind, Raw, Result, StartPosition, Subscribe, Unknown, driver::RetryPolicy};

/// Deliveries of one event at most; above every retry policy.
const MAX_DELIVERIES: u32 = 64;

/// What was set; what was not is inherited, or has its default.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct ConsumerOptions {
    pub(crate) concurrency: Option<usize>,
    pub(crate) max_in_flight: Option<usize>,
    pub(crate) max_deliveries: Option<u32>,
    pub(crate) start: Option<StartPosition>,
    pub(crate) lease: Option<Duration>,
    pub(crate) unknown: Option<Unknown>,
}

/// Takes over what the other side has set and this one has not.
pub(crate) fn inherit<T: Clone>(own: &mut Option<T>, outer: &Option<T>) {
    if own.is_none() {
        own.clone_from(outer);
    }
}

/// Takes over what the other side has set. False if both sides have, and differ.
pub(crate) fn set_once<T: Clone + PartialEq>(own: &mut Option<T>, other: &Option<T>) -> bool {
    inherit(own, other);
    other.is_none() || own == other
}

impl ConsumerOptions {
    pub(crate) fn inherit(&mut self, outer: &Self) {
        inherit(&mut self.concurrency, &outer.concurrency);
        inherit(&mut self.max_in_flight, &outer.max_in_flight);
        inherit(&mut self.max_deliveries, &outer.max_deliveries);
        inherit(&mut self.start, &outer.start);
        inherit(&mut self.lease, &outer.lease);
        inherit(&mut self.unknown, &outer.unknown);
    }

    /// Joins the options of handlers that share a subscription; the names of those that contradict.
    pub(crate) fn join(&mut self, other: &Self) -> Vec<&'static str> {
        let joined = [
            (set_once(&mut self.concurrency, &other.concurrency), "concurrency"),
            (set_once(&mut self.max_in_flight, &other.max_in_flight), "max_in_flight"),
            (set_once(&mut self.max_deliveries, &other.max_deliveries), "max_deliveries"),
            (set_once(&mut self.start, &other.start), "start_at"),
            (set_once(&mut self.lease, &other.lease), "lease"),
            (set_once(&mut self.unknown, &other.unknown), "unknown"),
        ];
        joined.into_iter().filter(|(agree, _)| !agree).map(|(_, field)| field).collect()
    }

    pub(crate) fn concurrency(&self) -> usize {
        self.concurrency.unwrap_or(1)
    }

    /// What is wrong by itself; the rest is told by the subscription.
    pub(crate) fn check(&self) -> Result<()> {
        let rules = [
            (self.concurrency == Some(0), "field `concurrency` must not be zero"),
            (self.max_deliveries == Some(0), "field `max_deliveries` must not be zero"),
        ];
        match rules.into_iter().find(|(broken, _)| *broken) {
            Some((_, text)) => Err(Error::new(ErrorKind::Invalid, "build router", text)),
            None => Ok(()),
        }
    }

    pub(crate) fn apply(&self, mut subscribe: Subscribe<Raw>) -> Subscribe<Raw> {
        // How often an event is tried is decided here, by policies of its handler; the subscription only has the net.
        let most = self.max_deliveries.unwrap_or(MAX_DELIVERIES);
        let net = RetryPolicy::default().attempts(most).deliveries(most);
        subscribe = subscribe.retry(net).unknown(self.unknown.unwrap_or_default());
        if let Some(events) = self.max_in_flight {
            subscribe = subscribe.max_in_flight(events);
        }
        if let Some(start) = &self.start {
            subscribe = subscribe.start(start.clone());
        }
        if let Some(duration) = self.lease {
            subscribe = subscribe.lease(duration);
        }
        subscribe
    }
}
