//! Settlement and redelivery.

mod acked;
mod attempts;
mod broadcast;
mod delay;
mod dropped;
mod held;
mod lease;
mod nack;
mod settler;

use crate::conformance::Case;

pub(super) fn cases() -> Vec<Case> {
    [
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
