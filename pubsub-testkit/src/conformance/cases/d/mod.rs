//! Batches.

mod publish;
mod receive;

use crate::conformance::Case;

pub(super) fn cases() -> Vec<Case> {
    [publish::CASES, receive::CASES].concat()
}
