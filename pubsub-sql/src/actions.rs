//! `SqlActions` and `Tx`: actions that work in a transaction, with their answer and their events in the same commit.

use std::{any::Any, fmt, sync::Arc, time::Duration};

use async_trait::async_trait;
use bytes::Bytes;
use pubsub_core::{
    Envelope, Error, ErrorKind, Result,
    store::{ActionId, ActionTransaction, Claim, Idempotency, Permit, Transactions},
};
use pubsub_router::{FromDelivery, HandlerError, Incoming};
use tokio::sync::{MappedMutexGuard, Mutex, MutexGuard};

use crate::{Database, SqlIdempotency, SqlOutbox, Transaction};

/// Gives the actions of the web edge their transactions, and remembers what they answered: `ServerBuilder::transactions` of
/// `pubsub-server` takes it. An action that has a [`Tx`] among its arguments has its effect, its answer, its own event and
/// what it emits in one commit; the outbox's relay publishes them. Other actions are done as without it.
#[derive(Clone, Debug)]
pub struct SqlActions {
    database: Database,
    outbox: SqlOutbox,
    actions: SqlIdempotency,
}

impl SqlActions {
    /// Over the database of an outbox, whose relay somebody has to run.
    pub fn new(outbox: &SqlOutbox) -> Self {
        let database = outbox.database().clone();
        Self { actions: SqlIdempotency::new(&database), outbox: outbox.clone(), database }
    }
}

impl Transactions for SqlActions {
    fn open(&self) -> Arc<dyn ActionTransaction> {
        Arc::new(Work { parts: self.clone(), state: Mutex::new(State::Waiting) })
    }
}

#[async_trait]
impl Idempotency for SqlActions {
    async fn claim(&self, action: &ActionId, input: &[u8], lease: Duration) -> Result<Claim> {
        self.actions.claim(action, input, lease).await
    }

    async fn renew(&self, permit: &Permit, lease: Duration) -> Result<()> {
        self.actions.renew(permit, lease).await
    }

    async fn complete(&self, permit: &Permit, answer: Bytes) -> Result<()> {
        self.actions.complete(permit, answer).await
    }

    async fn abandon(&self, permit: &Permit) -> Result<()> {
        self.actions.abandon(permit).await
    }
}

#[derive(Debug)]
struct Work {
    parts: SqlActions,
    state: Mutex<State>,
}

#[derive(Debug)]
enum State {
    /// The action has not asked for it.
    Waiting,
    Open(Transaction),
    /// Committed or rolled back.
    Over,
}

#[async_trait]
impl ActionTransaction for Work {
    fn companion(self: Arc<Self>) -> Arc<dyn Any + Send + Sync> {
        self
    }

    async fn commit(&self, events: &[Envelope], done: Option<(&Permit, Bytes)>) -> Result<bool> {
        let mut transaction = match std::mem::replace(&mut *self.state.lock().await, State::Over) {
            State::Open(transaction) => transaction,
            State::Waiting | State::Over => return Ok(false),
        };
        for event in events {
            self.parts.outbox.publish_envelope(&mut transaction, event.clone()).await?;
        }
        if let Some((permit, answer)) = done {
            self.parts.actions.complete_in(&mut transaction, permit, &answer).await?;
        }
        transaction.commit().await?;
        Ok(true)
    }

    async fn roll_back(&self) {
        // A transaction that cannot be taken back ends with its connection.
        if let State::Open(transaction) = std::mem::replace(&mut *self.state.lock().await, State::Over)
            && let Err(error) = transaction.rollback().await
        {
            drop(error);
        }
    }
}

/// The transaction of an action, as one of its arguments: what is written in it takes effect if, and only if, the action
/// succeeds, together with its answer and its events.
///
/// ```no_run
/// # use pubsub_core as pubsub;
/// # use pubsub_router as router;
/// use pubsub_sql::{Connection, Tx, sqlx};
/// use router::HandlerError;
///
/// # async fn example<CreateOrder, Created>(order: CreateOrder, created: Created, tx: Tx) -> Result<Created, HandlerError> {
/// let mut tx = tx.begin().await?;
/// let insert = sqlx::query("INSERT INTO orders (id) VALUES ('o-1')");
/// match tx.connection() {
///     Connection::Sqlite(connection) => drop(insert.execute(connection).await?),
///     _ => return Err(HandlerError::give_up("written for SQLite")),
/// }
/// # Ok(created)
/// # }
/// ```
///
/// Only who runs the action with [`Transactions`] has one to give: the web edge with `ServerBuilder::transactions`. A request
/// that came by a broker is refused.
#[derive(Clone)]
pub struct Tx(Arc<Work>);

impl Tx {
    /// The transaction, which begins with the first call; later ones give the same. It is held as long as the guard lives.
    ///
    /// # Errors
    /// As [`Database::begin`]; `Closed` after the action has ended.
    pub async fn begin(&self) -> Result<MappedMutexGuard<'_, Transaction>> {
        let mut state = self.0.state.lock().await;
        if matches!(*state, State::Waiting) {
            *state = State::Open(self.0.parts.database.begin().await?);
        }
        MutexGuard::try_map(state, |state| match state {
            State::Open(transaction) => Some(transaction),
            State::Waiting | State::Over => None,
        })
        .map_err(|_| Error::new(ErrorKind::Closed, "begin transaction", "the action has ended"))
    }
}

impl<S> FromDelivery<S> for Tx {
    fn from_delivery(incoming: &Incoming, _: &S) -> std::result::Result<Self, HandlerError> {
        let work = incoming.companion::<Work>();
        let text = "this action works in a transaction, which only `ServerBuilder::transactions` gives";
        work.map(Self).ok_or_else(|| HandlerError::give_up(text))
    }
}

impl fmt::Debug for Tx {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tx").finish_non_exhaustive()
    }
}
