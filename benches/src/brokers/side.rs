//! The two sides of a comparison, and the limit as one of them.

use std::future::Future;

use crate::{
    event::Order,
    json,
    limit::{Limit, Place},
};

/// What typed events go through: the library, or a client with JSON by hand.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is no side of a comparison",
    note = "there are `Ours` and `Json<Limit>`"
)]
pub trait Side: Sized + Send + Sync + 'static {
    /// Connects, and makes the place with its group.
    fn open(place: &Place) -> impl Future<Output = Self> + Send;

    /// Publishes the event so often in a window, and returns when all are confirmed.
    fn publish(&self, count: usize, event: &Order) -> impl Future<Output = ()> + Send;

    /// Publishes one; resolves when it is confirmed. Polled once it is on its way.
    fn send(&self, event: Order) -> impl Future<Output = ()> + Send + 'static;

    /// Reads, decodes and acknowledges so many, and returns when the broker has the last acknowledgement.
    fn consume(&self, count: usize, wide: bool, each: impl FnMut(&Order) + Send) -> impl Future<Output = ()> + Send;

    /// Lets go of the broker.
    fn close(self) -> impl Future<Output = ()> + Send;
}

/// A client with JSON by hand.
#[derive(Debug)]
pub struct Json<L>(L);

impl<L: Limit> Side for Json<L> {
    async fn open(place: &Place) -> Self {
        Self(L::open(place).await)
    }

    async fn publish(&self, count: usize, event: &Order) {
        self.0.publish(count, || json::encode(event)).await;
    }

    fn send(&self, event: Order) -> impl Future<Output = ()> + Send + 'static {
        self.0.send(json::encode(&event))
    }

    async fn consume(&self, count: usize, _: bool, mut each: impl FnMut(&Order) + Send) {
        self.0.consume(count, |body| each(&json::decode(body).payload)).await;
    }

    async fn close(self) {}
}
