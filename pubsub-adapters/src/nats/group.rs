//! Groups as durable consumers: made, found, moved and deleted.

use std::{
    collections::HashMap,
    sync::{Arc, PoisonError},
    time::Duration,
};

use async_nats::jetstream::{
    consumer::{AckPolicy, DeliverPolicy, Info as ConsumerInfo, pull},
    stream::{ConsumerError, ConsumerErrorKind, Info},
};
use pubsub_core::{ChannelName, ChannelPolicy, Error, ErrorKind, GroupName, Result, StartPosition};

use super::{
    connection::Shared,
    error,
    history::{From, resolve},
    names::{UNSHARDED, consumer},
    topology::{policy_of, shards},
};

/// Why a consumer was made.
const ORIGIN: &str = "pubsub-origin";
/// The shortest and the longest time that the server gives a member. What a member may hold longer is renewed for it, so
/// the longest is how long the events of a member that is gone, or that were on their way when the connection broke, stay
/// with nobody.
const SHORTEST_LEASE: Duration = Duration::from_millis(50);
const LONGEST_LEASE: Duration = Duration::from_secs(6);

/// Where a consumer comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Origin {
    /// A fresh group.
    Fresh,
    /// A group that was moved.
    Moved,
    /// A group whose consumer was gone.
    Recovered,
}

impl Origin {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Fresh => "fresh",
            Self::Moved => "moved",
            Self::Recovered => "recovered",
        }
    }

    pub(super) fn of(info: &ConsumerInfo) -> Self {
        match info.config.metadata.get(ORIGIN).map(String::as_str) {
            Some("moved") => Self::Moved,
            Some("recovered") => Self::Recovered,
            _ => Self::Fresh,
        }
    }
}

/// Why a consumer could not be made.
pub(super) fn consumer_fault(operation: &'static str, cause: ConsumerError) -> Error {
    match cause.kind() {
        ConsumerErrorKind::JetStream(answer) => error::api(operation, answer),
        ConsumerErrorKind::TimedOut => {
            Error::new(ErrorKind::Timeout, operation, "the server did not answer in time").because(cause)
        }
        _ => Error::new(ErrorKind::Backend, operation, "the consumer could not be made").because(cause),
    }
}

/// The shards of a channel as its consumers know them.
pub(super) fn shards_of(policy: &ChannelPolicy) -> Vec<Option<u16>> {
    match shards(policy) {
        0 => vec![None],
        shards => (0..shards).map(Some).collect(),
    }
}

/// Behind which event the consumer began, if that is known.
pub(super) fn begun(info: &ConsumerInfo) -> Option<u64> {
    match info.config.deliver_policy {
        DeliverPolicy::ByStartSequence { start_sequence } => Some(start_sequence.saturating_sub(1)),
        _ => None,
    }
}

/// Up to which event the group was given all, or told of what it is not given.
pub(super) fn told_to(stream: &Info, info: &ConsumerInfo) -> Option<u64> {
    let gone = stream.state.first_sequence.saturating_sub(1);
    begun(info).map(|begun| info.delivered.stream_sequence.max(begun).max(gone))
}

