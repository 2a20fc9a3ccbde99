//! The subscribing half: what is opened for a subscription.

use pubsub_core::{
    ChannelName, ChannelPattern, Durability, Error, ErrorKind, EventId, Result, StartPosition,
    driver::{SubscribeOptions, Subscriber, Subscription, async_trait},
};

use super::{
    adapter::RabbitMq,
    broadcast::{Broadcast, Part},
    error::closed,
    group::Scope,
    member::{Member, Plan},
};
use crate::common::feed::{Control, Feed, FeedSource};

/// Subscriptions of this adapter do not seek.
pub(super) struct NoControl;

impl Control for NoControl {}

#[async_trait]
impl Subscriber for RabbitMq {
    async fn subscribe(&self, options: SubscribeOptions) -> Result<Subscription> {
        self.check_open("subscribe")?;
        let mut patience = self.patience();
        let mut looked = false;
        let source = loop {
            match self.open_source(&options).await {
                Ok(source) => break source,
                // An exchange was deleted since this connection is there.
                Err(error) if error.kind() == ErrorKind::NotFound && !looked && !self.options.broker.strict => {
                    looked = true;
                    if let Err(error) = self.topology.look().await {
                        self.once_more("subscribe", &mut patience, error).await?;
                    }
                }
                Err(error) => self.once_more("subscribe", &mut patience, error).await?,
            }
        };
        // Whoever closed meanwhile has set its mark first.
        self.check_open("subscribe")?;
        Ok(Subscription::new(source))
    }
}

impl RabbitMq {
    async fn open_source(&self, options: &SubscribeOptions) -> Result<FeedSource> {
        for pattern in &options.channels {
            if let ChannelPattern::Exact(channel) = pattern {
                self.topology.used(channel).await.map_err(|error| error.on(channel))?;
            }
        }
        match &options.group {
            Some(_) => self.group(options).await,
            None => self.broadcast(options).await,
        }
    }

    fn is_ephemeral(&self, channel: &ChannelName) -> bool {
        self.topology.policies.get(channel).is_some_and(|policy| policy.durability == Durability::Ephemeral)
    }

    async fn group(&self, options: &SubscribeOptions) -> Result<FeedSource> {
        let Some(group) = &options.group else { return Err(closed("subscribe")) };
        for pattern in &options.channels {
            if let ChannelPattern::Exact(channel) = pattern
                && self.is_ephemeral(channel)
            {
                let text = "an ephemeral channel has no groups";
                return Err(Error::new(ErrorKind::Unsupported, "subscribe", text).on(channel));
            }
        }
        self.topology.base(false).await?;
        let scopes = Scope::of(options, group, &self.topology);
        let parts = (self.consume.clone(), self.topology.clone(), self.sender.clone());
        let plan = Plan::new(parts, scopes, options.max_in_flight, self.options.broker.connect_timeout);
        let (feed, source) = Feed::new(NoControl);
        let how = (feed, options.drain.clone(), options.retry);
        let member = Member::open(plan, &options.start, how, self.closing.clone()).await?;
        self.tasks.spawn(member.run());
        Ok(source)
    }

    async fn broadcast(&self, options: &SubscribeOptions) -> Result<FeedSource> {
        let from_now = matches!(options.start, StartPosition::Stored | StartPosition::Latest);
        let wild = options.channels.iter().any(ChannelPattern::is_wildcard);
        let (mut live, mut durable) = (Vec::new(), Vec::new());
        for pattern in &options.channels {
            match pattern {
                ChannelPattern::Exact(channel) if self.is_ephemeral(channel) => live.push(pattern.clone()),
                ChannelPattern::Exact(_) => durable.push(pattern.clone()),
                _ => {
                    if options.reach.ephemeral {
                        live.push(pattern.clone());
                    }
                    if options.reach.durable {
                        durable.push(pattern.clone());
                    }
                }
            }
        }
        let wild = wild && durable.iter().any(ChannelPattern::is_wildcard);
        if !from_now && (wild || !live.is_empty()) {
            let text = "a broadcast over wildcards or ephemeral channels starts with what is published from now on";
            return Err(Error::new(ErrorKind::Unsupported, "subscribe", text));
        }
        let mut parts = Vec::new();
        if !live.is_empty() {
            parts.push(Part::Live { patterns: live });
        }
        if wild {
            // One queue for all: a channel that two patterns take comes once.
            let queue = self.topology.names.reader(&EventId::random().to_string());
            parts.push(Part::Durable { queue, patterns: durable });
        } else {
            for pattern in &durable {
                if let ChannelPattern::Exact(channel) = pattern {
                    parts.push(Broadcast::stream(&self.topology, channel, &options.start).await?);
                }
            }
        }
        let (feed, source) = Feed::new(NoControl);
        let how = (options.slow, options.buffer);
        let mut opened = Vec::new();
        for part in parts {
            opened.push(Broadcast::open(self.parts(), (feed.clone(), self.closing.clone()), how, part).await?);
        }
        for broadcast in opened {
            self.tasks.spawn(broadcast.run());
        }
        Ok(source)
    }
}
