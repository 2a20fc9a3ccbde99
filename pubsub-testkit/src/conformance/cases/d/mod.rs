//! Batches.

use crate::conformance::Case;

pub(super) fn cases() -> Vec<Case> {
    Vec::new()
}
