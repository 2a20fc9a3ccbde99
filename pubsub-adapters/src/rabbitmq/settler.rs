//! Settlement of a group's deliveries.

use std::sync::Arc;

use pubsub_core::{
    EventId, Result, Timestamp,
    driver::{AckToken, BoxFuture, Outcome, Settler},
};

use super::wire::Raw;
use crate::common::desk::{Desk, Held};

/// A delivery that is out.
#[derive(Debug)]
pub(super) struct Out {
    /// The channel of the protocol on which it came, and its tag there.
    pub(super) lane: u64,
    pub(super) tag: u64,
    /// Which of the subscription's queues it came from.
    pub(super) queue: usize,
    pub(super) id: EventId,
    pub(super) attempt: u32,
    pub(super) first_seen: Timestamp,
    pub(super) raw: Box<Raw>,
}

impl Held for Out {
    fn id(&self) -> &EventId {
        &self.id
    }

    fn attempt(&self) -> u32 {
        self.attempt
    }
}

/// The settler of one subscription.
#[derive(Debug)]
pub(super) struct GroupSettler(pub(super) Arc<Desk<Out>>);

impl Settler for GroupSettler {
    fn settle(&self, token: AckToken, outcome: Outcome) -> bool {
        self.0.settle(token, outcome)
    }

    fn is_live(&self, token: AckToken) -> bool {
        self.0.is_live(token)
    }

    fn confirm(&self, token: AckToken, outcome: Outcome) -> BoxFuture<'_, Result<()>> {
        Box::pin(self.0.confirm(token, outcome))
    }

    fn flush(&self) -> BoxFuture<'_, Result<()>> {
        Box::pin(self.0.flush())
    }
}
