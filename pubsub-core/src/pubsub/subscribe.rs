//! Opening a subscription: what to take, and how.

use std::{
    borrow::Cow,
    fmt,
    future::{Future, IntoFuture},
    marker::PhantomData,
    pin::Pin,
    sync::Arc,
    time::Duration,
};

use super::{
    PubSub,
    consumer::Consumer,
    received::{Raw, Read},
    registry::Entry,
    subscription::Events,
};
use crate::{
    ChannelPattern, Clock, Error, ErrorKind, Event, EventName, GroupName, HoldOptions, KeyHold, NamePattern, Ordering,
    Position, Result, StartPosition, Timestamp,
    clock::LONGEST_WAIT,
    driver::{
        Capabilities, Feature, Lease, Limits, OrderKeeper, Reach, Renewal, RetryPolicy, SlowConsumer, SubscribeOptions,
    },
};

/// What a group does with event names that nobody in it claims.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Unknown {
    /// Acknowledges and counts them.
    #[default]
    Acknowledge,
    /// Writes them to the dead letters.
    DeadLetter,
}

/// A subscription that is opened when it is awaited.
///
/// # Errors
/// Awaiting it gives `Invalid` with every bad name, number and option, numbers beyond the adapter's limits among them, or
/// for a group outside of a tokio runtime; `Unsupported` with everything that the adapter or the channel's policy lacks; `Conflict` if the group already takes
/// other event names on a channel; `Rejected` if the handle uses too many channels; `TopologyMismatch`,
/// `PositionExpired`, `NotFound`, `Unavailable` and others from the broker; `Closed` after
/// [`PubSub::close`](crate::PubSub::close).
#[must_use = "nothing is subscribed until this is awaited"]
pub struct Subscribe<T: Read> {
    bus: PubSub,
    options: SubscribeOptions,
    entry: Option<Arc<Entry>>,
    /// Whether a group was named, were it by a bad name.
    in_group: bool,
    dead_letters: bool,
    slow_chosen: bool,
    /// Options that were set and that only a group has.
    for_groups: Vec<&'static str>,
    unknown: Unknown,
    /// What is wrong with the calls so far.
    problems: Vec<Error>,
    reads: PhantomData<fn() -> T>,
}

impl<E: Event> Subscribe<E> {
    pub(super) fn typed(bus: &PubSub) -> Self {
        let mut this = Self::new(bus);
        match bus.inner.registry.entry::<E>(&bus.inner) {
            Ok(entry) => {
                this.options.channels.push(entry.definition.channel().clone().into());
                this.options.names.push(NamePattern::Exact(entry.definition.name().clone()));
                this.entry = Some(entry);
            }
            Err(error) => this.problems.push(error),
        }
        this
    }
}

impl Subscribe<Raw> {
    pub(super) fn raw(bus: &PubSub) -> Self {
        Self::new(bus)
    }

    /// Adds a channel by name, `family.*` or `*`.
    pub fn channel(self, pattern: &str) -> Self {
        self.parsed(ChannelPattern::parse(pattern), |options, pattern| {
            if !options.channels.contains(&pattern) {
                options.channels.push(pattern);
            }
        })
    }

    /// Adds an event type, and its channel.
    pub fn event<E: Event>(self) -> Self {
        let entry = self.bus.inner.registry.entry::<E>(&self.bus.inner);
        self.parsed(entry, |options, entry| {
            add_channel(options, entry.definition.channel().clone().into());
            options.names.push(NamePattern::Exact(entry.definition.name().clone()));
        })
    }

    /// Adds an event type, on channels other than its own: by name, `family.*` or `*`.
    pub fn event_on<E: Event>(self, pattern: &str) -> Self {
        let entry = self.bus.inner.registry.entry::<E>(&self.bus.inner);
        let found = entry.and_then(|entry| Ok((entry, ChannelPattern::parse(pattern)?)));
        self.parsed(found, |options, (entry, pattern)| {
            add_channel(options, pattern);
            options.names.push(NamePattern::Exact(entry.definition.name().clone()));
        })
    }

