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
        let mut channels = Vec::new();
        for pattern in &options.channels {
            if let ChannelPattern::Exact(name) = pattern {
                let channel = self.bus.channel(name)?;
                refuse_ephemeral_group(&channel, &options)?;
                channels.push(channel);
            }
        }
        let mut source = MemorySource::new(self.bus.clone(), self.shared.clone(), options);
        for channel in channels {
            source.add(channel, false)?;
        }
        let inlet = source.inlet();
        for pattern in source.options().channels.iter().filter(|pattern| pattern.is_wildcard()) {
            self.bus.watch(pattern, source.options().group.as_ref(), &inlet);
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
        let options = SubscribeOptions::new(vec![address.clone().into()]);
        let mut source = MemorySource::new(self.bus.clone(), self.shared.clone(), options);
        source.own_inbox(address.clone());
        source.add(channel, false)?;
        self.shared.register(&source.inlet());
        Ok(Subscription::new(source))
    }
}

fn refuse_ephemeral_group(channel: &Channel, options: &SubscribeOptions) -> Result<()> {
    let ephemeral = channel.lock().policy.durability == Durability::Ephemeral;
    if ephemeral && options.group.is_some() {
        return Err(
            Error::new(ErrorKind::Unsupported, "subscribe", "an ephemeral channel has no groups").on(&channel.name)
        );
    }
    Ok(())
}

impl MemorySource {
    /// Takes part in a channel. On one that came after the subscription, nothing is missed: it begins at its start.
    pub(super) fn add(&mut self, channel: Arc<Channel>, late: bool) -> Result<()> {
        let options = self.options().clone();
        let part = match &options.group {
            Some(group) => {
                let base = channel.resolve(&channel.lock(), &options.start, false);
                let exists = channel.lock().groups.iter().any(|known| known.name == *group);
                // The start position is for fresh groups; a known one goes on where it stopped.
                let base = if exists { 0 } else { base? };
                let group = channel.group(group, |_| base);
                Part::Member(MemberPart::new(self, channel, group))
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
