//! `Delivery`: one event in the hands of one consumer, to be settled once.

use std::{fmt, sync::Arc, time::Duration};

use crate::{
    Error, ErrorKind, Message, Position, Result, Timestamp,
    driver::{AckToken, Outcome, Settler},
};

/// The right and duty to settle one delivery. Settling consumes it; dropping it means that the event comes again.
pub struct AckHandle {
    settler: Option<Arc<dyn Settler>>,
    token: AckToken,
}

impl AckHandle {
    /// A handle over the settler of a source.
    pub fn new(settler: Arc<dyn Settler>, token: AckToken) -> Self {
        Self { settler: Some(settler), token }
    }

    /// A handle that settles nothing, for subscriptions without settlement.
    pub const fn none() -> Self {
        Self { settler: None, token: AckToken { index: 0, generation: 0 } }
    }

    /// Whether the lease still holds; true where there is nothing to settle.
    pub fn is_live(&self) -> bool {
        self.settler.as_ref().is_none_or(|settler| settler.is_live(self.token))
    }

    /// Settles without waiting. False if the lease was gone: nothing is settled then.
    pub fn settle(mut self, outcome: Outcome) -> bool {
        self.settler.take().is_none_or(|settler| settler.settle(self.token, outcome))
    }

    /// Settles and waits for the broker's word.
    ///
    /// # Errors
    /// `Conflict` if the lease was gone; otherwise as [`Settler::confirm`].
    pub async fn confirm(mut self, outcome: Outcome) -> Result<()> {
        match self.settler.take() {
            Some(settler) => settler.confirm(self.token, outcome).await,
            None => Ok(()),
        }
    }

    /// Lets the lease run for `duration` from now.
    ///
    /// # Errors
    /// As [`Settler::extend`].
    pub async fn extend(&self, duration: Duration) -> Result<()> {
        match &self.settler {
            Some(settler) => settler.extend(self.token, duration).await,
            None => Err(Error::new(ErrorKind::Unsupported, "extend lease", "this subscription has no leases")),
        }
    }

    /// The token, for wrappers that keep their own table.
    pub fn token(&self) -> AckToken {
        self.token
    }

    /// The settler, for wrappers that flush or extend without holding the handle. None where there is nothing to settle.
    pub fn settler(&self) -> Option<&Arc<dyn Settler>> {
        self.settler.as_ref()
    }

    /// Lets go without settling, once the lease is gone: whoever took it back settles the event.
    pub fn forget(mut self) {
        self.settler = None;
    }
}

impl Drop for AckHandle {
    fn drop(&mut self) {
        if let Some(settler) = self.settler.take() {
            settler.settle(self.token, Outcome::Dropped);
        }
    }
}

impl fmt::Debug for AckHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "AckHandle({}/{})", self.token.index, self.token.generation)
    }
}

/// One event in the hands of one consumer, as a source gives it.
///
/// `ack`, `nack` and `reject` consume it, so nothing is settled twice. The parts may be taken apart: the duty to
/// settle is in [`AckHandle`] alone.
#[derive(Debug)]
#[non_exhaustive]
pub struct Delivery {
    /// The event, shared with everybody else who gets it.
    pub message: Arc<Message>,
    /// Which delivery of the event to this group this is; the first is 1.
    pub attempt: u32,
    /// Whether other subscribers of this process get the same message, so that decoding it once pays.
    pub shared: bool,
    /// Where the event lies in its channel.
    pub position: Option<Position>,
    /// When this group first met the event, where a redelivery knows it.
    pub first_seen: Option<Timestamp>,
    /// Why the event could not be read, where its bytes are no event. The message then carries them as they came.
    pub fault: Option<Arc<Error>>,
    /// The duty to settle.
    pub ack: AckHandle,
}

impl Delivery {
    /// A first delivery.
    pub fn new(message: Arc<Message>, ack: AckHandle) -> Self {
        Self { message, attempt: 1, shared: false, position: None, first_seen: None, fault: None, ack }
    }

    /// Sets which delivery this is.
    #[must_use]
    pub fn attempt(mut self, attempt: u32) -> Self {
        self.attempt = attempt;
        self
    }

    /// Sets where the event lies.
    #[must_use]
    pub fn at(mut self, position: Position) -> Self {
        self.position = Some(position);
        self
    }

    /// Sets when this group first met the event.
    #[must_use]
    pub fn first_seen(mut self, first_seen: Timestamp) -> Self {
        self.first_seen = Some(first_seen);
        self
    }

    /// Sets whether other subscribers of this process get the same message.
    #[must_use]
    pub fn shared(mut self, shared: bool) -> Self {
        self.shared = shared;
        self
    }

    /// Says why the event could not be read. A group writes it to its dead letters, whatever names it takes; a broadcast
    /// reports the error in its place.
    #[must_use]
    pub fn unreadable(mut self, fault: Error) -> Self {
        self.fault = Some(Arc::new(fault));
        self
    }

    /// Whether the lease still holds. Ask right before starting work on a delivery that waited.
    pub fn is_live(&self) -> bool {
        self.ack.is_live()
    }

    /// Done: the event never comes back to this group. Returns at once; the broker is told in batches.
    pub fn ack(self) {
        self.ack.settle(Outcome::Ack);
    }

    /// Done, and waits until the broker knows.
    ///
    /// # Errors
    /// `Conflict` if the lease was gone, else what the broker says; the event may then come again.
    pub async fn ack_confirmed(self) -> Result<()> {
        self.ack.confirm(Outcome::Ack).await
    }

    /// Settles with the given outcome.
    pub fn settle_as(self, outcome: Outcome) {
        self.ack.settle(outcome);
    }

    /// Lets the lease run for `duration` from now.
    ///
    /// # Errors
    /// `Conflict` if the lease is gone, `Invalid` beyond the adapter's limit, `Unsupported` where leases have none.
    pub async fn extend(&self, duration: Duration) -> Result<()> {
        self.ack.extend(duration).await
    }

    /// Lets go without settling, once the lease is gone: whoever took it back settles the event.
    pub fn forget(self) {
        self.ack.forget();
    }
}
