//! Lifecycle and errors.

mod cancel;
mod close;
mod closed;
mod races;
mod reopen;
mod strict;
mod timing;
mod topology;

use crate::conformance::Case;

pub(super) fn cases() -> Vec<Case> {
    [
        closed::CASES,
        cancel::CASES,
        strict::CASES,
        topology::CASES,
        reopen::CASES,
        races::CASES,
        close::CASES,
        timing::CASES,
    ]
    .concat()
}
