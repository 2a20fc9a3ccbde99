//! What a caller holds over a [`PubSub`](pubsub_core::PubSub) handle: [`EventRpc`] asks and answers questions on any
//! adapter, [`EventBus`] has `on`, `once`, `off` and `emit`.
//!
//! Both are ordinary clients of the handle: they open the inboxes and subscriptions that they need, own the tasks that
//! serve them, and end them when they are closed or dropped.
//! With the feature `http` there is a client for the web edge, too, which needs no broker.

pub mod bus;
#[cfg(feature = "http")]
pub mod http;
pub mod rpc;
mod task;

#[doc(inline)]
pub use bus::EventBus;
#[doc(inline)]
pub use rpc::EventRpc;
