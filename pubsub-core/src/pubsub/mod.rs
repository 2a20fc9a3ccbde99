//! The portable handle: everything a user calls, over any adapter.

mod batch;
mod builder;
mod close;
mod consumer;
mod dead_letter;
mod letters;
mod prepare;
mod publish;
mod rate;
mod received;
mod registry;
mod reply;
mod subscribe;
mod subscription;

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

pub use builder::PubSubBuilder;
pub use letters::{DeadLetterBox, Letter, LetterFilter, LettersDone};
pub use prepare::Prepared;
pub use publish::{Publish, Ticket};
pub use received::{Ack, Raw, Read, Received};
pub use subscribe::{Subscribe, Unknown};
pub use subscription::{Control, EventItem, Events, Stats};

use crate::{
    Catalog, ChannelName, ChannelPattern, ChannelPolicy, Clock, Envelope, Error, ErrorKind, Event, EventDefinition,
    GroupName, IdKind, Message, NamePattern, Result, StartPosition,
    driver::{
        Adapter, Capabilities, Drain, Feature, Health, History, HistoryRange, Inbox, States, Topology, TopologyMode,
        TopologyReport,
    },
    observe::Observer,
};

/// A connection to a bus: publish, subscribe, read history. Cloning it gives another handle to the same connection.
///
/// ```
/// # use pubsub_core as pubsub;
/// # async fn example(bus: pubsub::PubSub) -> pubsub::Result<()> {
/// use pubsub::{ChannelName, Envelope, EventName, Payload, driver::HistoryRange};
///
/// let greeting = Envelope::new(EventName::parse("chat:said")?, ChannelName::parse("chat")?, Payload::json("\"hello\""));
/// bus.publish_envelope(greeting).await?;
/// let page = bus.history(&HistoryRange::new(ChannelName::parse("chat")?)).await?;
/// assert_eq!(page.events.len(), 1);
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct PubSub {
    inner: Arc<Inner>,
}

struct Inner {
    adapter: Arc<dyn Adapter>,
    catalog: Catalog,
    registry: registry::Registry,
    settings: Settings,
    drain: Drain,
    closed: AtomicBool,
    consumers: consumer::Consumers,
    dead_letters: Arc<dead_letter::Writer>,
    observer: Observer,
}

/// What the builder decides.
#[derive(Clone, Debug)]
struct Settings {
    id_kind: IdKind,
    clock: Clock,
    mode: TopologyMode,
    publish: crate::driver::PublishOptions,
}

impl PubSub {
    /// A handle over `adapter` with an empty catalog and default policies.
    pub fn new(adapter: Arc<dyn Adapter>) -> Self {
        PubSubBuilder::new(adapter).build()
    }

    /// Prepares a handle over `adapter`.
    pub fn builder(adapter: Arc<dyn Adapter>) -> PubSubBuilder {
        PubSubBuilder::new(adapter)
    }

