//! What the relay asks of the table.

use std::time::Duration;

use async_trait::async_trait;
use pubsub_core::{
    ChannelName, Error, ErrorKind, EventId, EventName, Result, Timestamp,
    store::{Backlog, Outbox, OutboxRow, ParkedRow, RowId, RowOutcome, Wakeups},
};

use super::{SqlOutbox, wake};
use crate::{
    Connection,
    error::fault,
    lease, millis,
    statement::{Statement, execute, query, statement},
};

/// The longest text of an error that is kept, in bytes.
const MAX_ERROR_LEN: usize = 2_000;

// No position in the table is remembered, so nothing is passed over that an earlier transaction commits later: whatever
// is pending is found, wherever it lies.
const PENDING: Statement = statement!(
    "SELECT seq, envelope, ttl, lane, failures FROM (SELECT * FROM (\
        SELECT seq, envelope, ttl, lane, failures FROM pubsub_outbox \
        WHERE state = 0 AND seq NOT IN " ids " AND (lane IS NULL OR lane NOT IN " texts ") ORDER BY seq LIMIT $2) AS fresh \
     UNION ALL SELECT * FROM (\
        SELECT seq, envelope, ttl, lane, failures FROM pubsub_outbox \
        WHERE state = 3 AND due <= " now " AND seq NOT IN " ids " AND (lane IS NULL OR lane NOT IN " texts ") \
        ORDER BY due, seq LIMIT $2) AS due) AS rows \
     WHERE lane IS NULL OR NOT EXISTS (SELECT 1 FROM pubsub_outbox AS held \
        WHERE held.state = 3 AND held.lane = rows.lane AND held.seq < rows.seq) \
     ORDER BY seq LIMIT $2"
);
const SENT: Statement = statement!("UPDATE pubsub_outbox SET state = 1, settled = " now " WHERE seq IN " ids);
const GONE: Statement = statement!("DELETE FROM pubsub_outbox WHERE seq IN " ids);
const FAILED: Statement = statement!(
    "UPDATE pubsub_outbox SET state = 3, failures = failures + 1, due = " now " + $2, error = $3 \
     WHERE seq = $1 AND state IN (0, 3)"
);
const PARKED: Statement = statement!(
    "UPDATE pubsub_outbox SET state = 2, failures = failures + 1, settled = " now ", error = $2 \
     WHERE seq = $1 AND state IN (0, 3)"
);
const NEXT_DUE: Statement = statement!("SELECT MIN(due) - " now " FROM pubsub_outbox WHERE state = 3");
const BACKLOG: Statement = statement!(
    "SELECT (SELECT COUNT(*) FROM pubsub_outbox WHERE state = 0) + (SELECT COUNT(*) FROM pubsub_outbox WHERE state = 3), \
     (SELECT COUNT(*) FROM pubsub_outbox WHERE state = 2), \
     " now " - (SELECT ready FROM pubsub_outbox WHERE state = 0 ORDER BY seq LIMIT 1), \
     " now " - (SELECT MIN(ready) FROM pubsub_outbox WHERE state = 3)"
);
const LIST: Statement = statement!(
    "SELECT seq, id, name, channel, COALESCE(error, ''), COALESCE(settled, 0) FROM pubsub_outbox \
     WHERE state = 2 AND seq > $1 ORDER BY seq LIMIT $2"
);
const REDRIVE: Statement = statement!(
    "UPDATE pubsub_outbox SET state = 0, failures = 0, settled = NULL, due = " now " WHERE state = 2 AND seq IN " ids
);
const DISCARD: Statement = statement!("DELETE FROM pubsub_outbox WHERE state = 2 AND seq IN " ids);

type Row = (i64, Vec<u8>, Option<i64>, Option<String>, i64);
type Parked = (i64, String, String, String, String, i64);

#[async_trait]
impl Outbox for SqlOutbox {
    async fn lead(&self, relay: &str, lease: Duration) -> Result<bool> {
        let mut pooled = self.database.acquire("lead relay").await?;
        lease::take(pooled.connection(), "relay", relay, lease).await
    }

    async fn resign(&self, relay: &str) -> Result<()> {
        let mut pooled = self.database.acquire("resign as relay").await?;
        lease::give_up(pooled.connection(), "relay", relay).await?;
        // The others need not wait until the lease would have been over.
        self.wake_all(pooled.connection()).await
    }

    async fn pending(&self, limit: usize, in_hand: &[RowId], full_lanes: &[&str]) -> Result<Vec<OutboxRow>> {
        const OPERATION: &str = "read outbox";
        let mut pooled = self.database.acquire(OPERATION).await?;
        let (hand, limit, lanes) = (numbers(in_hand), i64::try_from(limit).unwrap_or(i64::MAX), texts(full_lanes));
        let rows = query!(fetch_all, Row, pooled.connection(), PENDING, &hand, limit, &lanes);
        let rows = rows.map_err(fault(OPERATION))?;
        Ok(rows.into_iter().map(row).collect())
    }

