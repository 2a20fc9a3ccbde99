//! `DedupStore`: which events a group has handled already.

use std::{fmt, time::Duration};

use crate::{EventId, GroupName, Result, driver::async_trait};

/// What a store says to a consumer that wants to handle an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum DedupClaim {
    /// It may: nobody else will, until the claim is confirmed, released, or over.
    Granted,
    /// The event was handled.
    Done,
    /// Another consumer is at it, and its claim holds for so long still.
    Busy(Duration),
}

/// Remembers which events a group has handled, by their ids.
///
/// Every call is atomic: of two consumers that claim an event at the same time, one is granted it.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a store for deduplication",
    label = "does not implement `DedupStore`",
    note = "`MemoryDedup` remembers within the process; the SQL stores do so in a database"
)]
#[async_trait]
pub trait DedupStore: Send + Sync + fmt::Debug {
    /// Claims an event for `lease`, unless it was handled or is claimed.
    ///
    /// # Errors
    /// What the store reports; nothing is claimed then, as far as the caller can know.
    async fn claim(&self, group: &GroupName, id: &EventId, lease: Duration) -> Result<DedupClaim>;

    /// Notes that the event was handled, whether or not the claim is over by now.
    ///
    /// # Errors
    /// What the store reports; the claim then holds until it is over.
    async fn confirm(&self, group: &GroupName, id: &EventId) -> Result<()>;

    /// Gives a claim back. Does nothing for an event that was handled.
    ///
    /// # Errors
    /// What the store reports; the claim then holds until it is over.
    async fn release(&self, group: &GroupName, id: &EventId) -> Result<()>;
}