    /// Adds event names: one, `category:*`, or `*`. Their channels are those that the catalog tells, and else the
    /// category of the name.
    pub fn names(self, pattern: &str) -> Self {
        let found = NamePattern::parse(pattern).and_then(|pattern| Ok((self.bus.channels_of(&pattern)?, pattern)));
        self.parsed(found, |options, (channels, pattern)| {
            channels.into_iter().for_each(|channel| add_channel(options, channel));
            options.names.push(pattern);
        })
    }
}

fn add_channel(options: &mut SubscribeOptions, channel: ChannelPattern) {
    if !options.channels.contains(&channel) {
        options.channels.push(channel);
    }
}

impl<T: Read> Subscribe<T> {
    fn new(bus: &PubSub) -> Self {
        let mut options = SubscribeOptions::new(Vec::new());
        options.drain = bus.inner.drain.clone();
        Self {
            bus: bus.clone(),
            options,
            entry: None,
            in_group: false,
            dead_letters: true,
            slow_chosen: false,
            for_groups: Vec::new(),
            unknown: Unknown::default(),
            problems: Vec::new(),
            reads: PhantomData,
        }
    }

    fn parsed<V>(mut self, value: Result<V>, apply: impl FnOnce(&mut SubscribeOptions, V)) -> Self {
        match value {
            Ok(value) => apply(&mut self.options, value),
            Err(error) => self.problems.push(error),
        }
        self
    }

    /// Joins a group: its members share the events, and what they do not settle comes again.
    ///
    /// All members on a channel must take the same event names, or each acknowledges what another one wants. The handle
    /// refuses one that differs with `Conflict`, and so does memory for all handles to one bus. A broker does not know
    /// what the members in other processes take: give them the same names there, or another group.
    pub fn group(mut self, group: &str) -> Self {
        self.in_group = true;
        self.parsed(GroupName::parse(group), |options, group| options.group = Some(group))
    }

    /// Sets where to start; for a group, only if it is fresh.
    pub fn start(mut self, start: StartPosition) -> Self {
        self.options.start = start;
        self
    }

    /// Starts with everything that is retained.
    pub fn from_earliest(self) -> Self {
        self.start(StartPosition::Earliest)
    }

    /// Starts with what is published from now on.
    pub fn from_latest(self) -> Self {
        self.start(StartPosition::Latest)
    }

    /// Starts after this position.
    pub fn after(self, position: Position) -> Self {
        self.start(StartPosition::After(position))
    }

    /// Starts with what arrived at this time or later.
    pub fn from_time(self, time: Timestamp) -> Self {
        self.start(StartPosition::Time(time))
    }

    /// Sets how many events may be unsettled at a time, those in buffers included. The default is 256.
    pub fn max_in_flight(mut self, max: usize) -> Self {
        self.options.max_in_flight = max;
        self.of_groups("max_in_flight")
    }

    /// Sets how long a consumer that is gone keeps its events; leases of live ones are renewed.
    pub fn lease(mut self, duration: Duration) -> Self {
        self.options.lease = Lease { duration: duration.min(LONGEST_WAIT), renewal: Renewal::Automatic };
        self.of_groups("lease")
    }

    /// As [`Subscribe::lease`], but leases run out unless [`Received::extend`](super::Received::extend) is called.
    pub fn manual_lease(mut self, duration: Duration) -> Self {
        self.options.lease = Lease { duration: duration.min(LONGEST_WAIT), renewal: Renewal::Manual };
        self.of_groups("manual_lease")
    }

    /// Sets backoff and number of attempts.
    pub fn retry(mut self, retry: RetryPolicy) -> Self {
        self.options.retry = retry;
        self.of_groups("retry")
    }

    /// Writes no dead letters: what is rejected is gone, and attempts have no end.
    pub fn without_dead_letters(mut self) -> Self {
        self.dead_letters = false;
        self.of_groups("without_dead_letters")
    }

    /// Sets what a group does with event names that it does not take.
    pub fn unknown(mut self, unknown: Unknown) -> Self {
        self.unknown = unknown;
        self
    }

    /// Sets what happens when a broadcast is slower than its publisher.
    pub fn slow_consumer(mut self, slow: SlowConsumer) -> Self {
        self.options.slow = slow;
        self.slow_chosen = true;
        self
    }

    /// Sets how many events a broadcast may lag behind before it counts as slow.
    pub fn buffer(mut self, events: usize) -> Self {
        self.options.buffer = Some(events);
        self
    }