impl Shared {
    /// The consumer of a group, if it is there.
    pub(super) async fn consumer(
        &self,
        operation: &'static str,
        channel: &ChannelName,
        name: &str,
    ) -> Result<Option<ConsumerInfo>> {
        let subject = format!("CONSUMER.INFO.{}.{name}", self.names.stream(channel));
        match self.api(operation, subject, &HashMap::<String, u64>::new()).await {
            Ok(info) => Ok(Some(info)),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error.on(channel)),
        }
    }

    /// Makes the consumer of a group, or of one shard of it. One that somebody else made meanwhile is as good.
    pub(super) async fn make_consumer(
        &self,
        channel: &ChannelName,
        name: &str,
        shard: Option<u16>,
        from: From,
        lease: Duration,
        origin: Origin,
    ) -> Result<ConsumerInfo> {
        const OPERATION: &str = "create group";
        let shard = shard.map_or_else(|| UNSHARDED.to_owned(), |shard| shard.to_string());
        let config = pull::Config {
            durable_name: Some(name.to_owned()),
            name: Some(name.to_owned()),
            deliver_policy: from.policy(),
            ack_policy: AckPolicy::Explicit,
            ack_wait: lease.clamp(SHORTEST_LEASE, LONGEST_LEASE),
            max_deliver: -1,
            max_ack_pending: -1, // each member bounds what it asks for
            max_waiting: 4096,
            filter_subject: self.names.durable(channel, &shard),
            metadata: HashMap::from([(ORIGIN.to_owned(), origin.as_str().to_owned())]),
            ..pull::Config::default()
        };
        let context = self.context(OPERATION).await?;
        let stream = self.names.stream(channel);
        match context.create_consumer_on_stream(config, &stream).await {
            Ok(made) => Ok(made.cached_info().clone()),
            Err(cause) => {
                let fault = consumer_fault(OPERATION, cause).on(channel);
                match self.consumer(OPERATION, channel, name).await? {
                    Some(info) => Ok(info),
                    None => Err(fault),
                }
            }
        }
    }

    /// Shortens the time that a consumer gives its members, where a member wants less and nobody relies on more.
    pub(super) async fn shorten_lease(
        &self,
        channel: &ChannelName,
        info: &ConsumerInfo,
        lease: Duration,
    ) -> Result<Duration> {
        let lease = lease.clamp(SHORTEST_LEASE, LONGEST_LEASE);
        if info.config.ack_wait <= lease || info.num_waiting > 0 || info.num_ack_pending > 0 {
            return Ok(info.config.ack_wait);
        }
        let config = pull::Config {
            durable_name: Some(info.name.clone()),
            name: Some(info.name.clone()),
            deliver_policy: info.config.deliver_policy,
            ack_policy: AckPolicy::Explicit,
            ack_wait: lease,
            max_deliver: -1,
            max_ack_pending: -1,
            max_waiting: info.config.max_waiting,
            filter_subject: info.config.filter_subject.clone(),
            metadata: info.config.metadata.clone(),
            ..pull::Config::default()
        };
        let context = self.context("subscribe").await?;
        let made = context.create_consumer_on_stream(config, self.names.stream(channel)).await;
        made.map_err(|cause| consumer_fault("subscribe", cause).on(channel))?;
        Ok(lease)
    }

    /// Makes sure that a group is there; says whether it was missing.
    pub(super) async fn ensure_group(
        &self,
        channel: &ChannelName,
        policy: &ChannelPolicy,
        group: &GroupName,
        start: &StartPosition,
        create: bool,
    ) -> Result<bool> {
        let mut missing = false;
        for shard in shards_of(policy) {
            let name = consumer(group, shard);
            if self.consumer("ensure topology", channel, &name).await?.is_some() {
                continue;
            }
            missing = true;
            if create {
                let info = self.must_exist("ensure topology", channel).await?;
                let from = resolve(channel, &info, start, false)?;
                let lease = pubsub_core::driver::Lease::default().duration;
                self.make_consumer(channel, &name, shard, from, lease, Origin::Fresh).await?;
            }
        }
        Ok(missing)
    }

    /// What is known of a channel's stream.
    ///
    /// # Errors
    /// `NotFound` if it is not there.
    pub(super) async fn must_exist(&self, operation: &'static str, channel: &ChannelName) -> Result<Info> {
        let missing = || Error::new(ErrorKind::NotFound, operation, "the channel does not exist").on(channel);
        self.stream(operation, channel).await?.ok_or_else(missing)
    }

    /// Moves a group to another position. What is in flight is void: its members begin anew.
    pub(super) async fn move_group(
        &self,
        channel: &ChannelName,
        group: &GroupName,
        from: From,
        lease: Duration,
    ) -> Result<()> {
        let info = self.must_exist("seek", channel).await?;
        for shard in shards_of(&policy_of(&info.config)) {
            let name = consumer(group, shard);
            self.delete_consumer("seek", channel, &name).await?;
            self.make_consumer(channel, &name, shard, from, lease, Origin::Moved).await?;
        }
        Ok(())
    }

    async fn delete_consumer(&self, operation: &'static str, channel: &ChannelName, name: &str) -> Result<bool> {
        let subject = format!("CONSUMER.DELETE.{}.{name}", self.names.stream(channel));
        let deleted: Result<async_nats::jetstream::stream::DeleteStatus> =
            self.api(operation, subject, &HashMap::<String, u64>::new()).await;
        match deleted {
            Ok(_) => Ok(true),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(false),
            Err(error) => Err(error.on(channel)),
        }
    }

    /// The consumers of a group, one for each shard.
    ///
    /// # Errors
    /// `NotFound` if there is none.
    async fn consumers(
        &self,
        operation: &'static str,
        channel: &ChannelName,
        group: &GroupName,
    ) -> Result<Vec<ConsumerInfo>> {
        let missing = || {
            let text = format!("the channel has no group `{group}`");
            Error::new(ErrorKind::NotFound, operation, text).on(channel)
        };
        let info = self.stream(operation, channel).await?.ok_or_else(missing)?;
        let mut found = Vec::new();
        for shard in shards_of(&policy_of(&info.config)) {
            found.extend(self.consumer(operation, channel, &consumer(group, shard)).await?);
        }
        if found.is_empty() { Err(missing()) } else { Ok(found) }
    }

    /// As [`Adapter::lag`](pubsub_core::driver::Adapter::lag).
    pub(super) async fn lag(&self, channel: &ChannelName, group: &GroupName) -> Result<u64> {
        let found = self.consumers("read lag", channel, group).await?;
        Ok(found.iter().map(|info| info.num_pending).sum())
    }

    /// As [`Adapter::delete_group`](pubsub_core::driver::Adapter::delete_group).
    pub(super) async fn delete_group(&self, channel: &ChannelName, group: &GroupName) -> Result<()> {
        const OPERATION: &str = "delete group";
        let found = self.consumers(OPERATION, channel, group).await?;
        let key = member_key(channel, group);
        let own = self.members.lock().unwrap_or_else(PoisonError::into_inner).get(&key).copied().unwrap_or(0);
        if own > 0 || found.iter().any(|info| info.num_waiting > 0) {
            let text = format!("group `{group}` has members");
            return Err(Error::new(ErrorKind::Conflict, OPERATION, text).on(channel));
        }
        for info in found {
            self.delete_consumer(OPERATION, channel, &info.name).await?;
        }
        Ok(())
    }

    /// Counts a member of a group in, until what is returned is dropped.
    pub(super) fn join(self: &Arc<Self>, channel: &ChannelName, group: &GroupName) -> Membership {
        let key = member_key(channel, group);
        *self.members.lock().unwrap_or_else(PoisonError::into_inner).entry(key.clone()).or_default() += 1;
        Membership(self.clone(), key)
    }
}

fn member_key(channel: &ChannelName, group: &GroupName) -> String {
    format!("{group}/{channel}")
}

/// One member of a group.
pub(super) struct Membership(Arc<Shared>, String);

impl Drop for Membership {
    fn drop(&mut self) {
        let mut members = self.0.members.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = members.get_mut(&self.1) {
            *count -= 1;
            if *count == 0 {
                members.remove(&self.1);
            }
        }
    }
}
