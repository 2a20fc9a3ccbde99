//! An event in a user's hands.

use std::{fmt, ops::Deref, sync::Arc, time::Duration};

use super::{
    consumer::{Consumer, Outstanding},
    dead_letter::{Burial, Writer},
};
use crate::{
    AckHandle, Delivery, Error, ErrorKind, Event, EventDefinition, EventId, GroupName, Key, Message, Meta, Position,
    Result, Timestamp,
    driver::{Limits, Outcome},
    observe::Hop,
};

/// What a subscription makes of a message: an event type decodes it, [`Raw`] leaves it as it is.
#[diagnostic::on_unimplemented(
    message = "a subscription cannot read `{Self}`",
    label = "neither an event type nor `Raw`",
    note = "write `#[pubsub::event(\"category:event\")]` above the type"
)]
pub trait Read: Sized + 'static {
    /// What [`Received::split`] gives beside the [`Ack`].
    type Value;
    /// What a [`Received`] lends.
    type Target: ?Sized;
    /// What a [`Received`] keeps beside the message.
    #[doc(hidden)]
    type Kept: Send + 'static;

    /// Makes what is kept.
    ///
    /// # Errors
    /// `Codec` if the message is not what it should be.
    #[doc(hidden)]
    fn read(delivery: &Delivery, definition: Option<&EventDefinition>) -> Result<Self::Kept>;

    /// Lends it.
    #[doc(hidden)]
    fn target<'a>(kept: &'a Self::Kept, message: &'a Message) -> &'a Self::Target;

    /// Gives it away.
    #[doc(hidden)]
    fn value(kept: Self::Kept, message: &Arc<Message>) -> Self::Value;
}

/// Messages as they come, not decoded.
#[derive(Clone, Copy, Debug)]
pub struct Raw;

impl Read for Raw {
    type Value = Arc<Message>;
    type Target = Message;
    type Kept = ();

    fn read(_: &Delivery, _: Option<&EventDefinition>) -> Result<()> {
        Ok(())
    }

    fn target<'a>((): &'a (), message: &'a Message) -> &'a Message {
        message
    }

    fn value((): (), message: &Arc<Message>) -> Arc<Message> {
        message.clone()
    }
}

/// Where the decoded event is: the one of a shared message stays in it, so that its readers need not count references on
/// a cache line that all of them write. The only copy is behind a pointer because it changes hands several times.
#[derive(Debug)]
pub enum Kept<E> {
    /// Here.
    Own(Arc<E>),
    /// In the message.
    InMessage,
}

impl<E: Event> Read for E {
    type Value = Arc<E>;
    type Target = E;
    type Kept = Kept<E>;

    fn read(delivery: &Delivery, definition: Option<&EventDefinition>) -> Result<Kept<E>> {
        let message = &delivery.message;
        let decode = || match definition {
            Some(definition) => definition.decode::<E>(message),
            None => EventDefinition::of::<E>()?.decode::<E>(message),
        };
        if !delivery.shared {
            return decode().map(|event| Kept::Own(Arc::new(event)));
        }
        if message.decoded::<E>().is_none() {
            let event = Arc::new(decode()?);
            // The first to decode leaves its value; it may have been of another type.
            if !message.keep_decoded(event.clone()) && message.decoded::<E>().is_none() {
                return Ok(Kept::Own(event));
            }
        }
        Ok(Kept::InMessage)
    }

    #[expect(clippy::expect_used, reason = "a message that others hold too never loses what `read` has seen in it")]
    fn target<'a>(kept: &'a Kept<E>, message: &'a Message) -> &'a E {
        match kept {
            Kept::Own(event) => event,
            Kept::InMessage => message.decoded().expect("the message keeps the value"),
        }
    }

    #[expect(clippy::expect_used, reason = "as in `target`")]
    fn value(kept: Kept<E>, message: &Arc<Message>) -> Arc<E> {
        match kept {
            Kept::Own(event) => event,
            Kept::InMessage => message.decoded_arc().expect("the message keeps the value"),
        }
    }
}

