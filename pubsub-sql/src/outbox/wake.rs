//! When a relay looks for rows: PostgreSQL tells it at the commit, SQLite's writers of this process before it.

use std::{pin::Pin, sync::Arc};

use async_trait::async_trait;
use pubsub_core::{Result, store::Wakeups};
use sqlx::postgres::PgListener;
use tokio::sync::{Notify, futures::OwnedNotified};

use crate::{
    database::{Database, Pool},
    error::fault,
};

pub(super) async fn wakeups(database: &Database) -> Result<Box<dyn Wakeups>> {
    match database.pool() {
        Pool::Sqlite(_) => Ok(Box::new(InProcess::new(database.committed().clone()))),
        Pool::Postgres(pool) => {
            let mut listener = PgListener::connect_with(pool).await.map_err(fault("listen for rows"))?;
            listener.listen("pubsub_outbox").await.map_err(fault("listen for rows"))?;
            Ok(Box::new(Listener(listener)))
        }
    }
}

struct InProcess {
    committed: Arc<Notify>,
    /// Registered already, so that nothing is missed while nobody waits.
    next: Pin<Box<OwnedNotified>>,
}

impl InProcess {
    fn new(committed: Arc<Notify>) -> Self {
        let mut next = Box::pin(committed.clone().notified_owned());
        next.as_mut().enable();
        Self { committed, next }
    }
}

#[async_trait]
impl Wakeups for InProcess {
    async fn next(&mut self) -> Result<()> {
        self.next.as_mut().await;
        let committed = self.committed.clone();
        *self = Self::new(committed);
        Ok(())
    }
}

struct Listener(PgListener);

#[async_trait]
impl Wakeups for Listener {
    async fn next(&mut self) -> Result<()> {
        // Nothing means that the connection broke and was made again: something may have been missed.
        self.0.try_recv().await.map_err(fault("listen for rows"))?;
        // One look finds all that is there.
        while self.0.next_buffered().is_some() {}
        Ok(())
    }
}