    async fn settle(&self, outcomes: &[(RowId, RowOutcome)]) -> Result<()> {
        const OPERATION: &str = "note what became of outbox rows";
        let sent = outcomes.iter().filter(|(_, outcome)| *outcome == RowOutcome::Sent).map(|(id, _)| *id);
        let sent: Vec<_> = sent.collect();
        let statement = if self.retention.sent.is_zero() { GONE } else { SENT };
        if sent.len() == outcomes.len() {
            let mut pooled = self.database.acquire(OPERATION).await?;
            return match execute!(pooled.connection(), statement, numbers(&sent)) {
                Ok(_) => Ok(()),
                Err(cause) => Err(fault(OPERATION)(cause)),
            };
        }
        let mut transaction = self.database.begin().await?;
        let mut connection = transaction.connection();
        if !sent.is_empty() {
            execute!(connection.reborrow(), statement, numbers(&sent)).map_err(fault(OPERATION))?;
        }
        for (RowId(seq), outcome) in outcomes {
            match outcome {
                RowOutcome::Failed { delay, error } => {
                    execute!(connection.reborrow(), FAILED, *seq, millis(*delay), shortened(error))
                }
                RowOutcome::Parked { error, .. } => execute!(connection.reborrow(), PARKED, *seq, shortened(error)),
                _ => continue,
            }
            .map_err(fault(OPERATION))?;
        }
        transaction.commit().await
    }

    async fn next_due(&self) -> Result<Option<Duration>> {
        const OPERATION: &str = "read outbox";
        let mut pooled = self.database.acquire(OPERATION).await?;
        let (left,) = query!(fetch_one, (Option<i64>,), pooled.connection(), NEXT_DUE).map_err(fault(OPERATION))?;
        Ok(left.map(duration))
    }

    async fn wakeups(&self) -> Result<Box<dyn Wakeups>> {
        wake::wakeups(&self.database).await
    }

    async fn backlog(&self) -> Result<Backlog> {
        const OPERATION: &str = "measure outbox";
        let mut pooled = self.database.acquire(OPERATION).await?;
        let counts = query!(fetch_one, (i64, i64, Option<i64>, Option<i64>), pooled.connection(), BACKLOG);
        let (depth, parked, fresh, waiting) = counts.map_err(fault(OPERATION))?;
        let mut backlog = Backlog::default();
        backlog.depth = depth.unsigned_abs();
        backlog.parked = parked.unsigned_abs();
        backlog.oldest_age = fresh.max(waiting).map(duration).unwrap_or_default();
        Ok(backlog)
    }

    async fn parked(&self, after: Option<RowId>, limit: usize) -> Result<Vec<ParkedRow>> {
        const OPERATION: &str = "list parked outbox rows";
        let mut pooled = self.database.acquire(OPERATION).await?;
        let (after, limit) = (after.map_or(i64::MIN, |RowId(seq)| seq), i64::try_from(limit).unwrap_or(i64::MAX));
        let rows = query!(fetch_all, Parked, pooled.connection(), LIST, after, limit).map_err(fault(OPERATION))?;
        rows.into_iter().map(parked).collect()
    }

    async fn redrive(&self, rows: &[RowId]) -> Result<u64> {
        const OPERATION: &str = "redrive outbox rows";
        let mut pooled = self.database.acquire(OPERATION).await?;
        let count = execute!(pooled.connection(), REDRIVE, numbers(rows)).map_err(fault(OPERATION))?;
        self.wake_all(pooled.connection()).await?;
        Ok(count)
    }

    async fn discard(&self, rows: &[RowId]) -> Result<u64> {
        const OPERATION: &str = "discard outbox rows";
        let mut pooled = self.database.acquire(OPERATION).await?;
        execute!(pooled.connection(), DISCARD, numbers(rows)).map_err(fault(OPERATION))
    }

    async fn sweep(&self, limit: usize) -> Result<u64> {
        self.retention.sweep(&self.database, limit).await
    }
}

impl SqlOutbox {
    /// Has every relay look for rows.
    async fn wake_all(&self, connection: Connection<'_>) -> Result<()> {
        if let Connection::Postgres(connection) = connection {
            let notify = sqlx::query("SELECT CAST(pg_notify('pubsub_outbox', '') AS TEXT)");
            notify.execute(connection).await.map_err(fault("wake relays"))?;
        }
        self.database.committed().notify_waiters();
        Ok(())
    }
}

fn row((seq, envelope, ttl, lane, failures): Row) -> OutboxRow {
    let mut row = OutboxRow::new(RowId(seq), envelope.into());
    row.ttl = ttl.map(duration);
    row.lane = lane;
    row.failures = u32::try_from(failures).unwrap_or(u32::MAX);
    row
}

fn parked((seq, id, name, channel, error, settled): Parked) -> Result<ParkedRow> {
    let foreign = |cause: Error| {
        let text = format!("row {seq} was not written by this library");
        Error::new(ErrorKind::Codec, "list parked outbox rows", text).because(cause)
    };
    let (event, name) = (EventId::parse(&id).map_err(foreign)?, EventName::parse(&name).map_err(foreign)?);
    let mut row = ParkedRow::new(RowId(seq), event, name, ChannelName::parse(&channel).map_err(foreign)?);
    row.error = error;
    row.parked_at = Timestamp::from_millis(settled).map_err(foreign)?;
    Ok(row)
}

/// Milliseconds that the database reckoned; what lies ahead or behind by the wrong sign is zero.
fn duration(millis: i64) -> Duration {
    Duration::from_millis(u64::try_from(millis).unwrap_or(0))
}

fn shortened(text: &str) -> &str {
    &text[..text.floor_char_boundary(MAX_ERROR_LEN)]
}

/// A JSON array, which both databases take for a list of any length.
fn numbers(ids: &[RowId]) -> String {
    let ids: Vec<_> = ids.iter().map(ToString::to_string).collect();
    format!("[{}]", ids.join(","))
}

fn texts(texts: &[&str]) -> String {
    serde_json::Value::from(texts).to_string()
}
