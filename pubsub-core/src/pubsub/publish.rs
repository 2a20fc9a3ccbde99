//! Publishing one event.

use std::{
    fmt,
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use smallvec::smallvec;

use super::{Prepared, PubSub, registry::Channel};
use crate::{
    ChannelName, Envelope, Error, ErrorKind, EventId, Key, Message, Meta, Result, Timestamp,
    clock::LONGEST_WAIT,
    driver::{BoxFuture, Confirm, Feature, MaybeReady, PublishOptions, Receipt, Receipts, Tickets},
    observe::Publishing,
    wire::bounds,
};

/// An event that is ready to be sent, once policy and adapter agree.
pub(super) struct Draft {
    /// Shared from the start, because a draft changes hands several times; nobody else has it yet.
    pub(super) message: Arc<Message>,
    pub(super) channel: Arc<Channel>,
    pub(super) options: PublishOptions,
    declared: bool,
}

impl Draft {
    pub(super) fn new(message: Message, channel: Arc<Channel>, declared: bool, options: PublishOptions) -> Self {
        Self { message: Arc::new(message), channel, options, declared }
    }

    pub(super) fn into_envelope(self) -> Envelope {
        Arc::unwrap_or_clone(self.message).into_envelope()
    }

    fn envelope_mut(&mut self) -> &mut Envelope {
        Arc::make_mut(&mut self.message).envelope_mut()
    }

    /// Holds the event against its channel's policy and the adapter's abilities. Takes nothing from the rate.
    pub(super) fn check(&self, bus: &PubSub) -> Result<()> {
        let policy = &self.channel.policy;
        let refuse = |kind, message: String| Err(Error::new(kind, "publish", message).on(&self.channel.name));
        if !self.declared && !policy.allow_undeclared {
            let name = self.message.name();
            let text = format!("event `{name}` version {} is not in the catalog", self.message.version());
            return refuse(ErrorKind::Rejected, format!("{text}, and the channel's policy takes no other"));
        }
        let size = self.message.wire_len();
        if size > policy.max_payload {
            let limit = policy.max_payload;
            return refuse(
                ErrorKind::TooLarge,
                format!("the event has {size} bytes, the channel's policy allows {limit}"),
            );
        }
        if self.options.ttl == Some(Duration::ZERO) {
            return refuse(ErrorKind::Invalid, "field `ttl` must not be zero".to_owned());
        }
        // Also over adapters that write nothing: what one takes, every one takes.
        bounds::check(self.message.meta(), "publish").map_err(|error| error.on(&self.channel.name))?;
        let options = &self.options;
        let plain = options.deliver_at.is_none() && options.ttl.is_none() && options.confirm == Confirm::Accepted;
        if plain && !self.message.payload().is_tombstone() {
            return Ok(());
        }
        let demands = [
            (options.deliver_at.is_some(), Feature::ScheduledPublish),
            (options.ttl.is_some(), Feature::Ttl),
            (options.confirm == Confirm::Settled, Feature::SettledConfirm),
            (self.message.payload().is_tombstone(), Feature::Tombstone),
        ];
        let capabilities = bus.inner.adapter.capabilities();
        capabilities
            .require("publish", demands.into_iter().filter(|(wanted, _)| *wanted).map(|(_, feature)| feature))?;
        if let (Some(due), Some(limit)) = (options.deliver_at, capabilities.limits.max_delay)
            && due.since(bus.inner.settings.clock.now()) > limit
        {
            let text = format!("field `deliver_at` is later than the adapter's limit of {limit:?} allows");
            return refuse(ErrorKind::Invalid, text);
        }
        Ok(())
    }

    /// Publishes also while the bus is being closed.
    pub(super) async fn send_unconditionally(mut self, bus: &PubSub, options: PublishOptions) -> Result<Receipt> {
        let mut publishing = bus.inner.observer.publishing(&mut self.message);
        let sent = self.send_unobserved(bus, options).await;
        publishing.ended(&sent);
        sent
    }

    async fn send_unobserved(mut self, bus: &PubSub, options: PublishOptions) -> Result<Receipt> {
        self.check(bus)?;
        let inner = &bus.inner;
        if !self.channel.is_declared() {
            let (mode, clock) = (inner.settings.mode, &inner.settings.clock);
            self.channel.declare_within(&*inner.adapter, mode, clock, options.timeout).await?;
        }
        Self::take_rate(&self.channel, bus)?;
        self.options.timeout = options.timeout;
        let tickets = inner.adapter.enqueue(smallvec![self.message], &self.options).await?;
        single(tickets.await?)
    }

    /// Takes one event from the channel's rate.
    fn take_rate(channel: &Channel, bus: &PubSub) -> Result<()> {
        match &channel.limiter {
            Some(limiter) if !limiter.try_take(&bus.inner.settings.clock, 1) => Err(rate_is_used_up(channel)),
            _ => Ok(()),
        }
    }
}

/// A publish that happens when it is awaited, and resolves when the broker has the event.
#[must_use = "nothing is published until this is awaited"]
pub struct Publish<'a> {
    bus: &'a PubSub,
    state: State<'a>,
    publishing: Publishing,
}

