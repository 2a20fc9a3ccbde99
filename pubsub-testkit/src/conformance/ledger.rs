//! The ledger: what was confirmed, what came, and how often.

use std::collections::{BTreeMap, BTreeSet};

use super::{Bounds, Failure, Verdict};

/// Counts deliveries per serial number, and judges them.
#[derive(Clone, Debug, Default)]
pub struct Ledger {
    confirmed: BTreeSet<usize>,
    seen: BTreeMap<usize, usize>,
    missing: usize,
    deliveries: usize,
}

impl Ledger {
    /// An empty ledger.
    pub fn new() -> Self {
        Self::default()
    }

    /// A ledger of these confirmed serials.
    pub fn expecting(confirmed: impl IntoIterator<Item = usize>) -> Self {
        let mut ledger = Self::new();
        confirmed.into_iter().for_each(|serial| ledger.confirm(serial));
        ledger
    }

    /// Notes that the publisher was told that the broker has this event.
    pub fn confirm(&mut self, serial: usize) {
        if self.confirmed.insert(serial) && !self.seen.contains_key(&serial) {
            self.missing += 1;
        }
    }

    /// Notes a delivery; returns how often the event has come by now.
    pub fn saw(&mut self, serial: usize) -> usize {
        self.deliveries += 1;
        let count = self.seen.entry(serial).or_insert(0);
        *count += 1;
        if *count == 1 && self.confirmed.contains(&serial) {
            self.missing -= 1;
        }
        *count
    }

    /// How many different events came.
    pub fn distinct(&self) -> usize {
        self.seen.len()
    }

    /// How many deliveries were not the first of their event.
    pub fn duplicates(&self) -> usize {
        self.deliveries - self.seen.len()
    }

    /// Whether everything that was confirmed has come.
    pub fn is_complete(&self) -> bool {
        self.missing == 0
    }

    /// Joins another ledger's deliveries to this one.
    pub fn merge(&mut self, other: &Self) {
        for (serial, count) in &other.seen {
            (0..*count).for_each(|_| {
                self.saw(*serial);
            });
        }
    }

    /// Nothing confirmed is missing, nothing came that was never confirmed, and no more duplicates came than the
    /// adapter's bound allows on a healthy run.
    ///
    /// # Errors
    /// A failure with the counts and the first few serials at fault.
    pub fn verdict(&self, bounds: &Bounds) -> Verdict {
        let allowed = (self.deliveries * bounds.duplicates_per_mille).div_ceil(1_000);
        self.verdict_allowing(allowed)
    }

    /// As [`Ledger::verdict`], where the case itself makes up to `duplicates` redeliveries.
    ///
    /// # Errors
    /// As [`Ledger::verdict`].
    pub fn verdict_allowing(&self, duplicates: usize) -> Verdict {
        let missing: Vec<_> = self.confirmed.iter().filter(|serial| !self.seen.contains_key(serial)).collect();
        let foreign: Vec<_> = self.seen.keys().filter(|serial| !self.confirmed.contains(serial)).collect();
        if missing.is_empty() && foreign.is_empty() && self.duplicates() <= duplicates {
            return Ok(());
        }
        let twice: Vec<_> = self.seen.iter().filter(|(_, count)| **count > 1).map(|(serial, _)| serial).collect();
        let expected = format!("all {} confirmed events, at most {duplicates} duplicates", self.confirmed.len());
        let seen = format!(
            "{} events in {} deliveries: missing {}, never published {}, more than once {}",
            self.seen.len(),
            self.deliveries,
            few(&missing),
            few(&foreign),
            few(&twice)
        );
        Err(Failure::new(expected, seen))
    }
}

fn few(serials: &[&usize]) -> String {
    let first: Vec<_> = serials.iter().take(8).map(ToString::to_string).collect();
    let more = if serials.len() > first.len() { ", …" } else { "" };
    format!("{} [{}{more}]", serials.len(), first.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ledger(seen: &[usize]) -> Ledger {
        let mut ledger = Ledger::expecting([1, 2]);
        seen.iter().for_each(|serial| {
            ledger.saw(*serial);
        });
        ledger
    }

    #[test]
    fn losses_strangers_and_duplicates_are_told_apart() {
        assert!(ledger(&[2, 1]).verdict(&Bounds::default()).is_ok());
        for (seen, text) in
            [(vec![1], "missing 1 [2]"), (vec![1, 2, 3], "published 1 [3]"), (vec![1, 2, 2], "than once 1 [2]")]
        {
            let failure = ledger(&seen).verdict(&Bounds::default()).map_err(|failure| failure.to_string());
            assert!(failure.as_ref().is_err_and(|failure| failure.contains(text)), "{seen:?}: {failure:?}");
        }
        assert!(ledger(&[1, 2, 2]).verdict_allowing(1).is_ok());
    }

    #[test]
    fn a_late_confirmation_counts_what_was_seen_before() {
        let mut ledger = Ledger::new();
        ledger.saw(7);
        ledger.confirm(7);
        assert!(ledger.is_complete());
        ledger.confirm(8);
        assert!(!ledger.is_complete());
        ledger.merge(&Ledger::expecting([8]));
        assert!(!ledger.is_complete());
    }
}