    /// Publishes an event. Nothing happens until the result is awaited; then it resolves when the broker has the
    /// event.
    ///
    /// Order: events published one after the other from one task keep their order on the channel.
    ///
    /// Numbers: JSON has no NaN and no infinity. Serde writes such a float as `null`, which the event's own type does not
    /// read back unless the field is an `Option`; keep them out of events.
    ///
    /// Cancel safety: dropping the future before its first poll publishes nothing; later, the event may have been
    /// published.
    ///
    /// # Errors
    /// `Invalid`, `TooLarge`, `Rejected` and `Unsupported` by the channel's policy and the adapter's abilities, with
    /// nothing sent; `Backpressure`, `Unavailable`, `Timeout` and others from the broker.
    pub fn publish<E: Event>(&self, event: &E) -> Publish<'_> {
        Publish::new(self, self.draft(event))
    }

    /// Publishes a raw event: its payload is not parsed, unless its name and version are in the catalog.
    ///
    /// # Errors
    /// As [`PubSub::publish`]; also `Codec` with every fault if the payload does not fit its definition.
    pub fn publish_envelope(&self, envelope: Envelope) -> Publish<'_> {
        Publish::new(self, self.draft_raw(envelope.into()))
    }

    /// Publishes events of one type in order, in as few round trips as the broker allows.
    ///
    /// Everything is checked before anything is sent. The inner results tell, in order, what became of each.
    ///
    /// Order: events of a channel go to the adapter in parts of up to 256, each as soon as the one before it is on its
    /// way. If the adapter does not take a part, no later event of the channel is sent. If it took one, and the broker
    /// refuses an item of it afterwards, later items may be stored already: order is not promised across a failed item.
    /// Who needs it there publishes fewer at a time, or one by one.
    ///
    /// # Errors
    /// As [`PubSub::publish`]: an outer error means that nothing was sent.
    pub async fn publish_all<'e, E: Event>(
        &self,
        events: impl IntoIterator<Item = &'e E>,
    ) -> Result<Vec<Result<crate::driver::Receipt>>> {
        batch::publish(self, batch::drafts(events, |event| self.draft(event))?).await
    }

    /// Publishes raw events in order; they may be for different channels. Order and failures are as for
    /// [`PubSub::publish_all`].
    ///
    /// # Errors
    /// As [`PubSub::publish_envelope`]: an outer error means that nothing was sent.
    pub async fn publish_envelopes(
        &self,
        envelopes: impl IntoIterator<Item = Envelope>,
    ) -> Result<Vec<Result<crate::driver::Receipt>>> {
        batch::publish(self, batch::drafts(envelopes, |envelope| self.draft_raw(envelope.into()))?).await
    }

    /// Subscribes to one event type: await the result, after setting group and start.
    ///
    /// Events of other names on the channel are passed over; in a group they are acknowledged and counted.
    ///
    /// # Errors
    /// Awaiting it gives the errors of [`Subscribe`].
    pub fn subscribe<E: Event>(&self) -> Subscribe<E> {
        Subscribe::typed(self)
    }

    /// Subscribes to channels by name, `family.*` or `*`, and takes every event on them without decoding it.
    ///
    /// # Errors
    /// Awaiting it gives the errors of [`Subscribe`].
    pub fn subscribe_channel(&self, pattern: &str) -> Subscribe<Raw> {
        Subscribe::raw(self).channel(pattern)
    }

    /// Subscribes to several event types, or to event names by `category:*`; name them on the result.
    ///
    /// # Errors
    /// Awaiting it gives the errors of [`Subscribe`].
    pub fn subscribe_events(&self) -> Subscribe<Raw> {
        Subscribe::raw(self)
    }

    /// Reads retained events without touching any group.
    ///
    /// # Errors
    /// `PositionExpired`, `NotFound`, `Unsupported`, `Invalid`; `Closed` after [`PubSub::close`].
    pub async fn history(&self, range: &HistoryRange) -> Result<History> {
        self.open("read history")?;
        self.inner.adapter.history(range).await
    }

    /// Reads the dead letters of a group on a channel, oldest first: up to 1,000 per page, none if there are none. Each
    /// has its original payload and id, and in its metadata the reason, the attempts, the channel, and when the group
    /// first met and finally gave up the event. The newest 65,536 are kept, on memory as far as its bound of bytes allows;
    /// [`History::dropped`] of the page tells how many older ones are gone, where the adapter knows: memory does, since
    /// the bus was made.
    ///
    /// This is the log as it was written, with letters that were delivered again or dropped since. See
    /// [`PubSub::dead_letter_box`] for what is left to do.
    ///
    /// # Errors
    /// `Invalid` for a bad name, otherwise as [`PubSub::history`].
    pub async fn dead_letters(&self, channel: &str, group: &str, from: StartPosition) -> Result<History> {
        let channel = ChannelName::parse(channel)?.dead_letter(&GroupName::parse(group)?);
        match self.history(&HistoryRange::new(channel).from(from).limit(1_000)).await {
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(History::new(Vec::new(), None, true)),
            Ok(mut page) => {
                page.events.retain(|stored| !letters::is_record(&stored.message));
                Ok(page)
            }
            Err(error) => Err(error),
        }
    }

    /// Compares channels and groups with what exists, and mends what the mode allows.
    ///
    /// # Errors
    /// `TopologyMismatch` with every difference that is left; `Invalid` for a policy that contradicts itself and
    /// `Unsupported` for one that the adapter cannot keep, with nothing changed.
    pub async fn ensure(&self, topology: &Topology) -> Result<TopologyReport> {
        self.open("ensure topology")?;
        let capabilities = self.capabilities();
        for spec in &topology.channels {
            registry::check_policy(spec, &capabilities)?;
        }
        self.inner.adapter.ensure(topology).await
    }

    /// Deletes a group that nobody uses any more on one channel: while it exists, what it has not settled is kept for
    /// it, and on an adapter of bounded capacity such as memory, publishers wait for it. Its dead letters stay.
    ///
    /// Whoever subscribes with the name again begins a new group. One that was made for a wildcard is made on new
    /// channels, too, until it is deleted on the last channel that has it.
    ///
    /// # Errors
    /// `NotFound` if the channel has no such group, `Conflict` while it has members, `Unsupported` where there are no
    /// groups, `Invalid` for a bad name; `Closed` after [`PubSub::close`].
    pub async fn delete_group(&self, channel: &str, group: &str) -> Result<()> {
        self.open("delete group")?;
        self.capabilities().require("delete group", [Feature::DurableGroup])?;
        self.inner.adapter.delete_group(&ChannelName::parse(channel)?, &GroupName::parse(group)?).await
    }

    /// How many events wait for a group on a channel: stored, and not handed to any member yet. A broker that knows only
    /// what is settled counts what members have in hand, too. Events that wait to be delivered again may be counted or not.
    ///
    /// # Errors
    /// `NotFound` if the channel has no such group, `Unsupported` where the adapter does not tell, `Invalid` for a bad
    /// name, `Unavailable` and others from the broker; `Closed` after [`PubSub::close`].
    pub async fn lag(&self, channel: &str, group: &str) -> Result<u64> {
        self.open("read lag")?;
        self.inner.adapter.lag(&ChannelName::parse(channel)?, &GroupName::parse(group)?).await
    }

    /// What the handle knows of an event type: what the catalog says of it, or, where it is not in the catalog, what the
    /// type says itself.
    ///
    /// # Errors
    /// `Invalid` for a bad declaration, `Conflict` if another type defines the same event, `Rejected` if the catalog does
    /// not have it and its channel takes declared events only.
    pub fn definition<E: Event>(&self) -> Result<Arc<EventDefinition>> {
        let entry = self.inner.registry.entry::<E>(&self.inner)?;
        if !entry.explicit && !entry.channel.policy.allow_undeclared {
            let text = format!(
                "event `{}` version {} is not in the catalog, and the channel's policy takes no other",
                entry.definition.name(),
                entry.definition.version()
            );
            return Err(Error::new(ErrorKind::Rejected, "look up event", text).on(&entry.channel.name));
        }
        Ok(entry.definition.clone())
    }

    /// How a channel behaves.
    ///
    /// # Errors
    /// `Rejected` if the handle uses too many channels.
    pub fn policy(&self, channel: &ChannelName) -> Result<ChannelPolicy> {
        Ok(self.inner.registry.channel(channel)?.policy.clone())
    }

    /// The envelope that publishing this event would send, to be changed or published later by
    /// [`PubSub::publish_envelope`].
    ///
    /// # Errors
    /// As [`PubSub::publish`], as far as the event itself is at fault.
    pub fn envelope<E: Event>(&self, event: &E) -> Result<Envelope> {
        self.draft(event).map(publish::Draft::into_envelope)
    }

    /// The channels of the events that a pattern takes: those that the catalog tells, and else the category of the name.
    ///
    /// # Errors
    /// `Invalid` if a category that the catalog does not know is no name of a channel.
    pub fn channels_of(&self, pattern: &NamePattern) -> Result<Vec<ChannelPattern>> {
        let definitions = self.inner.catalog.iter().filter(|definition| pattern.matches(definition.name()));
        let mut channels: Vec<_> = definitions.map(|definition| definition.channel().clone().into()).collect();
        match pattern {
            NamePattern::All => channels.push(ChannelPattern::All),
            NamePattern::Category(name) => channels.extend(ChannelPattern::parse(name.as_str())),
            NamePattern::Exact(name) if channels.is_empty() => channels.push(ChannelPattern::parse(name.category())?),
            NamePattern::Exact(_) => {}
        }
        if channels.contains(&ChannelPattern::All) {
            channels = vec![ChannelPattern::All];
        }
        Ok(channels)
    }

    /// Decodes a message as a subscription to `E` would: also one of an older version that the catalog can upcast.
    ///
    /// # Errors
    /// `Codec` if the payload does not fit or is of an unknown version, `Invalid` if the message is another event;
    /// `Conflict` if the catalog knows another type by this name.
    pub fn decode<E: Event>(&self, message: &Message) -> Result<E> {
        let definition = &self.inner.registry.entry::<E>(&self.inner)?.definition;
        definition.check_name(message)?;
        definition.decode(message).map_err(|error| error.on(message.channel()))
    }

    /// Opens a private inbox for replies.
    ///
    /// # Errors
    /// `Unsupported`, `Unavailable`, `Closed`.
    pub async fn open_inbox(&self) -> Result<Inbox> {
        self.open("open inbox")?;
        self.inner.adapter.open_inbox().await
    }

    /// What the adapter can do.
    pub fn capabilities(&self) -> Capabilities {
        self.inner.adapter.capabilities()
    }

    /// The events registered explicitly.
    pub fn catalog(&self) -> &Catalog {
        &self.inner.catalog
    }

    /// Asks the broker for a sign of life.
    pub async fn health(&self) -> Health {
        self.inner.adapter.health().await
    }

    /// Watches the connection.
    pub fn states(&self) -> States {
        self.inner.adapter.states()
    }

    /// Waits until every ticket given out before is resolved.
    ///
    /// # Errors
    /// The first error among them.
    pub async fn flush(&self) -> Result<()> {
        self.inner.adapter.flush().await
    }

    /// The adapter below.
    pub fn adapter(&self) -> &Arc<dyn Adapter> {
        &self.inner.adapter
    }

    /// What the handle observes with; for crates that add steps of their own to an event's way.
    pub fn observer(&self) -> &Observer {
        &self.inner.observer
    }

    #[cfg(feature = "metrics")]
    pub(crate) fn samples(&self) -> Vec<crate::observe::Sample> {
        self.inner.consumers.samples()
    }

    /// The clock that timestamps and delays follow.
    pub fn clock(&self) -> &Clock {
        &self.inner.settings.clock
    }

    /// Fails once the handle is closed.
    fn open(&self, operation: &'static str) -> Result<()> {
        if self.inner.closed.load(Ordering::Acquire) {
            return Err(Error::new(ErrorKind::Closed, operation, "the bus is closed"));
        }
        Ok(())
    }

    fn draft<E: Event>(&self, event: &E) -> Result<publish::Draft> {
        let entry = self.inner.registry.entry::<E>(&self.inner)?;
        let payload = crate::event::codec::encode(event).map_err(|error| error.on(entry.definition.channel()))?;
        // The type may say less than its schema: ranges, lengths and patterns are only in the latter.
        #[cfg(feature = "validate")]
        entry.definition.validate(&payload)?;
        let key = event.key().map(|key| crate::Key::new(&key)).transpose();
        let key = key.map_err(|error| error.on(entry.definition.channel()))?;
        let envelope = Envelope {
            id: crate::EventId::generate(self.inner.settings.id_kind),
            name: entry.definition.name().clone(),
            channel: entry.definition.channel().clone(),
            version: E::VERSION,
            key,
            payload,
            timestamp: self.inner.settings.clock.now(),
            meta: crate::Meta::default(),
        };
        Ok(publish::Draft::new(envelope.into(), entry.channel.clone(), entry.explicit, self.inner.settings.publish))
    }

    fn draft_raw(&self, message: Message) -> Result<publish::Draft> {
        if message.version() == 0 {
            let text = "field `version` must be at least 1";
            return Err(Error::new(ErrorKind::Invalid, "publish", text).on(message.channel()));
        }
        let channel = self.inner.registry.channel(message.channel())?;
        let declared = match self.inner.catalog.get(message.name(), message.version()) {
            // A dead letter lies elsewhere, and may be just what its definition forbids.
            Some(_) if message.meta().dead_source.is_some() => true,
            Some(definition) => {
                if definition.channel() != message.channel() && !message.channel().is_internal() {
                    let text = format!("event `{}` belongs on channel `{}`", message.name(), definition.channel());
                    return Err(Error::new(ErrorKind::Invalid, "publish", text).on(message.channel()));
                }
                definition.validate(message.payload())?;
                true
            }
            None => false,
        };
        Ok(publish::Draft::new(message, channel, declared, self.inner.settings.publish))
    }
}

impl fmt::Debug for PubSub {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PubSub")
            .field("adapter", &self.inner.adapter)
            .field("closed", &self.inner.closed.load(Ordering::Relaxed))
            .finish_non_exhaustive()
    }
}