enum State<'a> {
    Draft(Option<Result<Draft>>),
    Declaring(BoxFuture<'a, Result<()>>, Option<Draft>),
    Enqueueing(MaybeReady<'a, Result<Tickets>>),
    Confirming(Tickets),
}

impl<'a> Publish<'a> {
    pub(super) fn new(bus: &'a PubSub, draft: Result<Draft>) -> Self {
        Self { bus, state: State::Draft(Some(draft)), publishing: Publishing::default() }
    }

    fn edit(mut self, change: impl FnOnce(&mut Draft)) -> Self {
        if let State::Draft(Some(Ok(draft))) = &mut self.state {
            change(draft);
        }
        self
    }

    /// The id that the event will have; `None` once it is on its way, and where the event is faulty.
    pub fn event_id(&self) -> Option<&EventId> {
        match &self.state {
            State::Draft(Some(Ok(draft))) => Some(draft.message.id()),
            _ => None,
        }
    }

    /// The channel that the event is for; `None` as for [`Publish::event_id`].
    pub fn channel(&self) -> Option<&ChannelName> {
        match &self.state {
            State::Draft(Some(Ok(draft))) => Some(draft.message.channel()),
            _ => None,
        }
    }

    /// Gives the event an id of the caller's: publish again with the same one after an uncertain failure.
    pub fn id(self, id: EventId) -> Self {
        self.edit(|draft| draft.envelope_mut().id = id)
    }

    /// Sets the ordering key, in place of the event's own.
    pub fn key(self, key: Key) -> Self {
        self.edit(|draft| draft.envelope_mut().key = Some(key))
    }

    /// Sets when the event happened.
    pub fn timestamp(self, timestamp: Timestamp) -> Self {
        self.edit(|draft| draft.envelope_mut().timestamp = timestamp)
    }

    /// Changes the metadata.
    pub fn meta(self, change: impl FnOnce(&mut Meta)) -> Self {
        self.edit(|draft| change(&mut draft.envelope_mut().meta))
    }

    /// Holds delivery back until this time.
    pub fn deliver_at(self, time: Timestamp) -> Self {
        self.edit(|draft| draft.options.deliver_at = Some(time))
    }

    /// Holds delivery back for this long.
    pub fn delay(self, delay: Duration) -> Self {
        let due = self.bus.inner.settings.clock.now().saturating_add(delay);
        self.deliver_at(due)
    }

    /// Drops the event if it waits longer than this.
    pub fn ttl(self, ttl: Duration) -> Self {
        self.edit(|draft| draft.options.ttl = Some(ttl))
    }

    /// Sets what to wait for.
    pub fn confirm(self, confirm: Confirm) -> Self {
        self.edit(|draft| draft.options.confirm = confirm)
    }

    /// Sets how long to wait for room and confirmation.
    pub fn timeout(self, timeout: Duration) -> Self {
        self.edit(|draft| draft.options.timeout = timeout.min(LONGEST_WAIT))
    }

    /// Waits only until the event is on its way, and gives a ticket for the broker's word. Many tickets may be open
    /// at once: this is how one task publishes at full speed.
    ///
    /// # Errors
    /// As [`PubSub::publish`], except for what the ticket tells.
    pub async fn enqueue(mut self) -> Result<Ticket> {
        std::future::poll_fn(|cx| {
            // As in `poll` below.
            let budget = ready!(tokio::task::coop::poll_proceed(cx));
            let outcome = ready!(self.poll_enqueue(cx));
            budget.made_progress();
            Poll::Ready(outcome)
        })
        .await
        .map(|tickets| Ticket { tickets, publishing: self.publishing })
    }

    /// Checks the event as publishing it now would, and gives it back instead of sending it: for an outbox, which
    /// stores it. Takes nothing from the channel's rate.
    ///
    /// # Errors
    /// As [`PubSub::publish`] before anything is sent; also if the channel's policy, or an event of this size, is beyond
    /// what the adapter can do, as far as it knows.
    pub fn prepare(self) -> Result<Prepared> {
        match self.state {
            State::Draft(Some(draft)) => super::prepare::prepare(self.bus, draft?),
            _ => Err(polled_again()),
        }
    }

    fn poll_enqueue(&mut self, cx: &mut Context<'_>) -> Poll<Result<Tickets>> {
        let outcome = ready!(self.poll_unobserved(cx));
        if outcome.is_err() {
            self.publishing.ended(&outcome);
        }
        Poll::Ready(outcome)
    }

    fn poll_unobserved(&mut self, cx: &mut Context<'_>) -> Poll<Result<Tickets>> {
        loop {
            self.state = match &mut self.state {
                State::Draft(draft) => {
                    let mut draft = match draft.take() {
                        Some(draft) => draft?,
                        None => return Poll::Ready(Err(polled_again())),
                    };
                    self.publishing = self.bus.inner.observer.publishing(&mut draft.message);
                    self.bus.open("publish")?;
                    draft.check(self.bus)?;
                    if draft.channel.is_declared() {
                        State::Enqueueing(self.send(draft)?)
                    } else {
                        let (bus, channel) = (self.bus, draft.channel.clone());
                        let mode = bus.inner.settings.mode;
                        let (clock, limit) = (&bus.inner.settings.clock, draft.options.timeout);
                        let declare =
                            async move { channel.declare_within(&*bus.inner.adapter, mode, clock, limit).await };
                        State::Declaring(Box::pin(declare), Some(draft))
                    }
                }
                State::Declaring(declare, draft) => {
                    ready!(declare.as_mut().poll(cx))?;
                    match draft.take() {
                        Some(draft) => State::Enqueueing(self.send(draft)?),
                        None => return Poll::Ready(Err(polled_again())),
                    }
                }
                State::Enqueueing(enqueue) => return Pin::new(enqueue).poll(cx),
                State::Confirming(_) => return Poll::Ready(Err(polled_again())),
            }
        }
    }

    fn send(&self, mut draft: Draft) -> Result<MaybeReady<'a, Result<Tickets>>> {
        Draft::take_rate(&draft.channel, self.bus)?;
        if draft.options.ttl.is_none() {
            draft.options.ttl = draft.channel.policy.ttl;
        }
        Ok(self.bus.inner.adapter.enqueue(smallvec![draft.message], &draft.options))
    }
}