    fn of_groups(mut self, field: &'static str) -> Self {
        self.for_groups.push(field);
        self
    }

    /// What is wrong with the options by themselves, or beyond the adapter's limits.
    fn faults(&self, limits: &Limits) -> Vec<Error> {
        let Self { options, in_group, .. } = self;
        let in_group = *in_group;
        let rules = [
            // A name that could not be read was told of already.
            (options.channels.is_empty() && self.problems.is_empty(), "name a channel, an event type or an event name"),
            (options.max_in_flight == 0, "field `max_in_flight` must not be zero"),
            (options.buffer == Some(0), "field `buffer` must not be zero"),
            (options.lease.duration.is_zero(), "field `lease` must not be zero"),
            (in_group && options.buffer.is_some(), "field `buffer` is for broadcasts; a group has `max_in_flight`"),
            (
                in_group && self.slow_chosen,
                "field `slow_consumer` is for broadcasts; a group always holds the publisher back",
            ),
            (
                !in_group && self.unknown != Unknown::Acknowledge,
                "field `unknown` is for groups; a broadcast passes over what it does not take",
            ),
        ];
        let invalid = |text: Cow<'static, str>| Error::new(ErrorKind::Invalid, "subscribe", text);
        let mut faults: Vec<_> =
            rules.into_iter().filter(|(broken, _)| *broken).map(|(_, text)| invalid(text.into())).collect();
        faults.extend(options.retry.check().err());
        if in_group {
            let Limits { max_lease, max_delay, max_in_flight, .. } = limits;
            let lease = Limits::check("lease", Some(options.lease.duration), *max_lease);
            let retry = Limits::check("retry.max", Some(options.retry.max), *max_delay);
            faults.extend([lease, retry].into_iter().filter_map(|check| Some(invalid(check.err()?.into()))));
            if let Some(limit) = max_in_flight.filter(|limit| options.max_in_flight > *limit) {
                let text = format!("field `max_in_flight` is larger than the adapter's limit of {limit}");
                faults.push(invalid(text.into()));
            }
        } else {
            let settles = |field| invalid(format!("field `{field}` is for groups; a broadcast settles nothing").into());
            faults.extend(self.for_groups.iter().map(settles));
        }
        faults
    }

    /// Everything that the adapter must be able to do for this subscription.
    fn demands(&self) -> Vec<Feature> {
        let options = &self.options;
        let mut demands = Vec::new();
        for pattern in &options.channels {
            let reach = self.reach(pattern);
            let wildcard = pattern.is_wildcard();
            if reach.durable {
                let group = options.group.is_some();
                demands.push(if group { Feature::DurableGroup } else { Feature::LosslessBroadcast });
                demands.extend(wildcard.then_some(Feature::WildcardDurable));
            }
            if reach.ephemeral {
                demands.push(Feature::EphemeralBroadcast);
                demands.extend(wildcard.then_some(Feature::WildcardEphemeral));
            }
        }
        if options.group.is_some() {
            demands.extend([Feature::Nack, Feature::DelayedNack]);
            if self.dead_letters {
                demands.push(Feature::DeadLetter);
                // Without a count the cap would never be reached.
                demands.extend(options.retry.max_attempts.map(|_| Feature::DeliveryCount));
            }
            if options.lease.renewal == Renewal::Manual {
                demands.extend([Feature::ManualLease, Feature::LeaseExtension]);
            }
        } else if self.slow_chosen {
            demands.push(match options.slow {
                SlowConsumer::Block => Feature::SlowBlock,
                SlowConsumer::DropOldest => Feature::SlowDropOldest,
                SlowConsumer::Disconnect => Feature::SlowDisconnect,
            });
        }
        demands.extend(match options.start {
            StartPosition::After(_) => Some(Feature::ReplayById),
            StartPosition::Time(_) => Some(Feature::ReplayByTime),
            StartPosition::Earliest => Some(Feature::Backlog),
            _ => None,
        });
        demands.sort_unstable();
        demands.dedup();
        demands
    }

