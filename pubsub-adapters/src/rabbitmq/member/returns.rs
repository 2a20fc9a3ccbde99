//! Which returns to a queue say nothing: those by which this member gave back an event, and lives.
//!
//! The broker counts each return of an event alike, whether a pause or a lost connection gave it back or its consumer's
//! process ended. A member that gets an event again had it before and did not end by it.

use std::collections::HashMap;

use pubsub_core::EventId;

/// So many events are known at a time; beyond, all are forgotten, and then they rather count too much.
const MOST: usize = 65_536;

/// How often events that came again were handed out here, by queue and id.
#[derive(Debug, Default)]
pub(super) struct Returns(HashMap<(usize, EventId), u32>);

impl Returns {
    /// How many of an event's returns nobody here explains.
    pub(super) fn unexplained(&mut self, queue: usize, id: &EventId, returns: u32) -> u32 {
        // Most events come once, and are not worth a place.
        if returns == 0 {
            return 0;
        }
        if self.0.len() >= MOST {
            self.0.clear();
        }
        let known = self.0.entry((queue, id.clone())).or_default();
        let unexplained = returns.saturating_sub(*known);
        *known += 1;
        unexplained
    }

    /// Forgets an event that is settled, or begins anew as a copy.
    pub(super) fn forget(&mut self, queue: usize, id: &EventId) {
        if !self.0.is_empty() {
            self.0.remove(&(queue, id.clone()));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_living_member_gave_back_counts_once_at_most() {
        let (mut returns, id) = (Returns::default(), EventId::parse("e-1").unwrap());
        assert_eq!((0..200).map(|times| returns.unexplained(0, &id, times)).max(), Some(1));
        // Another member had it three times meanwhile, and said nothing.
        assert_eq!(returns.unexplained(0, &id, 203), 4);
        assert_eq!(returns.unexplained(1, &id, 203), 203, "of another queue");
        returns.forget(0, &id);
        assert_eq!(returns.unexplained(0, &id, 2), 2, "a copy, whose count began anew");
    }
}
