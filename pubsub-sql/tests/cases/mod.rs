//! The cases that both databases have to pass.

pub(crate) mod idempotency;
pub(crate) mod inbox;
pub(crate) mod outbox;
pub(crate) mod relay;
pub(crate) mod relays;

use crate::support::Case;

pub(crate) fn all() -> Vec<Case> {
    [outbox::cases(), relay::cases(), relays::cases(), inbox::cases(), idempotency::cases()].concat()
}
