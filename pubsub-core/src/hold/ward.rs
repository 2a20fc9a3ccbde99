//! `Ward`: the handle of an event at the source inside, kept until the event is settled for good.

use std::{
    mem,
    sync::{Arc, OnceLock},
    time::Duration,
};

use crate::{AckHandle, Error, ErrorKind, Result, driver::Outcome};

/// The right to settle at the source inside. It is shared only once an extension was asked for.
pub(super) enum Ward {
    Own(AckHandle),
    Lent(Arc<Loan>),
}

/// A handle that an extension borrows while the table keeps it, too. Whoever lets go last settles.
pub(super) struct Loan {
    handle: Option<AckHandle>,
    /// What was decided: an outcome, or to let go without one.
    fate: OnceLock<Option<Outcome>>,
}

impl Ward {
    pub(super) fn new(handle: AckHandle) -> Self {
        Self::Own(handle)
    }

    pub(super) fn is_live(&self) -> bool {
        match self {
            Self::Own(handle) => handle.is_live(),
            Self::Lent(loan) => loan.handle.as_ref().is_none_or(AckHandle::is_live),
        }
    }

    /// Settles; while an extension is underway, at its end.
    pub(super) fn settle(self, outcome: Outcome) {
        match self {
            Self::Own(handle) => handle.settle(outcome),
            Self::Lent(loan) => loan.decide(Some(outcome)),
        }
    }

    /// Lets go without settling.
    pub(super) fn forget(self) {
        match self {
            Self::Own(handle) => handle.forget(),
            Self::Lent(loan) => loan.decide(None),
        }
    }

    /// Settles and waits for the broker's word.
    pub(super) async fn confirm(self, outcome: Outcome) -> Result<()> {
        let handle = match self {
            Self::Own(handle) => handle,
            Self::Lent(loan) => match Arc::try_unwrap(loan) {
                Ok(mut loan) => loan.handle.take().unwrap_or(AckHandle::none()),
                Err(loan) => {
                    // Only an extension of an earlier lease of the event can still be underway here.
                    loan.decide(Some(outcome));
                    let message = "an extension is underway; the event is settled at its end, without confirmation";
                    return Err(Error::new(ErrorKind::Unavailable, "settle", message).perhaps_applied());
                }
            },
        };
        handle.confirm(outcome).await
    }

    /// Shares the handle for an extension.
    pub(super) fn lend(&mut self) -> Arc<Loan> {
        let loan = match mem::replace(self, Self::Own(AckHandle::none())) {
            Self::Own(handle) => Arc::new(Loan { handle: Some(handle), fate: OnceLock::new() }),
            Self::Lent(loan) => loan,
        };
        *self = Self::Lent(Arc::clone(&loan));
        loan
    }
}

impl Loan {
    pub(super) async fn extend(&self, duration: Duration) -> Result<()> {
        match &self.handle {
            Some(handle) => handle.extend(duration).await,
            None => Ok(()),
        }
    }

    fn decide(self: Arc<Self>, fate: Option<Outcome>) {
        // The table decides once per event; a second decision cannot be.
        let _ = self.fate.set(fate);
    }
}

impl Drop for Loan {
    fn drop(&mut self) {
        let Some(handle) = self.handle.take() else { return };
        match self.fate.get() {
            Some(Some(outcome)) => handle.settle(*outcome),
            Some(None) => handle.forget(),
            None => {}
        }
    }
}
