//! `SqlIdempotency`: an action with an id is done once, across processes and restarts.

use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use pubsub_core::{
    Error, ErrorKind, EventId, Result,
    store::{ActionId, Claim, Idempotency, Permit},
};
use sha2::{Digest, Sha256};

use crate::{
    Connection, Database,
    error::fault,
    millis,
    statement::{Statement, execute, query, statement},
};

const CLAIM: Statement = statement!(
    "INSERT INTO pubsub_action (scope, name, id, fingerprint, owner, claimed, expires) \
     VALUES ($1, $2, $3, $4, $5, " now ", " now " + $6) \
     ON CONFLICT (scope, name, id) DO UPDATE SET owner = excluded.owner, expires = excluded.expires \
     WHERE pubsub_action.answer IS NULL AND pubsub_action.expires < " now " \
     AND pubsub_action.fingerprint = excluded.fingerprint"
);
const FIND: Statement =
    statement!("SELECT fingerprint, answer FROM pubsub_action WHERE scope = $1 AND name = $2 AND id = $3");
const RENEW: Statement = statement!(
    "UPDATE pubsub_action SET expires = " now " + $5 \
     WHERE scope = $1 AND name = $2 AND id = $3 AND owner = $4 AND answer IS NULL"
);
const COMPLETE: Statement = statement!(
    "UPDATE pubsub_action SET answer = $5 WHERE scope = $1 AND name = $2 AND id = $3 AND owner = $4 AND answer IS NULL"
);
const ABANDON: Statement = statement!(
    "DELETE FROM pubsub_action WHERE scope = $1 AND name = $2 AND id = $3 AND owner = $4 AND answer IS NULL"
);

/// How long a claim within a transaction would stay if it were committed without an answer.
const IN_TRANSACTION: Duration = Duration::from_secs(30);

/// Remembers actions and their answers in the table `pubsub_action`; another input under the same id is found by its
/// SHA-256.
///
/// An action that writes to the same database claims within its transaction: then effect and answer are committed
/// together, and exactly one effect is promised, whatever is killed when.
///
/// ```no_run
/// # use pubsub_core as pubsub;
/// # async fn example(database: pubsub_sql::Database, action: pubsub::store::ActionId) -> pubsub::Result<bytes::Bytes> {
/// # use pubsub::{Error, ErrorKind, store::Claim};
/// # let input = b"";
/// let actions = pubsub_sql::SqlIdempotency::new(&database);
/// let mut tx = database.begin().await?;
/// match actions.claim_in(&mut tx, &action, input).await? {
///     Claim::Granted(permit) => {
///         let answer = bytes::Bytes::from_static(b"{\"ok\":true}"); // … and the effect, in `tx`
///         actions.complete_in(&mut tx, &permit, &answer).await?;
///         tx.commit().await?;
///         Ok(answer)
///     }
///     Claim::Answered(answer) => Ok(answer),
///     _ => Err(Error::new(ErrorKind::Unavailable, "create order", "it is being done")),
/// }
/// # }
/// ```
///
/// Others have [`Once`](pubsub_core::store::Once) run them over this store.
#[derive(Clone, Debug)]
pub struct SqlIdempotency {
    database: Database,
}

impl SqlIdempotency {
    /// A store in `database`.
    pub fn new(database: &Database) -> Self {
        Self { database: database.clone() }
    }

    /// Claims an action within the transaction that will hold its effect. Whoever claims the same meanwhile waits for the
    /// end of this transaction: on PostgreSQL for as long as it takes, on SQLite up to its busy timeout (5 s).
    ///
    /// Never gives [`Claim::Running`] for another transaction, only for a claim that was made outside of one.
    ///
    /// # Errors
    /// `Conflict` if the action was claimed with another input; `Unavailable` and others from the database.
    pub async fn claim_in<'c>(
        &self,
        connection: impl Into<Connection<'c>>,
        action: &ActionId,
        input: &[u8],
    ) -> Result<Claim> {
        claim(connection.into(), action, input, IN_TRANSACTION).await
    }

    /// Writes the answer into the transaction that holds the effect.
    ///
    /// # Errors
    /// `Conflict` if the permit is of another transaction; what the database says.
    pub async fn complete_in<'c>(
        &self,
        connection: impl Into<Connection<'c>>,
        permit: &Permit,
        answer: &[u8],
    ) -> Result<()> {
        complete(connection.into(), permit, answer).await
    }
}