#[cold]
pub(super) fn rate_is_used_up(channel: &Channel) -> Error {
    let text = "the channel's publish rate for this process is used up";
    Error::new(ErrorKind::Backpressure, "publish", text).on(&channel.name)
}

#[cold]
fn polled_again() -> Error {
    Error::new(ErrorKind::Invalid, "publish", "a publish that had ended was polled again")
}

impl Future for Publish<'_> {
    type Output = Result<Receipt>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        // Without a share of tokio's budget a loop over an adapter that is always ready would starve its consumers.
        let budget = ready!(tokio::task::coop::poll_proceed(cx));
        let this = &mut *self;
        if !matches!(this.state, State::Confirming(_)) {
            let tickets = ready!(this.poll_enqueue(cx))?;
            this.state = State::Confirming(tickets);
        }
        let State::Confirming(tickets) = &mut this.state else { return Poll::Ready(Err(polled_again())) };
        let outcome = ready!(Pin::new(tickets).poll(cx)).and_then(single);
        budget.made_progress();
        this.publishing.ended(&outcome);
        Poll::Ready(outcome)
    }
}

pub(super) fn single(receipts: Receipts) -> Result<Receipt> {
    let missing = || Err(Error::new(ErrorKind::Backend, "publish", "the adapter gave no receipt for the event"));
    receipts.into_iter().next().unwrap_or_else(missing)
}

impl fmt::Debug for Publish<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Publish").finish_non_exhaustive()
    }
}

/// The broker's word on one event that is on its way. Dropping it cancels nothing.
#[must_use = "the ticket tells whether the broker has the event"]
#[derive(Debug)]
pub struct Ticket {
    tickets: Tickets,
    publishing: Publishing,
}

impl Future for Ticket {
    type Output = Result<Receipt>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let outcome = ready!(Pin::new(&mut self.tickets).poll(cx)).and_then(single);
        self.publishing.ended(&outcome);
        Poll::Ready(outcome)
    }
}
