//! Opening subscriptions.

use std::sync::Arc;

use pubsub_core::{
    ChannelName, ChannelPattern, ChannelPolicy, Durability, Error, ErrorKind, Result, StartPosition,
    driver::{SlowConsumer, SubscribeOptions, Subscriber, Subscription, async_trait},
};

use super::{
    adapter::Memory,
    broadcast::Broadcast,
    channel::Channel,
    source::{BroadcastPart, MemberPart, MemorySource, Part},
};

#[async_trait]
impl Subscriber for Memory {
    async fn subscribe(&self, options: SubscribeOptions) -> Result<Subscription> {
        self.shared.open("subscribe")?;
        // Everything that can fail comes before the first group is made.
        let mut channels = Vec::new();
        for pattern in &options.channels {
            match pattern {
                ChannelPattern::Exact(name) => {
                    let channel = self.bus.channel(name)?;
                    check(&channel, &options)?;
                    channels.push(channel);
                }
                _ => self.bus.matching(pattern).iter().try_for_each(|channel| check(channel, &options))?,
            }
        }
        self.bus.check_names(&options)?;
        let mut source = MemorySource::new(self.bus.clone(), self.shared.clone(), options);
        for channel in channels {
            source.add(channel, false)?;
        }
        let inlet = source.inlet();
        for pattern in source.options().channels.iter().filter(|pattern| pattern.is_wildcard()) {
            self.bus.watch(pattern, source.options(), &inlet)?;
        }
        source.join_offered()?;
        self.shared.register(&inlet);
        Ok(Subscription::new(source))
    }
}

impl Memory {
    /// A broadcast subscription to a new inbox, which goes when the subscription does.
    pub(super) fn subscribe_inbox(&self, address: &ChannelName) -> Result<Subscription> {
        let channel = self.bus.create(address, ChannelPolicy::new().ephemeral())?;
        let mut options = SubscribeOptions::new(vec![address.clone().into()]);
        // A reply that is dropped costs its caller the whole timeout; whoever sends one can wait for room.
        options.slow = SlowConsumer::Block;
        let mut source = MemorySource::new(self.bus.clone(), self.shared.clone(), options);
        source.own_inbox(address.clone());
        source.add(channel, false)?;
        self.shared.register(&source.inlet());
        Ok(Subscription::new(source))
    }
}

/// Whether a channel can be subscribed to like this.
fn check(channel: &Channel, options: &SubscribeOptions) -> Result<()> {
    let state = channel.lock();
    let Some(group) = &options.group else {
        return channel.resolve(&state, &options.start, true).map(drop);
    };
    if state.policy.durability == Durability::Ephemeral {
        let text = "an ephemeral channel has no groups";
        return Err(Error::new(ErrorKind::Unsupported, "subscribe", text).on(&channel.name));
    }
    // The start position is for fresh groups; a known one goes on where it stopped.
    match state.find_group(group) {
        Some(known) => known.check_names(&channel.name, options),
        None => channel.resolve(&state, &options.start, false).map(drop),
    }
}

impl MemorySource {
    /// Takes part in a channel. On one that came after the subscription, nothing is missed: it begins at its start.
    pub(super) fn add(&mut self, channel: Arc<Channel>, late: bool) -> Result<()> {
        let options = self.options().clone();
        check(&channel, &options)?;
        let part = match &options.group {
            Some(group) => {
                let (group, member) = channel.join(group, &options, self.window())?;
                Part::Member(MemberPart::new(self, channel, group, member))
            }
            None => {
                let start = if late { StartPosition::Earliest } else { options.start.clone() };
                let base = channel.resolve(&channel.lock(), &start, true)?;
                let capacity = self.bus().options.capacity as u64;
                let unbounded = if options.slow == SlowConsumer::DropOldest { u64::MAX } else { capacity };
                let buffer = options.buffer.map_or(unbounded, |buffer| buffer as u64);
                let broadcast = channel.add_broadcast(|_| Arc::new(Broadcast::new(base, options.slow, buffer)));
                Part::Broadcast(BroadcastPart::new(channel, broadcast))
            }
        };
        self.push(part);
        Ok(())
    }
}
