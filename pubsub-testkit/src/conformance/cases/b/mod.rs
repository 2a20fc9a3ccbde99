//! Settlement and redelivery.

mod acked;
mod attempts;
mod broadcast;
mod delay;
mod dropped;
mod held;
mod lease;
mod letters;
mod nack;
mod settler;

use crate::conformance::Case;

pub(super) fn cases() -> Vec<Case> {
    [
        letters::CASES,
        nack::CASES,
        held::CASES,
        settler::CASES,
        acked::CASES,
        dropped::CASES,
        lease::CASES,
        delay::CASES,
        attempts::CASES,
        broadcast::CASES,
    ]
    .concat()
}
