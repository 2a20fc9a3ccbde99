//! Comparing what the groups did with what the input demands.

use std::{
    collections::{BTreeSet, HashSet},
    sync::Arc,
};

use serde::Serialize;

use super::{dead_letters::DeadLetter, groups::NAMES, intake::Intake, ledger::Ledger};

/// What does not add up for one group; all empty if everything does.
#[derive(Debug, Default, PartialEq, Serialize)]
pub(crate) struct Verdict {
    /// Accepted, but neither applied nor a dead letter.
    pub(crate) lost: BTreeSet<String>,
    /// Applied more than once, dead more than once, or both.
    pub(crate) twice: BTreeSet<String>,
    /// Applied or dead, but never accepted.
    pub(crate) unknown: BTreeSet<String>,
    /// Dead although it could be applied, or applied although it could not.
    pub(crate) misjudged: BTreeSet<String>,
}

impl Verdict {
    pub(crate) fn is_clean(&self) -> bool {
        *self == Self::default()
    }
}

/// A verdict for each group.
pub(crate) fn all(intake: &Intake, ledgers: &[Arc<Ledger>; 3], dead: &[DeadLetter]) -> Vec<Verdict> {
    let accepted = intake.accepted_ids();
    let verdict = |(group, ledger): (&str, &Arc<Ledger>)| {
        let dead = dead.iter().filter(|letter| letter.group == group).map(|letter| letter.order_id.as_str());
        reconcile(&accepted, &intake.doomed_ids(group), ledger.pages().entries.iter().map(AsRef::as_ref), dead)
    };
    NAMES.into_iter().zip(ledgers).map(verdict).collect()
}

/// Every accepted order is applied once or dead once: the doomed ones dead, all others applied.
fn reconcile<'a>(
    accepted: &HashSet<&str>,
    doomed: &HashSet<&str>,
    applied: impl Iterator<Item = &'a str>,
    dead: impl Iterator<Item = &'a str>,
) -> Verdict {
    let mut verdict = Verdict::default();
    let mut seen = HashSet::new();
    for (id, is_dead) in applied.map(|id| (id, false)).chain(dead.map(|id| (id, true))) {
        if !seen.insert(id) {
            verdict.twice.insert(id.to_owned());
        }
        if !accepted.contains(id) {
            verdict.unknown.insert(id.to_owned());
        } else if is_dead != doomed.contains(id) {
            verdict.misjudged.insert(id.to_owned());
        }
    }
    verdict.lost = accepted.difference(&seen).map(|id| (*id).to_owned()).collect();
    verdict
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Accepted are a to d, of which d cannot be applied.
    fn verdict(applied: &[&str], dead: &[&str]) -> Verdict {
        let accepted = HashSet::from(["a", "b", "c", "d"]);
        reconcile(&accepted, &HashSet::from(["d"]), applied.iter().copied(), dead.iter().copied())
    }

    fn ids(ids: &[&str]) -> BTreeSet<String> {
        ids.iter().map(|id| (*id).to_owned()).collect()
    }

    #[test]
    fn everything_once_is_clean_in_any_order() {
        assert!(verdict(&["c", "a", "b"], &["d"]).is_clean());
    }

    #[test]
    fn a_lost_order_is_named() {
        assert_eq!(verdict(&["a", "c"], &["d"]), Verdict { lost: ids(&["b"]), ..Verdict::default() });
        assert_eq!(verdict(&["a", "b", "c"], &[]), Verdict { lost: ids(&["d"]), ..Verdict::default() });
    }

    #[test]
    fn an_order_applied_twice_is_named_although_the_numbers_agree() {
        let verdict = verdict(&["a", "a", "b"], &["d"]);
        assert_eq!(verdict, Verdict { lost: ids(&["c"]), twice: ids(&["a"]), ..Verdict::default() });
    }

    #[test]
    fn dead_twice_and_applied_as_well_as_dead_are_both_twice() {
        assert_eq!(verdict(&["a", "b", "c"], &["d", "d"]).twice, ids(&["d"]));
        let verdict = verdict(&["a", "b", "c"], &["d", "a"]);
        assert_eq!((verdict.twice, verdict.misjudged), (ids(&["a"]), ids(&["a"])));
    }

    #[test]
    fn what_was_never_accepted_is_unknown() {
        assert_eq!(verdict(&["a", "b", "c", "x"], &["d"]), Verdict { unknown: ids(&["x"]), ..Verdict::default() });
    }

    #[test]
    fn applied_and_dead_the_wrong_way_round_are_misjudged() {
        assert_eq!(verdict(&["a", "b", "d"], &["c"]), Verdict { misjudged: ids(&["c", "d"]), ..Verdict::default() });
    }
}
