//! What the adapters of real brokers share: options of every address, waiting and healing, tokens, tickets, and the
//! buffer between a client's task and a subscription.

// All of it is used by the four together, and held to that; one adapter alone may leave something out.
#![cfg_attr(
    not(all(feature = "redis", feature = "kafka", feature = "nats", feature = "rabbitmq", feature = "tls")),
    allow(dead_code)
)]

pub(crate) mod attempts;
pub(crate) mod backoff;
pub(crate) mod desk;
pub(crate) mod feed;
pub(crate) mod ledger;
pub(crate) mod options;
pub(crate) mod policies;
pub(crate) mod secret;
pub(crate) mod tls;
pub(crate) mod unreadable;
