//! `Inbox`: an event that comes twice has one effect.

use pubsub_core::{GroupName, Message, Result};

use crate::{
    Connection,
    error::fault,
    statement::{Statement, execute, statement},
};

const FIRST: Statement = statement!(
    "INSERT INTO pubsub_inbox (inbox, channel, id, seen) VALUES ($1, $2, $3, " now ") ON CONFLICT DO NOTHING"
);

/// Tells, within the handler's own transaction, whether an event comes for the first time. Effect and memory of it are
/// committed together, so whatever happens between the commit and the acknowledgement, the effect is there once.
///
/// ```no_run
/// # use pubsub_core as pubsub;
/// # async fn example(order: pubsub::Received<pubsub::Raw>, pool: sqlx::SqlitePool) -> Result<(), Box<dyn std::error::Error>> {
/// let inbox = pubsub_sql::Inbox::new("billing")?;
///
/// let mut tx = pool.begin().await?;
/// if inbox.first(&mut *tx, order.message()).await? {
///     sqlx::query("INSERT INTO invoices …").execute(&mut *tx).await?;
/// }
/// tx.commit().await?;
/// order.ack();
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct Inbox {
    name: GroupName,
}

impl Inbox {
    /// The inbox of a consumer: usually the name of its group. Inboxes of different names know nothing of each other.
    ///
    /// # Errors
    /// `Invalid` if the name is none for a group.
    pub fn new(name: &str) -> Result<Self> {
        Ok(Self { name: GroupName::parse(name)? })
    }

    /// Whether this inbox meets the event for the first time; an event is known by its channel and its id. Call it before
    /// the effect, in the transaction that will hold the effect. On PostgreSQL a second one that comes while the first
    /// is still at work waits for its end; on SQLite there is one writer at a time anyway.
    ///
    /// A transaction that has read before cannot begin to write on SQLite once another one has written: start it by
    /// [`Database::begin`](crate::Database::begin) or `BEGIN IMMEDIATE`, or call this first.
    ///
    /// # Errors
    /// `NotFound` before [`Database::migrate`](crate::Database::migrate), `Unavailable` and others from the database.
    pub async fn first<'c>(&self, connection: impl Into<Connection<'c>>, message: &Message) -> Result<bool> {
        let (channel, id) = (message.channel(), message.id());
        let rows = execute!(connection.into(), FIRST, self.name.as_str(), channel.as_str(), id.to_string());
        Ok(rows.map_err(|cause| fault("look into inbox")(cause).on(channel))? == 1)
    }
}
