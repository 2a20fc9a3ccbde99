//! Publish, consume, payload.

mod confirm;
mod limits;
mod payload;
mod publish;
mod receive;
mod topics;
mod typed;
mod wildcard;

use crate::conformance::Case;

pub(super) fn cases() -> Vec<Case> {
    [
        publish::CASES,
        confirm::CASES,
        payload::CASES,
        topics::CASES,
        typed::CASES,
        limits::CASES,
        receive::CASES,
        wildcard::CASES,
    ]
    .concat()
}