/// An event in a user's hands: reads like the event itself, and is settled once.
///
/// Dropped unsettled, it comes again after the subscription's backoff and counts an attempt; while the bus is being
/// closed, it stays unsettled.
pub struct Received<T: Read> {
    kept: T::Kept,
    ack: Ack,
}

/// The duty to settle one event, apart from the event itself.
pub struct Ack {
    /// An empty one, once it is settled. Before `outstanding`: what is dropped unsettled reaches its settler before it
    /// stops being counted.
    handle: AckHandle,
    message: Arc<Message>,
    attempt: u32,
    position: Option<Position>,
    first_seen: Option<Timestamp>,
    shared: bool,
    outstanding: Outstanding,
}

impl Ack {
    pub(super) fn new(delivery: Delivery, consumer: &Arc<Consumer>) -> Self {
        let Delivery { message, attempt, position, first_seen, shared, ack, .. } = delivery;
        Self { handle: ack, message, attempt, position, first_seen, shared, outstanding: Outstanding::new(consumer) }
    }

    pub(super) fn consumer(&self) -> &Consumer {
        &self.outstanding.consumer
    }

    /// Done: the event never comes back to this group. Returns at once; the broker is told in batches.
    pub fn ack(self) {
        self.settle(Outcome::Ack);
    }

    /// Done, and waits until the broker knows.
    ///
    /// # Errors
    /// `Conflict` if the lease was gone, else what the broker says; the event may then come again.
    pub async fn ack_confirmed(mut self) -> Result<()> {
        let told = self.take_handle().confirm(Outcome::Ack).await;
        if told.as_ref().is_err_and(|error| error.kind() == ErrorKind::Conflict) {
            self.consumer().counts.refused.one();
        }
        told
    }

    /// What comes too late is refused by the settler, and counted here.
    fn settle(mut self, outcome: Outcome) {
        if !self.take_handle().settle(outcome) {
            self.consumer().counts.refused.one();
        }
    }

    fn take_handle(&mut self) -> AckHandle {
        std::mem::replace(&mut self.handle, AckHandle::none())
    }

    /// Failed: the event comes again after the subscription's backoff, or becomes a dead letter when its attempts
    /// are used up.
    ///
    /// # Errors
    /// `Unsupported` on a broadcast, which has nothing to deliver again; the event counts as read.
    pub fn nack(self) -> Result<()> {
        self.fail("nacked")
    }

    /// As [`Ack::nack`], with the reason that a dead letter would carry.
    ///
    /// # Errors
    /// As [`Ack::nack`].
    pub fn fail(self, reason: impl fmt::Display) -> Result<()> {
        let delay = self.consumer().retry.delay(self.message.id(), self.attempt);
        self.redeliver(delay, reason)
    }

    /// Failed: the event comes again after `delay`, or becomes a dead letter when its attempts are used up.
    ///
    /// # Errors
    /// As [`Ack::nack`]; `Invalid` beyond the adapter's limit, and the event comes again as if it had been dropped.
    pub fn nack_after(self, delay: Duration) -> Result<()> {
        self.fail_after(delay, "nacked")
    }

    /// As [`Ack::nack_after`], with the reason that a dead letter would carry.
    ///
    /// # Errors
    /// As [`Ack::nack_after`].
    pub fn fail_after(self, delay: Duration, reason: impl fmt::Display) -> Result<()> {
        self.demand_group("nack")?;
        Limits::check("delay", Some(delay), self.consumer().max_delay)
            .map_err(|text| Error::new(ErrorKind::Invalid, "nack", text).on(self.message.channel()))?;
        self.redeliver(delay, reason)
    }

    /// Nothing was done with it: the event comes again at once, and no attempt is counted. On a broadcast it counts as
    /// read.
    pub fn release(self) {
        self.settle(Outcome::Release);
    }

    fn redeliver(self, delay: Duration, reason: impl fmt::Display) -> Result<()> {
        self.demand_group("nack")?;
        self.consumer().counts.failed.one();
        if self.consumer().retry.is_exhausted(self.attempt) && self.consumer().dead_letters.is_some() {
            self.bury(reason.to_string());
        } else {
            self.consumer().counts.retried.one();
            self.settle(Outcome::Nack(delay));
        }
        Ok(())
    }

