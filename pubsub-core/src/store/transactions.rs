//! `Transactions`: actions whose effect, answer and events are one commit.

use std::{any::Any, fmt, sync::Arc};

use async_trait::async_trait;
use bytes::Bytes;

use super::{Idempotency, Permit};
use crate::{Envelope, Result};

/// A store of actions that gives each of them a transaction to work in. Whoever runs the action, such as the web edge, adds
/// the answer and the events that it leads to, and commits all of it at once: then exactly one effect is promised,
/// whatever is killed when.
#[diagnostic::on_unimplemented(
    message = "`{Self}` gives actions no transactions",
    label = "does not implement `Transactions`",
    note = "`pubsub_sql::SqlActions` does, on SQLite and PostgreSQL"
)]
pub trait Transactions: Idempotency {
    /// A transaction for one action. It begins when the action first asks for it; until then it costs nothing.
    fn open(&self) -> Arc<dyn ActionTransaction>;
}

/// The transaction of one action.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not the transaction of an action",
    label = "does not implement `ActionTransaction`",
    note = "`Transactions::open` gives one"
)]
#[async_trait]
pub trait ActionTransaction: Send + Sync + fmt::Debug {
    /// Itself, as what the action's argument is looked for in.
    fn companion(self: Arc<Self>) -> Arc<dyn Any + Send + Sync>;

    /// Adds the events, to be published in this order after the commit, and the answer under its permit, where the action
    /// has an id; then commits. False if the action never began the transaction: nothing is done then.
    ///
    /// # Errors
    /// As the outbox and the store of actions; nothing is committed then, but for an error that says `maybe_applied`.
    async fn commit(&self, events: &[Envelope], done: Option<(&Permit, Bytes)>) -> Result<bool>;

    /// Takes back what the action has written.
    async fn roll_back(&self);
}
