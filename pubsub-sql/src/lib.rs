//! What keeps events and data together: a transactional outbox with its relay, an inbox for consumers, and a store that
//! lets an action be done once. On SQLite, or on PostgreSQL by another address.
//!
//! - [`SqlOutbox`] writes events into the user's own transaction; a [`Relay`] publishes what was committed.
//! - [`Inbox`] lets an event that comes twice have one effect.
//! - [`SqlIdempotency`] lets an action with an id be done once, and answer the same each time.
//! - [`SqlActions`] gives actions a transaction, [`Tx`], which their answer and their events are committed in.
//! - [`Retention`] is how long all of them remember.
//!
//! Types of sqlx are in the interface, because the transactions are the user's: [`sqlx`] is that version.

mod actions;
mod connection;
mod database;
mod error;
mod idempotency;
mod inbox;
mod lease;
mod migrate;
mod outbox;
mod relay;
mod retention;
mod statement;

use std::time::Duration;

pub use sqlx;

pub use actions::{SqlActions, Tx};
pub use connection::{Connection, Transaction};
pub use database::Database;
pub use idempotency::SqlIdempotency;
pub use inbox::Inbox;
pub use outbox::SqlOutbox;
pub use relay::{Relay, RelayStats, RelayWatch};
pub use retention::Retention;

/// As the databases reckon; what is too long for them is as long as they can.
fn millis(duration: Duration) -> i64 {
    // A quarter of the range, so that adding the time now does not overflow.
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX).min(i64::MAX / 4)
}
