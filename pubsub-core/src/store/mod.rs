//! What is kept beside the broker: events that wait in a database, and actions that were done already.
//!
//! The traits name no database. `pubsub-sql` implements them for SQLite and PostgreSQL.

mod dedup;

pub use dedup::{DedupClaim, DedupStore};
