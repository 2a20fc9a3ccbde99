//! The publishing half of an adapter.

use std::{sync::Arc, time::Duration};

use smallvec::SmallVec;

use super::{BoxFuture, MaybeReady};
use crate::{Message, Position, Result, Timestamp};

/// Messages that are enqueued together. One message needs no allocation.
pub type Batch = SmallVec<[Arc<Message>; 1]>;

/// The outcome of each message of a batch, in its order.
pub type Receipts = SmallVec<[Result<Receipt>; 1]>;

/// What `enqueue` gives: resolves when the broker has answered for every message.
///
/// Dropping it cancels nothing. An outer `Err` stands for all messages of the batch.
pub type Tickets = MaybeReady<'static, Result<Receipts>>;

/// The broker's word that it has an event.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Receipt {
    /// Where the event lies in its channel's history, where the broker tells.
    pub position: Option<Position>,
    /// Whether the broker had an event of this id already and kept the first.
    pub duplicate: bool,
}

impl Receipt {
    /// A receipt with a position.
    pub fn at(position: Position) -> Self {
        Self { position: Some(position), duplicate: false }
    }

    /// Marks the event as one that the broker had already.
    #[must_use]
    pub fn duplicate(mut self) -> Self {
        self.duplicate = true;
        self
    }
}

/// What a ticket waits for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Confirm {
    /// The broker has stored the event.
    #[default]
    Accepted,
    /// Every durable group that existed then has settled it; offered by memory only.
    Settled,
}

/// How to publish.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct PublishOptions {
    /// Not to be delivered before this time.
    pub deliver_at: Option<Timestamp>,
    /// Not to be delivered once this much time has passed since it arrived.
    pub ttl: Option<Duration>,
    /// What the ticket waits for.
    pub confirm: Confirm,
    /// How long to wait for room and, on brokers, for the confirmation.
    pub timeout: Duration,
}

impl Default for PublishOptions {
    fn default() -> Self {
        Self { deliver_at: None, ttl: None, confirm: Confirm::Accepted, timeout: Duration::from_secs(10) }
    }
}

/// Takes messages in.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a publisher",
    label = "does not implement `Publisher`",
    note = "an adapter implements `Publisher`, `Subscriber` and `Adapter` of `pubsub::driver`"
)]
pub trait Publisher: Send + Sync {
    /// Hands messages over, in order. Resolves when there is room for them in the in-flight window; the tickets
    /// resolve when the broker has confirmed. All messages of a batch are for one channel.
    ///
    /// Order: messages enqueued one after the other from one task keep that order on the channel.
    ///
    /// Cancel safety: dropping the future before it resolves either has no effect or hands all messages over.
    ///
    /// # Errors
    /// The call's own `Err` means that nothing was sent: `Closed`, `Backpressure` when there was no room within
    /// `options.timeout`, `Unsupported` for an option that the adapter lacks, `NotFound`, `Unroutable`. What befell
    /// single messages is in the tickets.
    fn enqueue<'a>(&'a self, batch: Batch, options: &PublishOptions) -> MaybeReady<'a, Result<Tickets>>;

    /// Waits until every ticket given out before is resolved.
    ///
    /// # Errors
    /// The first error among these tickets.
    fn flush(&self) -> BoxFuture<'_, Result<()>>;
}
