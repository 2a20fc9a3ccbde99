//! The bus: every channel of one name space, shared by all adapters that opened it.

use std::{
    collections::HashMap,
    hash::{BuildHasher, RandomState},
    sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError, RwLock, Weak},
};

use pubsub_core::{
    ChannelName, ChannelPattern, ChannelPolicy, Clock, Durability, Error, ErrorKind, GroupName, NamePattern, Position,
    Result, driver::SubscribeOptions,
};

use super::{SCHEME, channel::Channel, inlet::Inlet, options::MemoryOptions};

/// More channels than this are refused: a typo in a loop must not eat the machine.
const MAX_CHANNELS: usize = 100_000;

/// The channels of one name space.
#[derive(Debug)]
pub(super) struct Bus {
    pub(super) options: MemoryOptions,
    pub(super) clock: Clock,
    /// Makes the second number of positions: it differs by channel and by life of the bus.
    births: RandomState,
    channels: RwLock<HashMap<ChannelName, Arc<Channel>>>,
    wildcards: Mutex<Wildcards>,
}

#[derive(Debug, Default)]
struct Wildcards {
    /// Groups that new channels get, also while nobody of the group listens.
    groups: Vec<(ChannelPattern, GroupName)>,
    /// Subscriptions that new channels join.
    inlets: Vec<Watcher>,
}

#[derive(Debug)]
struct Watcher {
    pattern: ChannelPattern,
    group: Option<GroupName>,
    names: Vec<NamePattern>,
    inlet: Weak<Inlet>,
}

impl Watcher {
    /// Whether its subscription may still join channels.
    fn is_alive(&self) -> bool {
        self.inlet.upgrade().is_some_and(|inlet| !inlet.is_ended())
    }
}

impl Wildcards {
    /// Checks that a member takes the same event names as every wildcard of its group that would meet it on a channel.
    fn check_names(&self, channel: &ChannelPattern, options: &SubscribeOptions) -> Result<()> {
        let meets = |watcher: &&Watcher| {
            let same = options.group.is_some() && watcher.group == options.group;
            same && watcher.is_alive() && watcher.pattern.overlaps(channel)
        };
        self.inlets.iter().filter(meets).try_for_each(|watcher| options.check_names(channel, &watcher.names))
    }
}

/// Buses that have a name, for as long as somebody holds them.
static NAMED: LazyLock<Mutex<HashMap<FullName, Weak<Bus>>>> = LazyLock::new(Mutex::default);

/// Prefix and name.
type FullName = (Option<String>, String);

impl Bus {
    /// A private bus, or the one of that name.
    pub(super) fn open(options: MemoryOptions) -> Result<Arc<Self>> {
        options.check()?;
        let Some(name) = options.name.clone() else { return Self::new(options) };
        let full = (options.prefix.clone(), name.clone());
        let mut named = NAMED.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(bus) = named.get(&full).and_then(Weak::upgrade) {
            let (default, wanted, found) = (MemoryOptions::new(), options, &bus.options);
            let refuse = |field: &str| {
                let text = format!("field `{field}` differs from that of the bus `{name}`, which is open already");
                Err(Error::new(ErrorKind::Conflict, "open memory bus", text))
            };
            if wanted.capacity != default.capacity && wanted.capacity != found.capacity {
                return refuse("capacity");
            }
            if wanted.dedup_ids != default.dedup_ids && wanted.dedup_ids != found.dedup_ids {
                return refuse("dedup_ids");
            }
            let bytes = wanted.dead_letter_bytes;
            if bytes != default.dead_letter_bytes && bytes != found.dead_letter_bytes {
                return refuse("dead_letter_bytes");
            }
            if wanted.clock.differs_from(&default.clock) && wanted.clock.differs_from(&found.clock) {
                return refuse("clock");
            }
            if wanted.strict && !found.strict {
                return refuse("strict");
            }
            return Ok(bus);
        }
        let bus = Self::new(options)?;
        named.retain(|_, bus| bus.strong_count() > 0);
        named.insert(full, Arc::downgrade(&bus));
        Ok(bus)
    }

    fn new(options: MemoryOptions) -> Result<Arc<Self>> {
        Ok(Arc::new(Self {
            clock: options.clock.clone(),
            options,
            births: RandomState::new(),
            channels: RwLock::default(),
            wildcards: Mutex::default(),
        }))
    }

    fn wildcards(&self) -> MutexGuard<'_, Wildcards> {
        self.wildcards.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The time now in milliseconds since 1970.
    pub(super) fn now(&self) -> i64 {
        self.clock.now().as_millis()
    }

    /// The channel, if it exists.
    pub(super) fn find(&self, name: &ChannelName) -> Option<Arc<Channel>> {
        self.channels.read().unwrap_or_else(PoisonError::into_inner).get(name).cloned()
    }

    /// The channel, made with the default policy if need be.
    ///
    /// # Errors
    /// `NotFound` where channels must be declared, `Unroutable` for an inbox that is gone.
    pub(super) fn channel(&self, name: &ChannelName) -> Result<Arc<Channel>> {
        if let Some(channel) = self.find(name) {
            return Ok(channel);
        }
        if name.is_inbox() {
            return Err(Error::new(ErrorKind::Unroutable, "publish", "nobody waits at this inbox any more").on(name));
        }
        if self.options.strict && !name.is_internal() {
            return Err(Error::new(ErrorKind::NotFound, "find channel", "the channel was not declared").on(name));
        }
        self.create(name, ChannelPolicy::default())
    }

