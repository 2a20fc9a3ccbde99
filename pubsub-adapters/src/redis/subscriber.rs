//! Opening subscriptions.

use std::sync::Arc;

use pubsub_core::{
    ChannelPattern, Error, ErrorKind, GroupName, Result,
    driver::{SubscribeOptions, Subscriber, Subscription, async_trait},
};
use tokio::sync::mpsc;

use super::{
    adapter::Redis,
    broadcast::Listener,
    channel::Channel,
    follow::{Follower, Mover, Slow, Unmoved},
    group::Member,
    topology,
};
use crate::common::feed::Feed;

#[async_trait]
impl Subscriber for Redis {
    /// Cancel safe: until this resolves, nobody has joined a group.
    async fn subscribe(&self, options: SubscribeOptions) -> Result<Subscription> {
        self.hub.open("subscribe")?;
        let (mut durable, mut live) = (Vec::new(), Vec::new());
        for pattern in &options.channels {
            match pattern {
                ChannelPattern::Exact(name) => {
                    let channel = self.hub.subscribed(name, &options).await?;
                    if channel.live.is_some() {
                        live.push(pattern.clone());
                    } else if !durable.iter().any(|known: &Arc<Channel>| known.name == *name) {
                        durable.push(channel);
                    }
                }
                wildcard => live.push(wildcard.clone()),
            }
        }
        if durable.len() > 1 && self.hub.connector.is_cluster() {
            let text = "on a cluster the adapter `redis` reads one durable channel per subscription: \
                        one command cannot read from several nodes; subscribe to each channel on its own";
            return Err(Error::new(ErrorKind::Unsupported, "subscribe", text));
        }
        match &options.group {
            Some(group) => self.join(group.clone(), durable, &live, options).await,
            None => self.listen(durable, &live, options).await,
        }
    }
}

impl Redis {
    async fn join(
        &self,
        group: GroupName,
        channels: Vec<Arc<Channel>>,
        live: &[ChannelPattern],
        options: SubscribeOptions,
    ) -> Result<Subscription> {
        if let Some(pattern) = live.first() {
            let text = if pattern.is_wildcard() {
                "the adapter `redis` does not offer wildcards over durable channels".to_owned()
            } else {
                format!("channel `{pattern}` is ephemeral and has no groups")
            };
            return Err(Error::new(ErrorKind::Unsupported, "subscribe", text));
        }
        for channel in &channels {
            let created = topology::create_group(&self.hub, "subscribe", channel, &group, &options.start).await;
            created.map_err(|error| error.on(&channel.name))?;
        }
        self.hub.open("subscribe")?;
        Ok(Member::join(&self.hub, group, channels, options))
    }

    async fn listen(
        &self,
        channels: Vec<Arc<Channel>>,
        live: &[ChannelPattern],
        options: SubscribeOptions,
    ) -> Result<Subscription> {
        let (moves, requests) = mpsc::unbounded_channel();
        let (feed, source) = if channels.is_empty() { Feed::new(Unmoved) } else { Feed::new(Mover(moves)) };
        let follower = if channels.is_empty() {
            None
        } else {
            let slow = Slow::new(options.slow, options.buffer);
            Some(Follower::new(self.hub.clone(), feed.clone(), &channels, &options.start, slow, requests).await?)
        };
        let listener = Listener::new(self.hub.clone(), feed, live, options.slow, options.buffer);
        let ears = if live.is_empty() { None } else { Some(listener.connect().await?) };
        self.hub.open("subscribe")?;
        if let Some(follower) = follower {
            self.hub.work.spawn(follower.follow());
        }
        if ears.is_some() {
            self.hub.work.spawn(listener.listen(ears));
        }
        Ok(Subscription::new(source))
    }
}
