//! What an adapter implements. Everything else (typing, policies, retry, dead letters, drain) is written once above.
//!
//! The traits are object safe: a program chooses its adapter at run time. [`Publisher`] and [`Subscriber`] carry
//! events, [`Adapter`] adds what both need; a [`Source`] feeds one subscription, a [`Settler`] takes its settlements.

mod adapter;
mod capabilities;
mod history;
mod publisher;
mod ready;
mod settler;
mod source;
mod state;
mod subscriber;
mod topology;

pub use adapter::{Adapter, Inbox};
pub use async_trait::async_trait;
pub use capabilities::{Capabilities, Feature, Limits, OrderKeeper, Support};
pub use history::{History, HistoryRange, Stored};
pub use publisher::{Batch, Confirm, PublishOptions, Publisher, Receipt, Receipts, Tickets};
pub use ready::{BoxFuture, MaybeReady};
pub use settler::{AckToken, Outcome, Settler, stale};
pub use source::{Chunk, Item, Source};
pub use state::{AdapterState, Drain, Gap, GapReason, Health, StateSender, States, SubscriptionState};
pub use subscriber::{Lease, Reach, Renewal, RetryPolicy, SlowConsumer, SubscribeOptions, Subscriber, Subscription};
pub use topology::{ChannelSpec, Difference, Topology, TopologyMode, TopologyReport};
