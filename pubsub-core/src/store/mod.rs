//! What is kept beside the broker: events that wait in a database, and actions that were done already.
//!
//! The traits name no database. `pubsub-sql` implements them for SQLite and PostgreSQL.

mod dedup;

pub use dedup::{DedupClaim, DedupStore};
mod idempotency;
mod outbox;
mod transactions;

pub use idempotency::{ActionId, Claim, Idempotency, Once, Outcome, Permit};
pub use outbox::{Backlog, Outbox, OutboxRow, ParkedRow, RowId, RowOutcome, Wakeups};
pub use transactions::{ActionTransaction, Transactions};
