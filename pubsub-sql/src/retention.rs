//! How long what is done is kept.

use std::time::Duration;

use pubsub_core::Result;

use crate::{
    Database,
    error::fault,
    millis,
    statement::{Statement, execute, statement},
};

const OPERATION: &str = "sweep";

const SENT: Statement = statement!(
    "DELETE FROM pubsub_outbox WHERE seq IN (SELECT seq FROM pubsub_outbox \
     WHERE state = 1 AND settled <= " now " - $1 ORDER BY settled LIMIT $2)"
);
const SEEN: Statement = statement!(
    "DELETE FROM pubsub_inbox WHERE (inbox, channel, id) IN (SELECT inbox, channel, id FROM pubsub_inbox \
     WHERE seen <= " now " - $1 ORDER BY seen LIMIT $2)"
);
// An action that runs for as long as this is kept: its claim is prolonged.
const CLAIMED: Statement = statement!(
    "DELETE FROM pubsub_action WHERE (scope, name, id) IN (SELECT scope, name, id FROM pubsub_action \
     WHERE claimed <= " now " - $1 AND expires <= " now " ORDER BY claimed LIMIT $2)"
);

/// How long what is done is kept. What still has to be done is kept until it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Retention {
    /// Rows of the outbox after they were sent; with zero they are deleted instead of being marked, which costs the
    /// database half the work.
    pub sent: Duration,
    /// What an inbox has seen. An event that comes again later than that has its effect again.
    pub inbox: Duration,
    /// Actions with their answers. One that is asked for again later than that is done again.
    pub actions: Duration,
}

impl Default for Retention {
    /// A day of sent rows, a week of the others.
    fn default() -> Self {
        const DAY: Duration = Duration::from_secs(24 * 3_600);
        Self { sent: DAY, inbox: 7 * DAY, actions: 7 * DAY }
    }
}

impl Retention {
    /// Sets how long rows of the outbox are kept after they were sent.
    #[must_use]
    pub const fn sent(mut self, keep: Duration) -> Self {
        self.sent = keep;
        self
    }

    /// Sets how long an inbox remembers.
    #[must_use]
    pub const fn inbox(mut self, keep: Duration) -> Self {
        self.inbox = keep;
        self
    }

    /// Sets how long actions are remembered.
    #[must_use]
    pub const fn actions(mut self, keep: Duration) -> Self {
        self.actions = keep;
        self
    }

    /// Deletes up to `limit` rows of each table that are kept for longer than that; a relay calls it every minute. Gives the
    /// most that it deleted of one table: fewer than `limit` means that nothing is left.
    ///
    /// # Errors
    /// `NotFound` before [`Database::migrate`], `Unavailable` and others from the database.
    pub async fn sweep(&self, database: &Database, limit: usize) -> Result<u64> {
        let mut most = 0;
        for (statement, keep) in [(SENT, self.sent), (SEEN, self.inbox), (CLAIMED, self.actions)] {
            let mut pooled = database.acquire(OPERATION).await?;
            let count = i64::try_from(limit).unwrap_or(i64::MAX);
            let gone = execute!(pooled.connection(), statement, millis(keep), count).map_err(fault(OPERATION))?;
            most = most.max(gone);
        }
        Ok(most)
    }
}
