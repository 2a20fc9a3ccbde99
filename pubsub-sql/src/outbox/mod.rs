//! `SqlOutbox`: events that are committed with the data that they tell of.

mod rows;
mod wake;

use pubsub_core::{Envelope, Event, EventId, PubSub, Result, store::Outbox, wire::document};

use crate::{
    Connection, Database, Relay, Retention,
    error::fault,
    millis,
    statement::{Statement, execute, statement},
};

const INSERT: Statement = Statement {
    sqlite: statement!(
        "INSERT INTO pubsub_outbox (id, name, channel, lane, envelope, ttl, state, created, ready, due) \
         SELECT $1, $2, $3, $4, $5, $6, CASE WHEN $7 > now THEN 3 ELSE 0 END, now, MAX($7, now), MAX($7, now) \
         FROM (SELECT " now " AS now)"
    )
    .sqlite,
    // The notification is delivered when the transaction is committed.
    postgres: statement!(
        "WITH new AS (INSERT INTO pubsub_outbox (id, name, channel, lane, envelope, ttl, state, created, ready, due) \
         SELECT $1, $2, $3, $4, $5, $6, CASE WHEN $7 > now THEN 3 ELSE 0 END, now, GREATEST($7, now), GREATEST($7, now) \
         FROM (SELECT " now " AS now) AS clock RETURNING seq) \
         SELECT CAST(pg_notify('pubsub_outbox', '') AS TEXT) FROM new"
    )
    .postgres,
};

/// Publishes within the user's own transaction: an event exists if, and only if, the transaction is committed. A
/// [`Relay`] then brings it to the bus.
///
/// ```no_run
/// # use pubsub_core as pubsub;
/// # async fn example(bus: pubsub::PubSub, pool: sqlx::SqlitePool, paid: impl pubsub::Event) -> Result<(), Box<dyn std::error::Error>> {
/// # use pubsub_sql::{Database, SqlOutbox};
/// let outbox = SqlOutbox::new(&bus, &Database::from(pool.clone()));
///
/// let mut tx = pool.begin().await?;
/// sqlx::query("UPDATE orders SET paid = 1 WHERE id = 7").execute(&mut *tx).await?;
/// outbox.publish(&mut *tx, &paid).await?;
/// tx.commit().await?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct SqlOutbox {
    bus: PubSub,
    database: Database,
    retention: Retention,
}

impl SqlOutbox {
    /// An outbox in the table `pubsub_outbox` of `database`. Events are checked against the catalog and the policies of
    /// `bus`.
    pub fn new(bus: &PubSub, database: &Database) -> Self {
        Self { bus: bus.clone(), database: database.clone(), retention: Retention::default() }
    }

    /// Sets how long the relay keeps what is done.
    #[must_use]
    pub fn retention(mut self, retention: Retention) -> Self {
        self.retention = retention;
        self
    }

    /// Writes an event into the transaction behind `connection`: `&mut *tx` of sqlx, or `&mut tx` of a
    /// [`Transaction`](crate::Transaction). It is checked now as [`PubSub::publish`] would check it, so what can never
    /// be sent is refused before the commit, and the transaction can go on.
    ///
    /// On SQLite, a transaction that has read before cannot begin to write once another one has written: start it by
    /// [`Database::begin`] or `BEGIN IMMEDIATE`, or write first.
    ///
    /// Order: on channels that keep one, by the order of these calls, if one transaction began its own after the other was
    /// committed. Transactions that overlap have none between them.
    ///
    /// # Errors
    /// `Invalid`, `TooLarge`, `Rejected` and `Unsupported` as [`PubSub::publish`], and the transaction has not noticed;
    /// what the database says, and then PostgreSQL has given up the transaction.
    pub async fn publish<'c, E: Event>(&self, connection: impl Into<Connection<'c>>, event: &E) -> Result<EventId> {
        let prepared = self.bus.publish(event).prepare()?;
        self.store(connection, prepared).await
    }

    /// As [`SqlOutbox::publish`], for a raw event.
    ///
    /// # Errors
    /// As [`SqlOutbox::publish`]; also `Codec` if the payload does not fit its definition in the catalog.
    pub async fn publish_envelope<'c>(
        &self,
        connection: impl Into<Connection<'c>>,
        envelope: Envelope,
    ) -> Result<EventId> {
        let prepared = self.bus.publish_envelope(envelope).prepare()?;
        self.store(connection, prepared).await
    }

    /// Writes an event that was made with options: `bus.publish(&event).key(…).delay(…).prepare()?`.
    ///
    /// # Errors
    /// `TooLarge` if the event has more metadata than a wire may carry; what the database says.
    pub async fn store<'c>(
        &self,
        connection: impl Into<Connection<'c>>,
        prepared: pubsub_core::Prepared,
    ) -> Result<EventId> {
        let message = &prepared.message;
        let envelope = document::encode(message.envelope())?;
        let lane = prepared.lane();
        let due = prepared.deliver_at.map(|due| due.as_millis()).unwrap_or(0);
        let stored = execute!(
            connection.into(),
            INSERT,
            message.id().to_string(),
            message.name().as_str(),
            message.channel().as_str(),
            lane.as_deref(),
            &envelope[..],
            prepared.ttl.map(millis),
            due,
        );
        stored.map_err(|cause| fault("write to outbox")(cause).on(message.channel()))?;
        // Relays of this process look until the commit has happened, or takes longer than they care to.
        self.database.committed().notify_waiters();
        Ok(message.id().clone())
    }

    /// Where its table is.
    pub(crate) fn database(&self) -> &Database {
        &self.database
    }

    /// A relay from here to the bus.
    pub fn relay(&self) -> Relay {
        Relay::new(&self.bus, self.clone())
    }

    /// How much waits.
    ///
    /// # Errors
    /// `NotFound` before [`Database::migrate`], `Unavailable` and others from the database.
    pub async fn backlog(&self) -> Result<pubsub_core::store::Backlog> {
        Outbox::backlog(self).await
    }
}
