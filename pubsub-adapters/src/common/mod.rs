//! What the adapters of real brokers share: options of every address, waiting and healing, tokens, tickets, and the
//! buffer between a client's task and a subscription.

pub(crate) mod backoff;
pub(crate) mod desk;
pub(crate) mod feed;
pub(crate) mod ledger;
pub(crate) mod options;
pub(crate) mod policies;
pub(crate) mod secret;
pub(crate) mod tls;
pub(crate) mod unreadable;
