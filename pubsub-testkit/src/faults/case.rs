//! One case of the fault suite.

use std::fmt;

use pubsub_core::driver::{BoxFuture, Feature};

use super::{Flaw, Stage};
use crate::{broker::BrokerKind, conformance::Verdict};

/// One promise that every adapter keeps when something fails.
#[derive(Clone, Copy)]
pub struct FaultCase {
    /// The id in the list of behaviours, such as `X1`; variants add a word after a hyphen.
    pub id: &'static str,
    /// The behaviour in a sentence.
    pub title: &'static str,
    /// What the adapter must offer. If something is missing, the case asserts that asking for it is refused.
    pub needs: &'static [Feature],
    /// The brokers that can fail in that way at all.
    pub on: &'static [BrokerKind],
    /// Faults of an adapter that the case finds; each is proven by a run over an adapter that has it.
    pub bites: &'static [Flaw],
    /// Runs it.
    pub run: fn(Stage) -> BoxFuture<'static, Verdict>,
}

impl fmt::Debug for FaultCase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FaultCase")
            .field("id", &self.id)
            .field("title", &self.title)
            .field("needs", &self.needs)
            .field("bites", &self.bites)
            .finish_non_exhaustive()
    }
}
