//! Checks that are no tests: each holds a rule of the project for the whole tree.

pub(crate) mod arrows;
pub(crate) mod budget;
pub(crate) mod deny;
pub(crate) mod diagnostics;
pub(crate) mod features;
pub(crate) mod msrv;
pub(crate) mod size;

use std::time::Duration;

use crate::report::{Counts, Verdict};

/// No compiler run of a gate takes longer unless it hangs.
const LIMIT: Duration = Duration::from_secs(30 * 60);

fn passed() -> (Verdict, Counts) {
    (Verdict::Passed, Counts::default())
}

fn noted(note: impl Into<String>) -> (Verdict, Counts) {
    (Verdict::Noted(note.into()), Counts::default())
}
