//! The cases, by group.

mod a;
mod b;
mod c;
mod crowd;
mod d;
mod e;
mod q;
mod router;

#[cfg(all(feature = "faults", unix))]
pub(crate) use q::Add;

use super::Case;

/// Every case of the suite.
pub fn cases() -> Vec<Case> {
    [a::cases(), b::cases(), c::cases(), d::cases(), e::cases(), q::cases(), router::cases()].concat()
}