    /// Given up: the event never comes back, and becomes a dead letter with this reason.
    ///
    /// # Errors
    /// As [`Ack::nack`].
    pub fn reject(self, reason: impl fmt::Display) -> Result<()> {
        self.demand_group("reject")?;
        self.consumer().counts.failed.one();
        if self.consumer().dead_letters.is_some() {
            self.bury(reason.to_string());
        } else {
            self.settle(Outcome::Reject);
        }
        Ok(())
    }

    /// Given up because the event cannot be read: a dead letter in a group that keeps them, and counted as undecodable.
    pub fn reject_unreadable(self, reason: &Error) {
        self.consumer().counts.failed.one();
        self.consumer().counts.undecodable.one();
        self.bury(reason.to_string());
    }

    /// Hands the delivery to the writer of dead letters, which settles it once the copy is confirmed.
    pub(super) fn bury(mut self, reason: String) {
        let Some(writer) = &self.consumer().dead_letters else { return self.settle(Outcome::Reject) };
        let writer = writer.clone();
        let handle = self.take_handle();
        self.bury_by(&writer, handle, reason);
    }

    fn bury_by(&self, writer: &Writer, handle: AckHandle, reason: String) {
        let burial = Burial {
            handle,
            message: self.message.clone(),
            attempt: self.attempt,
            first_seen: self.first_seen,
            reason,
            outstanding: Outstanding::new(&self.outstanding.consumer),
            hop: Hop::current(),
        };
        if writer.bury(burial) {
            self.consumer().counts.dead_lettered.one();
        }
    }

    fn demand_group(&self, operation: &'static str) -> Result<()> {
        if self.consumer().group.is_some() {
            return Ok(());
        }
        let text = "a broadcast has no settlement; only a group delivers an event again";
        Err(Error::new(ErrorKind::Unsupported, operation, text).on(self.message.channel()))
    }

    /// The span of working on the event, in the event's trace. Empty without the feature `trace`.
    pub fn hop(&self) -> Hop {
        let group = self.consumer().group.as_ref().map_or("", GroupName::as_str);
        Hop::process(&self.consumer().observer, group, &self.message, self.attempt)
    }

    /// Lets the lease run for `duration` from now.
    ///
    /// # Errors
    /// `Conflict` if the lease is gone, `Invalid` beyond the adapter's limit, `Unsupported` where leases have none.
    pub async fn extend(&self, duration: Duration) -> Result<()> {
        self.handle.extend(duration).await
    }

    /// Whether the lease still holds. Ask right before starting work on an event that waited.
    pub fn is_live(&self) -> bool {
        self.handle.is_live()
    }

    /// The message.
    pub fn message(&self) -> &Arc<Message> {
        &self.message
    }

    /// Which delivery of the event to this group this is; the first is 1.
    pub fn attempt(&self) -> u32 {
        self.attempt
    }

    /// Whether this is the last delivery before the event becomes a dead letter.
    pub fn is_last_attempt(&self) -> bool {
        self.consumer().dead_letters.is_some() && self.consumer().retry.is_exhausted(self.attempt)
    }

    /// Where the event lies in its channel, where the adapter tells.
    pub fn position(&self) -> Option<&Position> {
        self.position.as_ref()
    }

    /// When this group first met the event, where a redelivery knows it.
    pub fn first_seen(&self) -> Option<Timestamp> {
        self.first_seen
    }

    /// Whether other subscribers of this process get the same message, so that decoding it once pays.
    pub fn is_shared(&self) -> bool {
        self.shared
    }
}

/// Dropped unsettled is failed: the settler brings the event again, unless this was its last attempt. What a drain or a
/// lost lease has taken back has not failed.
impl Drop for Ack {
    fn drop(&mut self) {
        if self.handle.settler().is_none() || !self.consumer().retry.is_exhausted(self.attempt) {
            return;
        }
        let Consumer { dead_letters: Some(writer), drain, .. } = self.consumer() else { return };
        if !drain.is_draining() && self.is_live() {
            let writer = writer.clone();
            let handle = self.take_handle();
            self.bury_by(&writer, handle, "dropped unsettled, as by a panic".to_owned());
        }
    }
}