    /// Which kinds of channel a pattern takes. A group on a wildcard takes the durable ones among them.
    fn reach(&self, pattern: &ChannelPattern) -> Reach {
        let Reach { durable, ephemeral } = self.bus.inner.registry.reach(pattern);
        Reach { durable, ephemeral: ephemeral && !(durable && self.options.group.is_some()) }
    }

    /// What the channels or the adapter do not offer. Groups and history do not exist on ephemeral channels.
    fn unmet(&self, capabilities: &Capabilities) -> Vec<Error> {
        let from_history = !matches!(self.options.start, StartPosition::Stored | StartPosition::Latest);
        let demands = [(self.options.group.is_some(), "groups"), (from_history, "history to start from")];
        let mut unmet = Vec::new();
        for pattern in self.options.channels.iter().filter(|pattern| !self.reach(pattern).durable) {
            let lacks = demands.iter().filter(|(wanted, _)| *wanted).map(|(_, what)| {
                let text = format!("channel `{pattern}` is ephemeral and has no {what}");
                Error::new(ErrorKind::Unsupported, "subscribe", text)
            });
            unmet.extend(lacks);
        }
        unmet.extend(capabilities.require("subscribe", self.demands()).err());
        unmet
    }

    async fn open(self) -> Result<Events<T>> {
        self.bus.open("subscribe")?;
        let capabilities = self.bus.capabilities();
        let faults = self.problems.iter().cloned().chain(self.faults(&capabilities.limits));
        Error::join("subscribe", faults.collect())?;
        Error::join("subscribe", self.unmet(&capabilities))?;
        if self.options.group.is_some() {
            // For its delays and its dead letters, which follow clocks of their own.
            Clock::system().check_timers("subscribe")?;
        }
        let inner = &self.bus.inner;
        let orders: Vec<_> = self.options.channels.iter().map(|pattern| inner.registry.ordering(pattern)).collect();
        let total = orders.contains(&Ordering::Total);
        let held = total || orders.iter().any(|ordering| matches!(ordering, Ordering::PerKey { .. }));
        for pattern in &self.options.channels {
            let ChannelPattern::Exact(name) = pattern else { continue };
            let channel = inner.registry.channel(name)?;
            if !channel.is_declared() && !name.is_internal() {
                channel.declare(&*inner.adapter, inner.settings.mode).await?;
            }
        }
        let reaches: Vec<_> = self.options.channels.iter().map(|pattern| self.reach(pattern)).collect();
        let Self { bus, mut options, entry, dead_letters, unknown, .. } = self;
        options.reach = Reach {
            durable: reaches.iter().any(|reach| reach.durable),
            ephemeral: reaches.iter().any(|reach| reach.ephemeral),
        };
        let dead_letters = (dead_letters && options.group.is_some()).then(|| bus.inner.dead_letters.clone());
        match &dead_letters {
            Some(writer) => writer.start(),
            None => options.retry.max_attempts = None,
        }
        let (observer, idle) = (&bus.inner.observer, bus.inner.consumers.idle.clone());
        let consumer = Arc::new(Consumer::new(observer, &options, capabilities.limits.max_delay, dead_letters, idle));
        bus.inner.consumers.insert(&consumer, &options)?;
        let names = options.names.clone();
        let hold = held && options.group.is_some() && capabilities.order_keeper == OrderKeeper::Library;
        let hold = hold.then(|| HoldOptions { total, ..HoldOptions::of(&options, bus.inner.settings.clock.clone()) });
        let mut subscription = bus.inner.adapter.subscribe(options).await?;
        if let Some(options) = hold {
            subscription = subscription.map_source(|source| {
                let hold = KeyHold::new(source, options);
                consumer.set_hold(hold.gauge());
                hold
            });
        }
        Ok(Events::new(bus, subscription, consumer, names, entry, unknown))
    }
}

/// Whether a name is taken.
pub(super) fn claims(names: &[NamePattern], name: &EventName) -> bool {
    names.is_empty() || names.iter().any(|pattern| pattern.matches(name))
}

impl<T: Read> IntoFuture for Subscribe<T> {
    type Output = Result<Events<T>>;
    type IntoFuture = Pin<Box<dyn Future<Output = Self::Output> + Send>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(self.open())
    }
}

impl<T: Read> fmt::Debug for Subscribe<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Subscribe").field("options", &self.options).finish_non_exhaustive()
    }
}