#[async_trait]
impl Idempotency for SqlIdempotency {
    async fn claim(&self, action: &ActionId, input: &[u8], lease: Duration) -> Result<Claim> {
        let mut pooled = self.database.acquire("claim action").await?;
        claim(pooled.connection(), action, input, lease).await
    }

    async fn renew(&self, permit: &Permit, lease: Duration) -> Result<()> {
        const OPERATION: &str = "renew claim";
        let mut pooled = self.database.acquire(OPERATION).await?;
        let (scope, name, id) = key(permit.action());
        let rows = execute!(pooled.connection(), RENEW, scope, name, id, permit.owner(), millis(lease));
        held(rows.map_err(fault(OPERATION))?, OPERATION)
    }

    async fn complete(&self, permit: &Permit, answer: Bytes) -> Result<()> {
        let mut pooled = self.database.acquire("complete action").await?;
        complete(pooled.connection(), permit, &answer).await
    }

    async fn abandon(&self, permit: &Permit) -> Result<()> {
        const OPERATION: &str = "abandon action";
        let mut pooled = self.database.acquire(OPERATION).await?;
        let (scope, name, id) = key(permit.action());
        execute!(pooled.connection(), ABANDON, scope, name, id, permit.owner()).map_err(fault(OPERATION))?;
        Ok(())
    }
}

async fn claim(mut connection: Connection<'_>, action: &ActionId, input: &[u8], lease: Duration) -> Result<Claim> {
    const OPERATION: &str = "claim action";
    let (scope, name, id) = key(action);
    let fingerprint = Sha256::digest(input);
    let fingerprint = fingerprint.as_slice();
    let permit = Permit::new(action.clone(), EventId::random().to_string());
    // Between the two statements the action may be abandoned; then there is another chance.
    for _ in 0..3 {
        let owner = permit.owner();
        let rows = execute!(connection.reborrow(), CLAIM, scope, name, &id, fingerprint, owner, millis(lease));
        if rows.map_err(fault(OPERATION))? == 1 {
            return Ok(Claim::Granted(permit));
        }
        let found = query!(fetch_optional, (Vec<u8>, Option<Vec<u8>>), connection.reborrow(), FIND, scope, name, &id);
        match found.map_err(fault(OPERATION))? {
            Some((known, _)) if known != fingerprint => {
                let text = format!("`{}` was asked for under this id with another input", action.name());
                return Err(Error::new(ErrorKind::Conflict, OPERATION, text));
            }
            Some((_, Some(answer))) => return Ok(Claim::Answered(answer.into())),
            Some((_, None)) => return Ok(Claim::Running),
            None => {}
        }
    }
    Ok(Claim::Running)
}

async fn complete(connection: Connection<'_>, permit: &Permit, answer: &[u8]) -> Result<()> {
    const OPERATION: &str = "complete action";
    let (scope, name, id) = key(permit.action());
    let rows = execute!(connection, COMPLETE, scope, name, id, permit.owner(), answer);
    held(rows.map_err(fault(OPERATION))?, OPERATION)
}

fn key(action: &ActionId) -> (&str, &str, String) {
    (action.scope(), action.name().as_str(), action.id().to_string())
}

fn held(rows: u64, operation: &'static str) -> Result<()> {
    if rows == 1 {
        return Ok(());
    }
    let text = "the claim was lost: its lease ran out, and somebody else has the action";
    Err(Error::new(ErrorKind::Conflict, operation, text))
}
