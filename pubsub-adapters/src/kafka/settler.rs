//! Settlement of one member: tokens at the desk, commits by the member's task.

use std::{sync::Arc, time::Duration};

use futures_util::FutureExt;
use pubsub_core::{
    Error, EventId, Message, Position, Result, Timestamp,
    driver::{AckToken, BoxFuture, Outcome, Settler, stale},
};
use tokio::sync::{Notify, OwnedSemaphorePermit};

use crate::common::desk::{Desk, Held};

/// An event of a group in this process.
pub(super) struct Record {
    pub(super) partition: i32,
    pub(super) offset: i64,
    pub(super) message: Arc<Message>,
    pub(super) fault: Option<Error>,
    pub(super) attempt: u32,
    pub(super) first_seen: Timestamp,
    pub(super) position: Option<Position>,
}

/// A record that is out.
pub(super) struct Out {
    pub(super) record: Record,
    /// Which assignment of the partition it was delivered in.
    pub(super) epoch: u64,
    pub(super) _room: OwnedSemaphorePermit,
}

impl Held for Out {
    fn id(&self) -> &EventId {
        self.record.message.id()
    }

    fn attempt(&self) -> u32 {
        self.record.attempt
    }
}

/// The settler of one member.
pub(super) struct GroupSettler {
    pub(super) desk: Desk<Out>,
    /// Somebody waits for the broker's word: commit now.
    pub(super) wanted: Notify,
}

impl Settler for GroupSettler {
    fn settle(&self, token: AckToken, outcome: Outcome) -> bool {
        self.desk.settle(token, outcome)
    }

    fn is_live(&self, token: AckToken) -> bool {
        self.desk.is_live(token)
    }

    fn confirm(&self, token: AckToken, outcome: Outcome) -> BoxFuture<'_, Result<()>> {
        Box::pin(async move {
            let mut confirmed = Box::pin(self.desk.confirm(token, outcome));
            // It has to lie at the desk before the member is asked to commit, or that waits for the next time.
            if let Some(refused) = confirmed.as_mut().now_or_never() {
                return refused;
            }
            self.wanted.notify_one();
            confirmed.await
        })
    }

    /// There are no leases to run out: the event stays here for as long as this process takes part.
    fn extend(&self, token: AckToken, _: Duration) -> BoxFuture<'_, Result<()>> {
        let live = self.desk.is_live(token);
        Box::pin(async move { if live { Ok(()) } else { Err(stale("extend lease")) } })
    }

    fn flush(&self) -> BoxFuture<'_, Result<()>> {
        Box::pin(async move {
            self.wanted.notify_one();
            self.desk.flush().await
        })
    }
}
