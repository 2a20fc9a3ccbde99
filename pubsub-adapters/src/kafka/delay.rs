//! Scheduled events: they wait on a channel beside their own, and whoever has scheduled on it or reads it in a group brings
//! them in when they are due.

use std::{
    sync::{Arc, PoisonError},
    time::Duration,
};

use pubsub_core::{
    ChannelName, ChannelPolicy, Error, Result, StartPosition,
    driver::{Item, Outcome, RetryPolicy, SubscribeOptions, Subscription},
};
use tokio::sync::Semaphore;

use super::{
    connection::{Incident, Link, Trouble},
    group::{Member, Shared},
    subscriber::Seeks,
    topology::{Settings, Topic},
};
use crate::common::{backoff::Backoff, feed::Feed};

/// The group of those who bring scheduled events in.
const MOVERS: &str = "_later";
/// How many scheduled events of a channel are watched at a time; those behind wait for one of them.
const WATCHED: usize = 10_000;
/// How long a failed move waits.
const AGAIN: Duration = Duration::from_millis(500);

impl Link {
    /// Where a channel's scheduled events go; they are brought in from now on.
    pub(super) async fn later(self: &Arc<Self>, channel: &ChannelName) -> Result<Topic> {
        self.demand(channel, "publish").await?;
        let topic = self.later_topic(channel).await?;
        self.move_later(channel);
        Ok(topic)
    }

    pub(super) async fn later_topic(&self, channel: &ChannelName) -> Result<Topic> {
        let name = self.names.later(channel)?;
        if let Some(topic) = self.find_topic(&name).await? {
            return Ok(topic);
        }
        let settings = Settings::of(&ChannelPolicy::new().totally_ordered(), channel, 1, self.options.replication);
        self.create_topic(&name, &settings).await
    }

    /// Goes on with what was scheduled earlier, if anything was.
    pub(super) async fn resume_mover(self: Arc<Self>, channel: ChannelName) {
        let Ok(name) = self.names.later(&channel) else { return };
        let found = tokio::select! {
            () = self.closing.cancelled() => return,
            found = self.find_topic(&name) => found,
        };
        if matches!(found, Ok(Some(_))) {
            self.move_later(&channel);
        }
    }

    fn move_later(self: &Arc<Self>, channel: &ChannelName) {
        let mut movers = self.movers.lock().unwrap_or_else(PoisonError::into_inner);
        if movers.insert(channel.clone()) {
            self.tasks.spawn(self.clone().bring_in(channel.clone()));
        }
    }

    async fn bring_in(self: Arc<Self>, channel: ChannelName) {
        let (mut backoff, mut told) = (Backoff::default(), false);
        let mut due = loop {
            let opened = tokio::select! {
                () = self.closing.cancelled() => return,
                opened = self.watch_later(&channel) => opened,
            };
            match opened {
                Ok(due) => break due,
                Err(error) => {
                    self.cannot_bring_in(&channel, error, &mut told);
                    tokio::time::sleep(backoff.next()).await;
                }
            }
        };
        told = false;
        while let Some(item) = due.next().await {
            match item {
                // The copy is confirmed before the original is done.
                Ok(Item::Delivery(delivery)) => match self.publish(delivery.message.clone()).await {
                    Ok(()) => {
                        delivery.ack();
                        told = false;
                    }
                    Err(error) => {
                        delivery.settle_as(Outcome::Nack(AGAIN));
                        self.cannot_bring_in(&channel, error, &mut told);
                    }
                },
                Ok(Item::Gap(_)) => self.befalls(&channel, Trouble::ScheduledLost),
                // Readers of the channel have states of their own.
                Ok(_) => {}
                Err(error) => self.cannot_bring_in(&channel, error, &mut told),
            }
        }
    }

    /// Tells the channel's readers what does not heal by itself, once until something goes well again: what does, its state
    /// tells.
    fn cannot_bring_in(&self, channel: &ChannelName, error: Error, told: &mut bool) {
        if !error.is_retryable() && !std::mem::replace(told, true) {
            self.befalls(channel, Trouble::Scheduled(error));
        }
    }

    fn befalls(&self, channel: &ChannelName, trouble: Trouble) {
        // Nobody may be reading.
        let _ = self.incidents.send(Incident { channel: channel.clone(), trouble });
    }

    /// The scheduled events of a channel, each when it is due.
    async fn watch_later(self: &Arc<Self>, channel: &ChannelName) -> Result<Subscription> {
        let mut options = SubscribeOptions::new(vec![channel.clone().into()]);
        options.max_in_flight = WATCHED;
        options.retry = RetryPolicy::immediate();
        let group = self.names.group(&self.names.later(channel)?, MOVERS);
        let (topic, client) = self.join(channel, true, &group, &StartPosition::Earliest).await?;
        let seeks = Seeks::default();
        let receiver = seeks.add();
        let (feed, source) = Feed::new(seeks);
        let shared = Shared { feed, room: Arc::new(Semaphore::new(WATCHED)), alone: true, options };
        let member = Member::new(self.clone(), Arc::new(shared), channel.clone(), topic, group, true, receiver);
        self.tasks.spawn(member.run(client));
        Ok(Self::subscription(source))
    }
}
