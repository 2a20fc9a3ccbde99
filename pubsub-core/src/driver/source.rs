//! A source of deliveries: what an adapter gives for one subscription.

use std::{
    collections::VecDeque,
    task::{Context, Poll},
};

use super::{BoxFuture, Gap, SubscriptionState};
use crate::{Delivery, Error, ErrorKind, Result, StartPosition};

/// What a source has to tell.
#[derive(Debug)]
#[non_exhaustive]
pub enum Item {
    /// An event for this subscription.
    Delivery(Delivery),
    /// Events were lost to this subscription.
    Gap(Gap),
    /// The subscription's connection changed.
    State(SubscriptionState),
}

/// A buffer of items between a source and its subscription; it is reused, so a delivery costs no allocation.
#[derive(Debug, Default)]
pub struct Chunk {
    items: VecDeque<Item>,
}

impl Chunk {
    /// Adds a delivery.
    pub fn push(&mut self, delivery: Delivery) {
        self.items.push_back(Item::Delivery(delivery));
    }

    /// Tells of lost events, at this place among the deliveries.
    pub fn push_gap(&mut self, gap: Gap) {
        self.items.push_back(Item::Gap(gap));
    }

    /// Tells of a change of state.
    pub fn push_state(&mut self, state: SubscriptionState) {
        self.items.push_back(Item::State(state));
    }

    /// Adds any item.
    pub fn push_item(&mut self, item: Item) {
        self.items.push_back(item);
    }

    /// Takes the next item.
    pub fn pop(&mut self) -> Option<Item> {
        self.items.pop_front()
    }

    /// The item that was added last.
    pub fn last(&self) -> Option<&Item> {
        self.items.back()
    }

    /// How many items wait.
    pub fn len(&self) -> usize {
        self.items.len()
    }

    /// Whether none wait.
    pub fn is_empty(&self) -> bool {
        self.items.is_empty()
    }
}

/// Feeds one subscription.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a source",
    label = "does not implement `Source`",
    note = "`Subscriber::subscribe` returns a `Subscription` over a `Source`"
)]
pub trait Source: Send {
    /// Appends at least one item to `chunk`, at most about 256; `None` ends the subscription.
    ///
    /// A source heals itself: an `Err` is reported to the user, and polling goes on after it. Deliveries in `chunk`
    /// count against the subscription's `max_in_flight`.
    fn poll_chunk(&mut self, cx: &mut Context<'_>, chunk: &mut Chunk) -> Poll<Option<Result<()>>>;

    /// Moves the subscription to another position. For a group it moves the group; what is in flight is taken back.
    ///
    /// # Errors
    /// `PositionExpired` if events after that position are gone already, `Invalid` for a foreign position,
    /// `Unsupported` where there is no history.
    fn seek(&mut self, to: StartPosition) -> BoxFuture<'_, Result<()>> {
        let _ = to;
        Box::pin(async { Err(Error::new(ErrorKind::Unsupported, "seek", "this subscription cannot seek")) })
    }

    /// Asks the broker for no more, while `paused`. Deliveries that are underway may still come.
    ///
    /// Doing nothing is right for a source that fetches only when it is polled: a paused subscription is not polled.
    fn set_paused(&mut self, paused: bool) {
        let _ = paused;
    }
}
