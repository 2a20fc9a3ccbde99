//! The adapter as a whole.

use std::{any::Any, fmt, time::Duration};

use super::{
    Capabilities, Health, History, HistoryRange, Publisher, States, Subscriber, Subscription, Topology, TopologyReport,
    async_trait,
};
use crate::{ChannelName, Error, ErrorKind, GroupName, Result};

/// A private place for replies. It is gone when this value is dropped.
#[derive(Debug)]
pub struct Inbox {
    /// The address that others publish replies to.
    pub address: ChannelName,
    /// The replies.
    pub replies: Subscription,
}

/// A transport for events.
///
/// Adapters reconnect, declare again and subscribe again by themselves, and report it through [`Adapter::states`] and
/// the subscriptions' own state items.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not an adapter",
    label = "does not implement `Adapter`",
    note = "an adapter implements `Publisher`, `Subscriber` and `Adapter` of `pubsub::driver`"
)]
#[async_trait]
pub trait Adapter: Publisher + Subscriber + fmt::Debug {
    /// What the adapter can do, as far as it knows by now.
    fn capabilities(&self) -> Capabilities;

    /// Compares what exists with what is declared, and mends what the mode allows. Never deletes.
    ///
    /// # Errors
    /// `TopologyMismatch` with every difference that is left; `Unsupported` for a policy that the adapter cannot keep.
    async fn ensure(&self, topology: &Topology) -> Result<TopologyReport>;

    /// Deletes a group on one channel. What it has not settled is nobody's any more and holds nothing back; deliveries
    /// of it that are still in hand settle nothing. Whoever subscribes with the name again begins a new group.
    ///
    /// # Errors
    /// `NotFound` if the channel has no such group, `Conflict` while it has members, `Unsupported` where there are no
    /// groups.
    async fn delete_group(&self, channel: &ChannelName, group: &GroupName) -> Result<()>;

    /// How many events wait for a group on a channel: stored, and not handed to any member yet. A broker that only knows
    /// what is settled counts what members have in hand as well; the adapter's page says so. Events that wait to be
    /// delivered again may be counted or not.
    ///
    /// # Errors
    /// `Unsupported` where nobody counts, `NotFound` if the channel has no such group, `Unavailable` and others.
    async fn lag(&self, channel: &ChannelName, group: &GroupName) -> Result<u64> {
        let text = format!("the adapter does not tell the lag of `{group}`");
        Err(Error::new(ErrorKind::Unsupported, "read lag", text).on(channel))
    }

    /// Reads retained events without touching any group.
    ///
    /// # Errors
    /// `PositionExpired` if events after the position are gone, `NotFound` for an unknown channel, `Unsupported`
    /// where there is no history, `Invalid` for a foreign position.
    async fn history(&self, range: &HistoryRange) -> Result<History>;

    /// Opens a private inbox that receives from the moment this returns.
    ///
    /// # Errors
    /// `Unsupported`, `Unavailable`, `Closed`.
    async fn open_inbox(&self) -> Result<Inbox>;

    /// Watches the connection.
    fn states(&self) -> States;

    /// Asks the broker for a sign of life.
    async fn health(&self) -> Health;

    /// Ends everything the adapter owns within `deadline`: refuses new publishes, flushes settlements and tickets,
    /// then closes connections. Closing twice is allowed.
    ///
    /// # Errors
    /// `Timeout` if something had to be left behind; it is closed nevertheless.
    async fn close(&self, deadline: Duration) -> Result<()>;

    /// The adapter's own type, for what the portable interface does not offer.
    fn native(&self) -> Option<&(dyn Any + Send + Sync)> {
        None
    }
}
