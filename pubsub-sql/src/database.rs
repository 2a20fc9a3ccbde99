//! `Database`: SQLite or PostgreSQL, whichever the address names.

use std::{fmt, str::FromStr, sync::Arc, time::Duration};

use pubsub_core::{Error, ErrorKind, Result};
use sqlx::{
    PgPool, SqlitePool,
    postgres::{PgConnectOptions, PgPoolOptions},
    sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions},
};
use tokio::sync::Notify;

use crate::{Transaction, connection::Pooled, error::fault, migrate};

/// How long to wait for a free connection.
const FREE_WITHIN: Duration = Duration::from_secs(10);

/// Connections to SQLite or PostgreSQL. Cloning it gives another handle to the same ones.
///
/// ```no_run
/// # async fn example() -> pubsub_core::Result<()> {
/// let database = pubsub_sql::Database::connect("sqlite:shop.db").await?;
/// database.migrate().await?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Database {
    pool: Pool,
    committed: Arc<Notify>,
}

#[derive(Clone)]
pub(crate) enum Pool {
    Sqlite(SqlitePool),
    Postgres(PgPool),
}

impl Database {
    /// Connects within 10 s to `sqlite:path/to/file.db`, which is made if it is not there, or to
    /// `postgres://user:password@host/database`; up to ten connections. What sqlx takes after `?` is taken here.
    ///
    /// Who wants other settings makes a pool of sqlx, and [`Database::from`] it. SQLite then needs the journal mode WAL:
    /// with another one the relay and the application keep each other waiting.
    ///
    /// # Errors
    /// `Invalid` for another address, or for SQLite in memory, where each connection has a database of its own;
    /// `Unavailable`, `Auth` and others from the database.
    pub async fn connect(url: &str) -> Result<Self> {
        const OPERATION: &str = "connect to database";
        let invalid = |text: &'static str| Err(Error::new(ErrorKind::Invalid, OPERATION, text));
        match url.split_once(':').map(|(scheme, _)| scheme) {
            Some("sqlite") if url.contains(":memory:") || url.contains("mode=memory") => {
                invalid("SQLite in memory has a database per connection; name a temporary file instead")
            }
            Some("sqlite") => {
                let options = SqliteConnectOptions::from_str(url).map_err(fault(OPERATION))?;
                let options = options.create_if_missing(true).journal_mode(SqliteJournalMode::Wal);
                let pool = SqlitePoolOptions::new().acquire_timeout(FREE_WITHIN).connect_with(options);
                Ok(pool.await.map_err(unreached(OPERATION))?.into())
            }
            Some("postgres" | "postgresql") => {
                let options = PgConnectOptions::from_str(url).map_err(fault(OPERATION))?;
                let pool = PgPoolOptions::new().acquire_timeout(FREE_WITHIN).connect_with(options);
                Ok(pool.await.map_err(unreached(OPERATION))?.into())
            }
            // The address may hold a password, so it is not repeated.
            _ => invalid("the address must begin with `sqlite:` or `postgres://`"),
        }
    }

    /// Makes the library's tables, or brings them up to date. All their names begin with `pubsub_`. May be called by
    /// several processes at once, and again at any time.
    ///
    /// # Errors
    /// `TopologyMismatch` if a later version of the library has changed the tables; `Auth` without the right to make
    /// tables; `Unavailable` and others from the database.
    pub async fn migrate(&self) -> Result<()> {
        migrate::run(self).await
    }

    /// Starts a transaction.
    ///
    /// # Errors
    /// `Timeout` if no connection becomes free, `Unavailable` and others from the database.
    pub async fn begin(&self) -> Result<Transaction> {
        const OPERATION: &str = "begin transaction";
        match &self.pool {
            Pool::Sqlite(pool) => {
                // One that begins with reading could not go on to write once somebody else has written.
                let transaction = pool.begin_with("BEGIN IMMEDIATE").await.map_err(fault(OPERATION))?;
                Ok(Transaction::sqlite(transaction, self.committed.clone()))
            }
            Pool::Postgres(pool) => {
                let transaction = pool.begin().await.map_err(fault(OPERATION))?;
                Ok(Transaction::postgres(transaction, self.committed.clone()))
            }
        }
    }

    /// Closes all connections, and waits for those that are lent.
    pub async fn close(&self) {
        match &self.pool {
            Pool::Sqlite(pool) => pool.close().await,
            Pool::Postgres(pool) => pool.close().await,
        }
    }

    pub(crate) async fn acquire(&self, operation: &'static str) -> Result<Pooled> {
        match &self.pool {
            Pool::Sqlite(pool) => pool.acquire().await.map(Pooled::Sqlite),
            Pool::Postgres(pool) => pool.acquire().await.map(Pooled::Postgres),
        }
        .map_err(fault(operation))
    }

    pub(crate) fn pool(&self) -> &Pool {
        &self.pool
    }

    /// Tells the relays of this process that rows were written.
    pub(crate) fn committed(&self) -> &Arc<Notify> {
        &self.committed
    }
}

/// Of a new pool nobody else has the connections: if none was had in time, there is no server.
fn unreached(operation: &'static str) -> impl Fn(sqlx::Error) -> Error {
    move |cause| match cause {
        sqlx::Error::PoolTimedOut => {
            let text = format!("the database could not be reached within {FREE_WITHIN:?}");
            Error::new(ErrorKind::Unavailable, operation, text)
        }
        other => fault(operation)(other),
    }
}

impl From<SqlitePool> for Database {
    fn from(pool: SqlitePool) -> Self {
        Self { pool: Pool::Sqlite(pool), committed: Arc::default() }
    }
}

impl From<PgPool> for Database {
    fn from(pool: PgPool) -> Self {
        Self { pool: Pool::Postgres(pool), committed: Arc::default() }
    }
}

impl fmt::Debug for Database {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Not the pool: it shows where it connects to.
        f.write_str(match self.pool {
            Pool::Sqlite(_) => "Database::Sqlite",
            Pool::Postgres(_) => "Database::Postgres",
        })
    }
}
