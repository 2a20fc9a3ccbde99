//! What a group has done, written down where only this group writes.

use std::{
    collections::{HashMap, HashSet},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use super::order::OrderCreated;

/// The ledger of one group. It makes an at-least-once delivery count once: the look, the work and the entry are one
/// critical section here, as they are one transaction where a database keeps the ledger.
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    pages: Mutex<Pages>,
}

/// What a ledger holds.
#[derive(Debug, Default)]
pub(crate) struct Pages {
    /// An entry per piece of work that was done, in that order.
    pub(crate) entries: Vec<Arc<str>>,
    /// The orders among them, to look one up.
    known: HashSet<Arc<str>>,
    /// The latest line of the input that was applied of each customer.
    latest: HashMap<String, u64>,
    /// Pieces of work that failed.
    pub(crate) failures: u64,
    /// Orders that came again after they were applied.
    pub(crate) repeats: u64,
    /// Orders that were applied after a later one of the same customer.
    pub(crate) out_of_order: u64,
}

impl Ledger {
    /// Does the work of an order and enters it, unless it is entered already.
    pub(crate) fn once<E>(
        &self,
        order: &OrderCreated,
        line: u64,
        work: impl FnOnce(&OrderCreated) -> Result<(), E>,
    ) -> Result<(), E> {
        let mut pages = self.pages();
        if pages.known.contains(order.order_id.as_str()) {
            pages.repeats += 1;
            return Ok(());
        }
        work(order).inspect_err(|_| pages.failures += 1)?;
        let id: Arc<str> = order.order_id.as_str().into();
        pages.entries.push(id.clone());
        pages.known.insert(id);
        let latest = pages.latest.insert(order.user_id.clone(), line);
        pages.out_of_order += u64::from(latest > Some(line));
        Ok(())
    }

    pub(crate) fn pages(&self) -> MutexGuard<'_, Pages> {
        // The pages are changed only after the work, which is what might panic.
        self.pages.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