impl fmt::Debug for Ack {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ack").field("id", self.message.id()).field("attempt", &self.attempt).finish_non_exhaustive()
    }
}

impl<T: Read> Received<T> {
    pub(super) fn new(kept: T::Kept, ack: Ack) -> Self {
        Self { kept, ack }
    }

    /// Takes event and settlement apart. `Arc::unwrap_or_clone` makes an event one's own; it has to clone only what
    /// other subscribers of this process read too.
    pub fn split(self) -> (T::Value, Ack) {
        (T::value(self.kept, &self.ack.message), self.ack)
    }

    /// Done: the event never comes back to this group. Returns at once; the broker is told in batches.
    pub fn ack(self) {
        self.ack.ack();
    }

    /// Done, and waits until the broker knows.
    ///
    /// # Errors
    /// As [`Ack::ack_confirmed`].
    pub async fn ack_confirmed(self) -> Result<()> {
        self.ack.ack_confirmed().await
    }

    /// Failed: the event comes again after the subscription's backoff.
    ///
    /// # Errors
    /// As [`Ack::nack`].
    pub fn nack(self) -> Result<()> {
        self.ack.nack()
    }

    /// As [`Received::nack`], with the reason that a dead letter would carry.
    ///
    /// # Errors
    /// As [`Ack::nack`].
    pub fn fail(self, reason: impl fmt::Display) -> Result<()> {
        self.ack.fail(reason)
    }

    /// Failed: the event comes again after `delay`.
    ///
    /// # Errors
    /// As [`Ack::nack_after`].
    pub fn nack_after(self, delay: Duration) -> Result<()> {
        self.ack.nack_after(delay)
    }

    /// Given up: the event never comes back, and becomes a dead letter with this reason.
    ///
    /// # Errors
    /// As [`Ack::reject`].
    pub fn reject(self, reason: impl fmt::Display) -> Result<()> {
        self.ack.reject(reason)
    }

    /// The span of working on the event, as a handler of the router has it: what is published in it belongs to the event's
    /// trace. Empty without the feature `trace`.
    ///
    /// ```
    /// # async fn example(received: pubsub_core::Received<pubsub_core::Raw>) {
    /// let work = async { /* … */ };
    /// received.hop().run(work).await;
    /// received.ack();
    /// # }
    /// ```
    pub fn hop(&self) -> Hop {
        self.ack.hop()
    }

    /// Lets the lease run for `duration` from now.
    ///
    /// # Errors
    /// As [`Ack::extend`].
    pub async fn extend(&self, duration: Duration) -> Result<()> {
        self.ack.extend(duration).await
    }

    /// Whether the lease still holds.
    pub fn is_live(&self) -> bool {
        self.ack.is_live()
    }

    /// The message, with everything that came with the event.
    pub fn message(&self) -> &Arc<Message> {
        self.ack.message()
    }

    /// The event's id.
    pub fn id(&self) -> &EventId {
        self.ack.message.id()
    }

    /// The event's ordering key.
    pub fn key(&self) -> Option<&Key> {
        self.ack.message.key()
    }

    /// The event's metadata.
    pub fn meta(&self) -> &Meta {
        self.ack.message.meta()
    }

    /// Which delivery of the event to this group this is; the first is 1.
    pub fn attempt(&self) -> u32 {
        self.ack.attempt
    }

    /// Whether this is the last delivery before the event becomes a dead letter.
    pub fn is_last_attempt(&self) -> bool {
        self.ack.is_last_attempt()
    }

    /// Where the event lies in its channel, where the adapter tells.
    pub fn position(&self) -> Option<&Position> {
        self.ack.position()
    }
}

impl<T: Read> Deref for Received<T> {
    type Target = T::Target;

    fn deref(&self) -> &T::Target {
        T::target(&self.kept, &self.ack.message)
    }
}

impl<T: Read> fmt::Debug for Received<T>
where
    T::Target: fmt::Debug,
{
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Received").field("event", &&**self).field("ack", &self.ack).finish()
    }
}
