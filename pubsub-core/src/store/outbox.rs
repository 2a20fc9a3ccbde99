//! `Outbox`: events that were committed with the data that they tell of, until a relay has published them.

use std::{fmt, time::Duration};

use async_trait::async_trait;
use bytes::Bytes;

use crate::{ChannelName, ErrorKind, EventId, EventName, Result, Timestamp};

/// A row of an outbox. Later rows have larger numbers, except that of two transactions that run at the same time either
/// may commit first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RowId(pub i64);

impl fmt::Display for RowId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

/// A row that is to be published.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct OutboxRow {
    /// Which row.
    pub id: RowId,
    /// The event in the document form of [`wire::document`](crate::wire::document).
    pub envelope: Bytes,
    /// How long the event may wait at the broker.
    pub ttl: Option<Duration>,
    /// Rows of one lane are published one after the other.
    pub lane: Option<String>,
    /// How often publishing it has failed.
    pub failures: u32,
}

impl OutboxRow {
    /// A row without lane, time to live or failures.
    pub fn new(id: RowId, envelope: Bytes) -> Self {
        Self { id, envelope, ttl: None, lane: None, failures: 0 }
    }
}

/// What became of a row.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum RowOutcome {
    /// The broker has the event.
    Sent,
    /// It has not, or may not have; to be tried again after `delay`. Until then later rows of its lane wait, too.
    Failed {
        /// How long to wait.
        delay: Duration,
        /// Why, for whoever looks at the table.
        error: String,
    },
    /// It is refused for good and set aside; others go on.
    Parked {
        /// Why.
        error: String,
        /// Which kind of error that was.
        kind: ErrorKind,
    },
}

/// A row that was set aside.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct ParkedRow {
    /// Which row.
    pub id: RowId,
    /// The event's id.
    pub event: EventId,
    /// The event's name.
    pub name: EventName,
    /// Its channel.
    pub channel: ChannelName,
    /// Why it was refused.
    pub error: String,
    /// When it was set aside.
    pub parked_at: Timestamp,
}

impl ParkedRow {
    /// A row that was set aside.
    pub fn new(id: RowId, event: EventId, name: EventName, channel: ChannelName) -> Self {
        Self { id, event, name, channel, error: String::new(), parked_at: Timestamp::EPOCH }
    }
}

/// How much waits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Backlog {
    /// Rows that are still to be published, scheduled ones among them.
    pub depth: u64,
    /// How long the oldest of them that is due has waited since it was written, or since it became due; zero if none is.
    pub oldest_age: Duration,
    /// Rows that are set aside.
    pub parked: u64,
}

/// Tells when to look for rows.
#[diagnostic::on_unimplemented(
    message = "`{Self}` does not tell when to look for rows",
    label = "does not implement `Wakeups`",
    note = "an outbox gives its own by `Outbox::wakeups`"
)]
#[async_trait]
pub trait Wakeups: Send {
    /// Waits until rows may have been committed, or soon will be. May also resolve without a cause.
    ///
    /// Cancel safety: a wake-up that comes while nobody waits is not lost.
    ///
    /// # Errors
    /// `Unavailable` and others when wake-ups cannot be had at the moment; whoever waits looks at intervals meanwhile.
    async fn next(&mut self) -> Result<()>;
}

/// Where a relay finds the events that are to be published, and notes what became of them.
///
/// Order: [`Outbox::pending`] gives rows in ascending order of [`RowId`].
///
/// Every method may be dropped before it resolves; it then has either had its whole effect or none.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not an outbox",
    label = "does not implement `Outbox`",
    note = "`pubsub_sql::SqlOutbox` is one, on SQLite and PostgreSQL"
)]
#[async_trait]
pub trait Outbox: Send + Sync + fmt::Debug {
    /// Asks to be the one relay that works, for `lease` from now; again before that is over, to stay it.
    /// False while another one is.
    ///
    /// # Errors
    /// `Unavailable` and others from the database.
    async fn lead(&self, relay: &str, lease: Duration) -> Result<bool>;

    /// Lets others work at once. Nothing happens if `relay` does not lead.
    ///
    /// # Errors
    /// `Unavailable` and others from the database.
    async fn resign(&self, relay: &str) -> Result<()>;

    /// Up to `limit` rows that are due, except those `in_hand`, those of `full_lanes`, and those whose lane has an earlier
    /// row that failed and waits.
    ///
    /// # Errors
    /// `Unavailable` and others from the database.
    async fn pending(&self, limit: usize, in_hand: &[RowId], full_lanes: &[&str]) -> Result<Vec<OutboxRow>>;

    /// Notes what became of rows, all in one transaction.
    ///
    /// # Errors
    /// `Unavailable` and others from the database; nothing is noted then.
    async fn settle(&self, outcomes: &[(RowId, RowOutcome)]) -> Result<()>;

    /// How long until the next row that waits for its time is due; `None` if there is none.
    ///
    /// # Errors
    /// `Unavailable` and others from the database.
    async fn next_due(&self) -> Result<Option<Duration>>;

    /// Wake-ups for one relay.
    ///
    /// # Errors
    /// `Unavailable` and others from the database.
    async fn wakeups(&self) -> Result<Box<dyn Wakeups>>;

    /// How much waits, for metrics and health.
    ///
    /// # Errors
    /// `Unavailable` and others from the database.
    async fn backlog(&self) -> Result<Backlog>;

    /// Rows that were set aside, in order, after a given one.
    ///
    /// # Errors
    /// `Unavailable` and others from the database.
    async fn parked(&self, after: Option<RowId>, limit: usize) -> Result<Vec<ParkedRow>>;

    /// Has rows that were set aside published after all. Gives how many there were.
    ///
    /// # Errors
    /// `Unavailable` and others from the database.
    async fn redrive(&self, rows: &[RowId]) -> Result<u64>;

    /// Deletes rows that were set aside: their events are never published. Gives how many there were.
    ///
    /// # Errors
    /// `Unavailable` and others from the database.
    async fn discard(&self, rows: &[RowId]) -> Result<u64>;

    /// Deletes up to `limit` rows that are kept longer than its retention says. Gives how many; fewer than `limit` means that
    /// none is left. Rows that are pending or set aside are never deleted.
    ///
    /// # Errors
    /// `Unavailable` and others from the database.
    async fn sweep(&self, limit: usize) -> Result<u64>;
}
