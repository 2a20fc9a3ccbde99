//! The limits of the brokers: their clients used by hand, as fast as they go at the guarantee that the library gives.

#[cfg(feature = "kafka")]
pub mod kafka;
#[cfg(feature = "nats")]
pub mod nats;
#[cfg(feature = "rabbitmq")]
pub mod rabbitmq;
#[cfg(feature = "redis")]
pub mod redis;

use std::future::Future;

use bytes::Bytes;
use tokio::sync::mpsc::UnboundedReceiver;

/// Where a sample takes place.
#[derive(Clone, Debug)]
pub struct Place {
    /// The broker.
    pub url: String,
    /// Everything on the broker that the sample makes has this in its name.
    pub name: String,
    /// Whether events go out one by one, so that waiting for more would only delay them.
    pub prompt: bool,
    /// Whether the broker keeps history beside what groups have not settled.
    pub history: bool,
}

impl Place {
    /// How many events are underway at a time, on both sides alike.
    pub fn window(&self) -> usize {
        // Kafka's client waits to send many together.
        if self.url.starts_with("kafka") { 16_000 } else { 2_048 }
    }
}

/// A client of a broker, used by hand: at least once, everything confirmed, one stream, topic or queue.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is no limit",
    note = "the limits are the clients of the four brokers"
)]
pub trait Limit: Sized + Send + Sync + 'static {
    /// Connects, and makes the stream, topic or queue with its group.
    fn open(place: &Place) -> impl Future<Output = Self> + Send;

    /// Publishes so many in a window, and returns when all of them are confirmed.
    fn publish(&self, count: usize, body: impl FnMut() -> Bytes + Send) -> impl Future<Output = ()> + Send;

    /// Publishes one; resolves when it is confirmed. Polled once it is on its way.
    fn send(&self, body: Bytes) -> impl Future<Output = ()> + Send + 'static;

    /// Reads and acknowledges so many as a member of the group, and returns when the broker has the last acknowledgement.
    fn consume(&self, count: usize, each: impl FnMut(&[u8]) + Send) -> impl Future<Output = ()> + Send;

    /// Removes what samples of this name, ours or the limit's, left on the broker, as far as the broker tells.
    fn sweep(place: &Place) -> impl Future<Output = ()> + Send;
}

/// How the users of a client send answers back: to a place of the caller's own, where nothing is stored for later.
#[diagnostic::on_unimplemented(
    message = "`{Self}` has no way back",
    note = "the limits are the clients of the four brokers"
)]
pub trait Back: Limit {
    /// What sends answers.
    type Way: Send + Sync + 'static;

    /// A second client of what `open` has made, for whoever answers.
    fn open_responder(place: &Place) -> impl Future<Output = Self> + Send;

    /// The way back, and where the answers come out of it.
    fn open_back(place: &Place) -> impl Future<Output = (Self::Way, UnboundedReceiver<Bytes>)> + Send;

    /// Sends an answer.
    fn reply(way: &Self::Way, body: Bytes) -> impl Future<Output = ()> + Send + 'static;
}
