//! Batches.

mod batch;
mod publish;
mod receive;

use crate::conformance::Case;

pub(super) fn cases() -> Vec<Case> {
    [publish::CASES, batch::CASES, receive::CASES].concat()
}
