//! The bus: every channel of one name space, shared by all adapters that opened it.

use std::{
    collections::HashMap,
    hash::{BuildHasher, RandomState},
    sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError, RwLock, Weak},
};

use pubsub_core::{
    ChannelName, ChannelPattern, ChannelPolicy, Clock, Durability, Error, ErrorKind, GroupName, Position, Result,
};

use super::{SCHEME, channel::Channel, options::MemoryOptions, source::Inlet};

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
    inlets: Vec<(ChannelPattern, Weak<Inlet>)>,
}

/// Buses that have a name, for as long as somebody holds them.
static NAMED: LazyLock<Mutex<HashMap<String, Weak<Bus>>>> = LazyLock::new(Mutex::default);

impl Bus {
    /// A private bus, or the one of that name.
    pub(super) fn open(options: MemoryOptions) -> Result<Arc<Self>> {
        options.check()?;
        let Some(name) = options.name.clone() else { return Self::new(options) };
        let mut named = NAMED.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(bus) = named.get(&name).and_then(Weak::upgrade) {
            let (default, wanted, found) = (MemoryOptions::new(), options, &bus.options);
            let refuse = |field: &str| {
                let text = format!("field `{field}` differs from that of the bus `{name}`, which is open already");
                Err(Error::new(ErrorKind::Conflict, "open memory bus", text))
            };
            if wanted.capacity != default.capacity && wanted.capacity != found.capacity {
                return refuse("capacity");
            }
            if wanted.strict && !found.strict {
                return refuse("strict");
            }
            return Ok(bus);
        }
        let bus = Self::new(options)?;
        named.retain(|_, bus| bus.strong_count() > 0);
        named.insert(name, Arc::downgrade(&bus));
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
        let channel = Arc::new(Channel::new(name.clone(), policy, self.options.capacity, origin));
        channels.insert(name.clone(), channel.clone());
        // Before anybody can publish on it: wildcard groups and subscriptions must miss nothing.
        let mut wildcards = self.wildcards();
        let durable = channel.lock().policy.durability == Durability::Durable;
        for (_, group) in wildcards.groups.iter().filter(|(pattern, _)| durable && pattern.matches(name)) {
            channel.group(group, |_| 0);
        }
        wildcards.inlets.retain(|(_, inlet)| inlet.strong_count() > 0);
        for (_, inlet) in wildcards.inlets.iter().filter(|(pattern, _)| pattern.matches(name)) {
            if let Some(inlet) = inlet.upgrade() {
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
    pub(super) fn watch(&self, pattern: &ChannelPattern, group: Option<&GroupName>, inlet: &Arc<Inlet>) {
        // Under the lock of the channels no channel can be made in between.
        let channels = self.channels.read().unwrap_or_else(PoisonError::into_inner);
        let mut wildcards = self.wildcards();
        if let Some(group) = group {
            let entry = (pattern.clone(), group.clone());
            if !wildcards.groups.contains(&entry) {
                wildcards.groups.push(entry);
            }
        }
        wildcards.inlets.push((pattern.clone(), Arc::downgrade(inlet)));
        for channel in channels.values().filter(|channel| pattern.matches(&channel.name)) {
            inlet.offer(channel.clone());
        }
    }

    /// Every channel.
    pub(super) fn all(&self) -> Vec<Arc<Channel>> {
        self.channels.read().unwrap_or_else(PoisonError::into_inner).values().cloned().collect()
    }
}
