//! Order, concurrency, groups.

mod crowds;
mod groups;
mod order;
mod replay;
mod retention;
mod seek;
mod slow;
mod window;

use crate::conformance::Case;

pub(super) fn cases() -> Vec<Case> {
    [
        crowds::CASES,
        order::CASES,
        groups::CASES,
        replay::CASES,
        retention::CASES,
        seek::CASES,
        window::CASES,
        slow::CASES,
    ]
    .concat()
}
