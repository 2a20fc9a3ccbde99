//! Which of several relays works.

use std::time::Duration;

use pubsub_core::Result;
use tokio::time::Instant;

use super::Relay;

/// This relay's lease, by its own clock.
pub(super) struct Lead {
    until: Option<Instant>,
    ask_at: Instant,
}

impl Lead {
    pub(super) fn new() -> Self {
        Self { until: None, ask_at: Instant::now() }
    }

    /// Whether the lease holds. The database counts from when it was asked at the earliest, so it ends no sooner there.
    pub(super) fn holds(&self) -> bool {
        self.until.is_some_and(|until| Instant::now() < until)
    }

    /// When to ask again.
    pub(super) fn ask_at(&self) -> Instant {
        self.ask_at
    }

    /// Asks for the lease when its time has come; true if this relay has just begun to lead.
    pub(super) async fn ask(&mut self, relay: &Relay) -> Result<bool> {
        let asked = Instant::now();
        if asked < self.ask_at {
            return Ok(false);
        }
        let held = self.holds();
        // Until the answer says otherwise: the next turn asks again, at the pace of whoever calls.
        let leads = relay.outbox.lead(&relay.name, relay.lease).await?;
        self.until = leads.then(|| asked + relay.lease);
        let again = if leads { relay.lease / 3 } else { (relay.lease / 3).min(relay.poll) };
        self.ask_at = asked + again.max(Duration::from_millis(1));
        relay.shared.leads(leads);
        Ok(leads && !held)
    }
}
