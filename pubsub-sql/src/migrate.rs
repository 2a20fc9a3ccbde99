//! Makes the tables. Not by sqlx's migrator: its table of versions belongs to the application.

use pubsub_core::{Error, ErrorKind, Result};

use crate::{
    Connection, Database,
    error::fault,
    statement::{Statement, execute, query, statement},
};

const OPERATION: &str = "migrate";

/// What each version adds, from the first on. What is released here is never changed.
const STEPS: &[Statement] = &[Statement {
    sqlite: include_str!("migrations/0001.sqlite.sql"),
    postgres: include_str!("migrations/0001.postgres.sql"),
}];

const VERSIONS: Statement =
    statement!("CREATE TABLE IF NOT EXISTS pubsub_schema (version BIGINT PRIMARY KEY, applied BIGINT NOT NULL)");
const NEWEST: Statement = statement!("SELECT COALESCE(MAX(version), 0) FROM pubsub_schema");
const APPLIED: Statement = statement!("INSERT INTO pubsub_schema (version, applied) VALUES ($1, " now ")");

pub(crate) async fn run(database: &Database) -> Result<()> {
    let mut transaction = database.begin().await?;
    let mut connection = transaction.connection();
    if let Connection::Postgres(connection) = &mut connection {
        // One process at a time; on SQLite the transaction alone sees to that. The number is "pubsub" as text.
        let turn = sqlx::query("SELECT pg_advisory_xact_lock(123649465218402)");
        turn.execute(&mut **connection).await.map_err(fault(OPERATION))?;
    }
    execute!(connection.reborrow(), VERSIONS).map_err(fault(OPERATION))?;
    let (newest,) = query!(fetch_one, (i64,), connection.reborrow(), NEWEST).map_err(fault(OPERATION))?;
    let known = STEPS.len();
    let done = usize::try_from(newest).unwrap_or(usize::MAX);
    if done > known {
        let text = format!("the tables are of version {newest}; this version of the library knows {known}");
        return Err(Error::new(ErrorKind::TopologyMismatch, OPERATION, text));
    }
    for (version, step) in (1_i64..).zip(STEPS).skip(done) {
        match connection.reborrow() {
            Connection::Sqlite(connection) => {
                sqlx::raw_sql(step.sqlite).execute(connection).await.map_err(fault(OPERATION))?;
            }
            Connection::Postgres(connection) => {
                sqlx::raw_sql(step.postgres).execute(connection).await.map_err(fault(OPERATION))?;
            }
        }
        execute!(connection.reborrow(), APPLIED, version).map_err(fault(OPERATION))?;
    }
    transaction.commit().await
}
