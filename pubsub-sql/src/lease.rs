//! Leases: one owner at a time, until a time by the database's clock.

use std::time::Duration;

use pubsub_core::Result;

use crate::{
    Connection,
    error::fault,
    millis,
    statement::{Statement, execute, statement},
};

const TAKE: Statement = statement!(
    "INSERT INTO pubsub_lease (name, owner, expires) VALUES ($1, $2, " now " + $3) \
     ON CONFLICT (name) DO UPDATE SET owner = excluded.owner, expires = excluded.expires \
     WHERE pubsub_lease.owner = excluded.owner OR pubsub_lease.expires < " now
);
const GIVE_UP: Statement = statement!("DELETE FROM pubsub_lease WHERE name = $1 AND owner = $2");

/// Takes the lease or prolongs it; false if another one has it.
pub(crate) async fn take(connection: Connection<'_>, name: &str, owner: &str, lease: Duration) -> Result<bool> {
    let rows = execute!(connection, TAKE, name, owner, millis(lease)).map_err(fault("take lease"))?;
    Ok(rows == 1)
}

/// Gives it up, if it is `owner`'s.
pub(crate) async fn give_up(connection: Connection<'_>, name: &str, owner: &str) -> Result<()> {
    execute!(connection, GIVE_UP, name, owner).map_err(fault("give up lease"))?;
    Ok(())
}
