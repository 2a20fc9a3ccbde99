//! Opening subscriptions.

use std::{
    collections::HashSet,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use futures_util::future::try_join_all;
use pubsub_core::{
    ChannelName, ChannelPattern, Durability, Error, ErrorKind, GroupName, Result, StartPosition,
    driver::{BoxFuture, SlowConsumer, SubscribeOptions, Subscriber, Subscription, async_trait},
};
use tokio::{
    sync::{Semaphore, mpsc, oneshot},
    time::timeout,
};

use super::{
    adapter::Kafka,
    connection::Link,
    group::{Member, Seek, Shared},
};
use crate::common::feed::{Control, Feed, FeedSource};

/// How often channels made elsewhere are looked for, for wildcards.
pub(super) const DISCOVER: Duration = Duration::from_millis(1500);
/// How long a seek may take.
const SEEK: Duration = Duration::from_secs(30);

#[async_trait]
impl Subscriber for Kafka {
    async fn subscribe(&self, options: SubscribeOptions) -> Result<Subscription> {
        let link = &self.link;
        link.open("subscribe")?;
        if options.slow == SlowConsumer::Block && options.group.is_none() {
            let text = "the adapter `kafka` does not offer slow consumers that block";
            return Err(Error::new(ErrorKind::Unsupported, "subscribe", text));
        }
        let subscription = match options.group.clone() {
            Some(group) => link.subscribe_group(&group, options).await?,
            None => link.subscribe_broadcast(options).await?,
        };
        link.open("subscribe")?;
        Ok(subscription)
    }
}

/// The way to everybody who reads for one subscription.
#[derive(Clone, Default)]
pub(super) struct Seeks(Arc<Mutex<Vec<mpsc::Sender<Seek>>>>);

impl Seeks {
    /// A new reader's end.
    pub(super) fn add(&self) -> mpsc::Receiver<Seek> {
        let (sender, receiver) = mpsc::channel(1);
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.retain(|known| !known.is_closed());
        all.push(sender);
        receiver
    }
}

impl Control for Seeks {
    fn seek(&mut self, to: StartPosition) -> BoxFuture<'_, Result<()>> {
        Box::pin(async move {
            let all = self.0.lock().unwrap_or_else(PoisonError::into_inner).clone();
            for reader in all {
                let (done, moved) = oneshot::channel();
                let closed = || Error::new(ErrorKind::Closed, "seek", "the subscription has ended");
                reader.send(Seek { to: to.clone(), done }).await.map_err(|_| closed())?;
                let late = |_| Error::new(ErrorKind::Timeout, "seek", "the broker did not answer in time");
                timeout(SEEK, moved).await.map_err(late)?.map_err(|_| closed())??;
            }
            Ok(())
        })
    }
}

impl Link {
    /// The channels that a subscription takes now.
    pub(super) async fn selected(&self, options: &SubscribeOptions) -> Result<Vec<ChannelName>> {
        let mut found: Vec<ChannelName> = Vec::new();
        let mut add = |channel: ChannelName| {
            if !found.contains(&channel) {
                found.push(channel);
            }
        };
        for pattern in &options.channels {
            if let ChannelPattern::Exact(channel) = pattern {
                add(channel.clone());
            }
        }
        if options.channels.iter().any(ChannelPattern::is_wildcard) {
            for channel in self.channels().await? {
                if options.channels.iter().any(|pattern| pattern.matches(&channel)) && self.takes(options, &channel) {
                    add(channel);
                }
            }
        }
        Ok(found)
    }

    /// Whether a wildcard takes a channel of this kind.
    fn takes(&self, options: &SubscribeOptions, channel: &ChannelName) -> bool {
        match self.policies.get(channel).map(|policy| policy.durability) {
            Some(Durability::Ephemeral) => options.group.is_none() && options.reach.ephemeral,
            _ => options.reach.durable || options.group.is_none(),
        }
    }

    async fn subscribe_group(self: &Arc<Self>, group: &GroupName, options: SubscribeOptions) -> Result<Subscription> {
        for pattern in &options.channels {
            if let ChannelPattern::Exact(channel) = pattern
                && self.policies.get(channel).is_some_and(|policy| policy.durability == Durability::Ephemeral)
            {
                let text = "an ephemeral channel has no groups";
                return Err(Error::new(ErrorKind::Unsupported, "subscribe", text).on(channel));
            }
        }
        let seeks = Seeks::default();
        let (feed, source) = Feed::new(seeks.clone());
        let start = options.start.clone();
        let room = Semaphore::new(options.max_in_flight.min(Semaphore::MAX_PERMITS));
        let alone = matches!(options.channels[..], [ChannelPattern::Exact(_)]);
        let shared = Arc::new(Shared { feed, room: Arc::new(room), alone, options });
        let channels = self.selected(&shared.options).await?;
        let joining = channels.iter().map(|channel| self.member(channel, group, &start, &shared, &seeks));
        // None works before all are in: a subscription that fails has taken nothing.
        for member in try_join_all(joining).await? {
            self.tasks.spawn(member);
        }
        for channel in &channels {
            self.tasks.spawn(self.clone().resume_mover(channel.clone()));
        }
        if shared.options.channels.iter().any(ChannelPattern::is_wildcard) {
            let known = channels.into_iter().collect();
            self.tasks.spawn(follow(self.clone(), group.clone(), shared, seeks, known));
        }
        Ok(Subscription::new(source))
    }

    async fn member(
        self: &Arc<Self>,
        channel: &ChannelName,
        group: &GroupName,
        start: &StartPosition,
        shared: &Arc<Shared>,
        seeks: &Seeks,
    ) -> Result<impl Future<Output = ()> + Send + use<>> {
        let name = self.names.group_on(&self.names.topic(channel)?, group);
        let (topic, client) = self.join(channel, false, &name, start).await?;
        let member = Member::new(self.clone(), shared.clone(), channel.clone(), topic, name, false, seeks.add());
        Ok(member.run(client))
    }

    pub(super) fn subscription(source: FeedSource) -> Subscription {
        Subscription::new(source)
    }
}

/// Joins in on channels that come to be.
async fn follow(link: Arc<Link>, group: GroupName, shared: Arc<Shared>, seeks: Seeks, mut known: HashSet<ChannelName>) {
    loop {
        let discovered = link.discovered.notified();
        tokio::pin!(discovered);
        discovered.as_mut().enable();
        let found = tokio::select! {
            () = link.closing.cancelled() => return,
            () = shared.feed.gone().cancelled() => return,
            found = link.selected(&shared.options) => found.unwrap_or_default(),
        };
        for channel in found {
            if known.contains(&channel) {
                continue;
            }
            let joined = tokio::select! {
                () = link.closing.cancelled() => return,
                () = shared.feed.gone().cancelled() => return,
                // It came after the subscription, which misses nothing of it.
                joined = link.member(&channel, &group, &StartPosition::Earliest, &shared, &seeks) => joined,
            };
            match joined {
                Ok(member) => {
                    known.insert(channel);
                    link.tasks.spawn(member);
                }
                Err(error) => shared.feed.error(error.on(&channel)),
            }
        }
        tokio::select! {
            () = link.closing.cancelled() => return,
            () = shared.feed.gone().cancelled() => return,
            _ = timeout(DISCOVER, discovered) => {}
        }
    }
}
