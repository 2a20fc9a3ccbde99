//! Publish, consume, payload.

mod publish;

use crate::conformance::Case;

pub(super) fn cases() -> Vec<Case> {
    [publish::CASES].concat()
}
