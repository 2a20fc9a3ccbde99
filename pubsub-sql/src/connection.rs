//! Connections and transactions of either database.

use std::{fmt, sync::Arc};

use pubsub_core::Result;
use sqlx::{PgConnection, Postgres, Sqlite, SqliteConnection};
use tokio::sync::Notify;

use crate::error::fault;

/// A connection that is lent for one call: `&mut *tx` of a transaction of sqlx, or `&mut tx` of a [`Transaction`].
///
/// Whoever writes for both databases matches on it.
#[non_exhaustive]
pub enum Connection<'c> {
    /// To SQLite.
    Sqlite(&'c mut SqliteConnection),
    /// To PostgreSQL.
    Postgres(&'c mut PgConnection),
}

impl Connection<'_> {
    /// The same connection for a shorter time.
    pub fn reborrow(&mut self) -> Connection<'_> {
        match self {
            Self::Sqlite(connection) => Connection::Sqlite(connection),
            Self::Postgres(connection) => Connection::Postgres(connection),
        }
    }
}

impl<'c> From<&'c mut SqliteConnection> for Connection<'c> {
    fn from(connection: &'c mut SqliteConnection) -> Self {
        Self::Sqlite(connection)
    }
}

impl<'c> From<&'c mut PgConnection> for Connection<'c> {
    fn from(connection: &'c mut PgConnection) -> Self {
        Self::Postgres(connection)
    }
}

impl<'c> From<&'c mut Transaction> for Connection<'c> {
    fn from(transaction: &'c mut Transaction) -> Self {
        transaction.connection()
    }
}

impl fmt::Debug for Connection<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Sqlite(_) => "Connection::Sqlite",
            Self::Postgres(_) => "Connection::Postgres",
        })
    }
}

/// A connection of the pool.
pub(crate) enum Pooled {
    Sqlite(sqlx::pool::PoolConnection<Sqlite>),
    Postgres(sqlx::pool::PoolConnection<Postgres>),
}

impl Pooled {
    pub(crate) fn connection(&mut self) -> Connection<'_> {
        match self {
            Self::Sqlite(connection) => Connection::Sqlite(connection),
            Self::Postgres(connection) => Connection::Postgres(connection),
        }
    }
}

/// A transaction on the database that the address named. Dropped, it is rolled back.
///
/// [`Database::begin`](crate::Database::begin) starts one. On SQLite it may write from its start, so it waits for its turn
/// there and does not fail later on; relays of this process look for rows at the moment of its commit.
pub struct Transaction {
    inner: Inner,
    committed: Arc<Notify>,
}

enum Inner {
    Sqlite(sqlx::Transaction<'static, Sqlite>),
    Postgres(sqlx::Transaction<'static, Postgres>),
}

impl Transaction {
    pub(crate) fn sqlite(transaction: sqlx::Transaction<'static, Sqlite>, committed: Arc<Notify>) -> Self {
        Self { inner: Inner::Sqlite(transaction), committed }
    }

    pub(crate) fn postgres(transaction: sqlx::Transaction<'static, Postgres>, committed: Arc<Notify>) -> Self {
        Self { inner: Inner::Postgres(transaction), committed }
    }

    /// Its connection, to run statements on.
    pub fn connection(&mut self) -> Connection<'_> {
        match &mut self.inner {
            Inner::Sqlite(transaction) => Connection::Sqlite(transaction),
            Inner::Postgres(transaction) => Connection::Postgres(transaction),
        }
    }

    /// Makes everything that was written durable, at once.
    ///
    /// # Errors
    /// What the database says. If the connection broke meanwhile, the transaction may have been committed nevertheless, as
    /// [`Error::maybe_applied`](pubsub_core::Error::maybe_applied) tells.
    pub async fn commit(self) -> Result<()> {
        let Self { inner, committed } = self;
        let done = match inner {
            Inner::Sqlite(transaction) => transaction.commit().await,
            Inner::Postgres(transaction) => transaction.commit().await,
        };
        committed.notify_waiters();
        done.map_err(|cause| {
            let uncertain = matches!(cause, sqlx::Error::Io(_));
            let error = fault("commit")(cause);
            if uncertain { error.perhaps_applied() } else { error }
        })
    }

    /// Takes everything back that was written.
    ///
    /// # Errors
    /// What the database says; the transaction ends with its connection then.
    pub async fn rollback(self) -> Result<()> {
        let done = match self.inner {
            Inner::Sqlite(transaction) => transaction.rollback().await,
            Inner::Postgres(transaction) => transaction.rollback().await,
        };
        done.map_err(fault("roll back"))
    }
}

impl fmt::Debug for Transaction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Transaction").finish_non_exhaustive()
    }
}
