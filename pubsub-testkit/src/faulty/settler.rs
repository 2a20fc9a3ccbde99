//! Faults in settlement.

use std::{
    collections::BTreeMap,
    fmt,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use pubsub_core::{
    AckHandle, Error, ErrorKind, Result,
    driver::{AckToken, BoxFuture, Drain, Outcome, Settler},
};

use super::Fault;

/// As good as for ever, within a test.
pub(super) const FOREVER: Duration = Duration::from_secs(3_600);

/// Stands between the deliveries of a subscription and their real settler.
pub(super) struct FaultySettler {
    fault: Fault,
    drain: Drain,
    table: Mutex<Table>,
}

#[derive(Default)]
struct Table {
    next: u64,
    /// In the hands of users.
    held: BTreeMap<u64, AckHandle>,
    /// Acknowledged by users, which the broker never hears.
    unheard: Vec<AckHandle>,
}

impl FaultySettler {
    pub(super) fn new(fault: Fault, drain: Drain) -> Self {
        Self { fault, drain, table: Mutex::default() }
    }

    /// Takes over a delivery's handle.
    pub(super) fn hold(&self, handle: AckHandle) -> AckToken {
        let mut table = self.table();
        table.next += 1;
        let index = table.next;
        table.held.insert(index, handle);
        AckToken { index, generation: 0 }
    }

    pub(super) fn acknowledge_all(&self) {
        let held = std::mem::take(&mut self.table().held);
        for handle in held.into_values() {
            handle.settle(Outcome::Ack);
        }
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The handle and what to tell it; none if the broker is not told at all.
    fn judge(&self, token: AckToken, outcome: Outcome) -> Option<(AckHandle, Outcome)> {
        let mut table = self.table();
        let handle = table.held.remove(&token.index)?;
        let outcome = match (self.fault, outcome) {
            (Fault::DropAck, Outcome::Ack) => {
                table.unheard.push(handle);
                return None;
            }
            (Fault::CumulativeAck, Outcome::Ack) => {
                let later = table.held.split_off(&token.index);
                let earlier = std::mem::replace(&mut table.held, later);
                for handle in earlier.into_values() {
                    handle.settle(Outcome::Ack);
                }
                Outcome::Ack
            }
            (Fault::RedeliverAcked, Outcome::Ack)
            | (Fault::NackDelayIgnored, Outcome::Nack(_))
            | (Fault::RejectRequeues, Outcome::Reject) => Outcome::Nack(Duration::ZERO),
            (Fault::IgnoreNack, Outcome::Nack(_)) | (Fault::DropAcks, Outcome::Dropped) => Outcome::Ack,
            (Fault::ReleaseLoses, Outcome::Release) => Outcome::Ack,
            (Fault::CloseLosesBuffer, Outcome::Dropped | Outcome::Release) if self.drain.is_draining() => Outcome::Ack,
            (_, outcome) => outcome,
        };
        Some((handle, outcome))
    }
}

impl Settler for FaultySettler {
    fn settle(&self, token: AckToken, outcome: Outcome) -> bool {
        let live = self.is_live(token);
        match self.judge(token, outcome) {
            Some((handle, outcome)) => handle.settle(outcome),
            None => live,
        }
    }

    fn is_live(&self, token: AckToken) -> bool {
        self.table().held.get(&token.index).is_some_and(AckHandle::is_live)
    }

    fn confirm(&self, token: AckToken, outcome: Outcome) -> BoxFuture<'_, Result<()>> {
        Box::pin(async move {
            if !self.is_live(token) {
                return Err(Error::new(ErrorKind::Conflict, "settle", "the lease of this delivery is gone"));
            }
            match self.judge(token, outcome) {
                Some((handle, outcome)) => handle.confirm(outcome).await,
                None => Ok(()),
            }
        })
    }

    fn extend(&self, token: AckToken, duration: Duration) -> BoxFuture<'_, Result<()>> {
        Box::pin(async move {
            if matches!(self.fault, Fault::ExtendIgnored | Fault::SilentUnsupported) {
                return Ok(());
            }
            let handle = self.table().held.remove(&token.index);
            let Some(handle) = handle else {
                return Err(Error::new(ErrorKind::Conflict, "extend lease", "the lease of this delivery is gone"));
            };
            let forever = if self.fault == Fault::LeaseNeverEnds { FOREVER } else { duration };
            let result = handle.extend(forever).await;
            self.table().held.insert(token.index, handle);
            result
        })
    }

    fn flush(&self) -> BoxFuture<'_, Result<()>> {
        Box::pin(async { Ok(()) })
    }
}

impl fmt::Debug for FaultySettler {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FaultySettler").field("fault", &self.fault).finish_non_exhaustive()
    }
}