    /// The channel, made with this policy if it does not exist.
    pub(super) fn create(&self, name: &ChannelName, policy: ChannelPolicy) -> Result<Arc<Channel>> {
        let mut channels = self.channels.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(channel) = channels.get(name) {
            return Ok(channel.clone());
        }
        if channels.len() >= MAX_CHANNELS {
            let message = format!("the bus has {MAX_CHANNELS} channels already");
            return Err(Error::new(ErrorKind::Rejected, "create channel", message).on(name));
        }
        // Positions of another channel, or of an earlier life of this one, are recognised.
        let origin = Position::pair(SCHEME, 0, self.births.hash_one(name))?;
        let channel = Arc::new(Channel::new(name.clone(), policy, &self.options, origin));
        channels.insert(name.clone(), channel.clone());
        // Before anybody can publish on it: wildcard groups and subscriptions must miss nothing.
        let mut wildcards = self.wildcards();
        let durable = channel.lock().policy.durability == Durability::Durable;
        for (_, group) in wildcards.groups.iter().filter(|(pattern, _)| durable && pattern.matches(name)) {
            channel.group(group, 0);
        }
        wildcards.inlets.retain(|watcher| watcher.inlet.strong_count() > 0);
        for watcher in wildcards.inlets.iter().filter(|watcher| watcher.pattern.matches(name)) {
            if let Some(inlet) = watcher.inlet.upgrade() {
                inlet.offer(channel.clone());
            }
        }
        Ok(channel)
    }

    /// Removes an inbox.
    pub(super) fn remove(&self, name: &ChannelName) {
        self.channels.write().unwrap_or_else(PoisonError::into_inner).remove(name);
    }

    /// All channels that a pattern selects.
    pub(super) fn matching(&self, pattern: &ChannelPattern) -> Vec<Arc<Channel>> {
        let channels = self.channels.read().unwrap_or_else(PoisonError::into_inner);
        channels.values().filter(|channel| pattern.matches(&channel.name)).cloned().collect()
    }

    /// Registers a wildcard subscription; it gets every channel that exists and every one that comes.
    ///
    /// # Errors
    /// `Conflict` if a wildcard of its group takes other event names.
    pub(super) fn watch(&self, pattern: &ChannelPattern, options: &SubscribeOptions, inlet: &Arc<Inlet>) -> Result<()> {
        // Under the lock of the channels no channel can be made in between.
        let channels = self.channels.read().unwrap_or_else(PoisonError::into_inner);
        let mut wildcards = self.wildcards();
        wildcards.check_names(pattern, options)?;
        if let Some(group) = &options.group {
            let entry = (pattern.clone(), group.clone());
            if !wildcards.groups.contains(&entry) {
                wildcards.groups.push(entry);
            }
        }
        let (group, names) = (options.group.clone(), options.names.clone());
        wildcards.inlets.push(Watcher { pattern: pattern.clone(), group, names, inlet: Arc::downgrade(inlet) });
        for channel in channels.values().filter(|channel| pattern.matches(&channel.name)) {
            inlet.offer(channel.clone());
        }
        Ok(())
    }

    /// Checks that a member takes the same event names as the wildcards of its group, which have not joined every
    /// channel yet.
    ///
    /// # Errors
    /// `Conflict`.
    pub(super) fn check_names(&self, options: &SubscribeOptions) -> Result<()> {
        let wildcards = self.wildcards();
        options.channels.iter().try_for_each(|channel| wildcards.check_names(channel, options))
    }

    /// How many messages wait for a group on this channel.
    ///
    /// # Errors
    /// `NotFound`.
    pub(super) fn lag(&self, name: &ChannelName, group: &GroupName) -> Result<u64> {
        let channel = self.channels.read().unwrap_or_else(PoisonError::into_inner).get(name).cloned();
        let missing = || Error::new(ErrorKind::NotFound, "read lag", format!("the channel has no group `{group}`"));
        channel.and_then(|channel| channel.lag(group)).ok_or_else(|| missing().on(name))
    }

    /// Deletes a group that has no members on this channel. A wildcard's group is forgotten with the last one of it.
    ///
    /// # Errors
    /// `NotFound`, `Conflict`.
    pub(super) fn delete_group(&self, name: &ChannelName, group: &GroupName) -> Result<()> {
        // Under these locks no channel and no watcher is added in between.
        let channels = self.channels.read().unwrap_or_else(PoisonError::into_inner);
        let mut wildcards = self.wildcards();
        let refuse = |kind, text: String| Err(Error::new(kind, "delete group", text).on(name));
        let Some(channel) = channels.get(name).filter(|channel| channel.has_group(group)) else {
            return refuse(ErrorKind::NotFound, format!("the channel has no group `{group}`"));
        };
        // A wildcard subscription may be about to join.
        let joins = |watcher: &Watcher| {
            watcher.is_alive() && watcher.group.as_ref() == Some(group) && watcher.pattern.matches(name)
        };
        let joining = wildcards.inlets.iter().any(joins);
        let Some(gone) = (!joining).then(|| channel.take_group(group)).flatten() else {
            return refuse(ErrorKind::Conflict, format!("the group `{group}` has members"));
        };
        wildcards.groups.retain(|(pattern, other)| {
            let left = |channel: &Arc<Channel>| pattern.matches(&channel.name) && channel.has_group(group);
            other != group || !pattern.matches(name) || channels.values().any(left)
        });
        // Wakers and the last drop of a message may run code of others.
        let channel = channel.clone();
        drop((wildcards, channels));
        channel.let_go();
        drop(gone);
        Ok(())
    }

    /// Every channel.
    pub(super) fn all(&self) -> Vec<Arc<Channel>> {
        self.channels.read().unwrap_or_else(PoisonError::into_inner).values().cloned().collect()
    }
}
