//! Channels on the broker: what is known of them, declaring them, and finding out when they are gone.

mod compare;
mod settings;

use std::{
    collections::HashMap,
    sync::{Arc, PoisonError, RwLock},
    time::Duration,
};

use pubsub_core::{
    ChannelName, ChannelPolicy, Error, ErrorKind, Position, Result,
    driver::{ChannelSpec, Difference, Topology, TopologyMode, TopologyReport},
};
use rdkafka::{
    admin::{AdminOptions, ConfigSource, NewTopic, OwnedResourceSpecifier, ResourceSpecifier, TopicReplication},
    consumer::Consumer,
    error::{KafkaError, RDKafkaErrorCode as Code},
};
use tokio::time::{Instant, sleep};

pub(super) use settings::Settings;
use settings::{Entries, Entry, born_of, check};

use super::{
    connection::{ANSWER, Incident, Link, Trouble},
    error::{error, is_unknown},
    position::Marks,
};

/// A channel on the broker.
#[derive(Clone, Debug)]
pub(super) struct Topic {
    pub(super) name: Arc<str>,
    pub(super) partitions: i32,
    /// Which life of the channel this is; 0 where it is not known.
    pub(super) born: u64,
    pub(super) marks: Marks,
}

impl Topic {
    pub(super) fn new(name: &str, partitions: i32, born: u64) -> Result<Self> {
        Ok(Self { name: name.into(), partitions, born, marks: Marks::new(partitions, born)? })
    }

    /// Where one record lies.
    pub(super) fn position(&self, partition: i32, offset: i64) -> Option<Position> {
        self.marks.of_one(partition, offset)
    }
}

/// The channels in use.
#[derive(Debug, Default)]
pub(super) struct Topics(RwLock<HashMap<ChannelName, Arc<Topic>>>);

impl Topics {
    pub(super) fn get(&self, channel: &ChannelName) -> Option<Arc<Topic>> {
        // The table is whole at every point where a panic could come from.
        self.0.read().unwrap_or_else(PoisonError::into_inner).get(channel).cloned()
    }

    fn put(&self, channel: &ChannelName, topic: &Topic) {
        self.0.write().unwrap_or_else(PoisonError::into_inner).insert(channel.clone(), Arc::new(topic.clone()));
    }

    pub(super) fn forget(&self, channel: &ChannelName) {
        self.0.write().unwrap_or_else(PoisonError::into_inner).remove(channel);
    }

    /// Forgets this life of a channel.
    pub(super) fn forget_if(&self, channel: &ChannelName, born: u64) {
        let mut table = self.0.write().unwrap_or_else(PoisonError::into_inner);
        if table.get(channel).is_some_and(|topic| topic.born == born) {
            table.remove(channel);
        }
    }

    fn all(&self) -> Vec<(ChannelName, Arc<Topic>)> {
        let table = self.0.read().unwrap_or_else(PoisonError::into_inner);
        table.iter().map(|(channel, topic)| (channel.clone(), topic.clone())).collect()
    }
}

/// How long making a channel may take: a busy broker makes one after the other.
const MAKING: Duration = Duration::from_secs(15);

fn patience() -> AdminOptions {
    AdminOptions::new().request_timeout(Some(ANSWER)).operation_timeout(Some(ANSWER))
}

impl Link {
    /// The channel, which is made where channels need no declaration.
    ///
    /// # Errors
    /// `NotFound` for a strict adapter and for inboxes, otherwise as [`Link::ensure`].
    pub(super) async fn demand(&self, channel: &ChannelName, operation: &'static str) -> Result<Topic> {
        self.open(operation)?;
        if let Some(topic) = self.topics.get(channel) {
            return Ok(Topic::clone(&topic));
        }
        if let Some(topic) = self.find(channel).await? {
            return Ok(topic);
        }
        if channel.is_inbox() || (self.options.broker.strict && !channel.is_internal()) {
            return Err(Error::new(ErrorKind::NotFound, operation, "the channel does not exist").on(channel));
        }
        let policy = self.policies.get(channel).unwrap_or_default();
        self.create(channel, &self.names.topic(channel)?, &policy).await
    }

    /// The channel, if the broker has it.
    ///
    /// # Errors
    /// `Unavailable`, `Timeout`, `Auth`.
    pub(super) async fn find(&self, channel: &ChannelName) -> Result<Option<Topic>> {
        let name = self.names.topic(channel)?;
        let topic = self.find_topic(&name).await.map_err(|error| error.on(channel))?;
        match &topic {
            Some(topic) => self.topics.put(channel, topic),
            None => self.topics.forget(channel),
        }
        Ok(topic)
    }

    pub(super) async fn find_topic(&self, name: &str) -> Result<Option<Topic>> {
        let Some(partitions) = self.partitions(name).await? else { return Ok(None) };
        let born = self.settings(&[name]).await?.get(name).map_or(0, born_of);
        Topic::new(name, partitions, born).map(Some)
    }

    /// How many partitions the broker has of it, all of them led by somebody.
    async fn partitions(&self, name: &str) -> Result<Option<i32>> {
        let topic = name.to_owned();
        let asked = self.ask("find channel", move |explorer| {
            let answer = explorer.fetch_metadata(Some(&topic), ANSWER).map_err(|cause| error("find channel", cause))?;
            let Some(found) = answer.topics().first() else { return Ok(None) };
            if let Some(fault) = found.error() {
                let cause = KafkaError::MetadataFetch(fault.into());
                return if is_unknown(&cause) { Ok(None) } else { Err(error("find channel", cause)) };
            }
            let led =
                !found.partitions().is_empty() && found.partitions().iter().all(|partition| partition.leader() >= 0);
            Ok(led.then_some(found.partitions().len() as i32))
        });
        asked.await
    }

    /// The settings of these, by name; those that do not exist are left out.
    async fn settings(&self, names: &[&str]) -> Result<HashMap<String, Entries>> {
        let wanted: Vec<_> = names.iter().map(|name| ResourceSpecifier::Topic(name)).collect();
        let (admin, patience) = (self.admin(), patience());
        let answer = admin.describe_configs(&wanted, &patience).await;
        let mut found = HashMap::new();
        for resource in answer.map_err(|cause| error("read settings", cause))? {
            let resource = match resource {
                Ok(resource) => resource,
                Err(Code::UnknownTopicOrPartition) => continue,
                // A node that cannot answer says nothing about what it has.
                Err(code) => return Err(error("read settings", KafkaError::AdminOp(code))),
            };
            if let OwnedResourceSpecifier::Topic(name) = resource.specifier {
                let entries = resource.entries.into_iter().filter_map(|entry| {
                    let own = entry.source == ConfigSource::DynamicTopic;
                    Some((entry.name, Entry { value: entry.value?, own }))
                });
                found.insert(name, entries.collect());
            }
        }
        Ok(found)
    }

    /// Makes a channel, unless somebody else was first.
    pub(super) async fn create(&self, channel: &ChannelName, name: &str, policy: &ChannelPolicy) -> Result<Topic> {
        let settings = Settings::of(policy, channel, self.options.partitions, self.options.replication);
        let made = self.create_topic(name, &settings).await.map_err(|error| error.on(channel))?;
        self.topics.put(channel, &made);
        self.discovered.notify_waiters();
        Ok(made)
    }

    pub(super) async fn create_topic(&self, name: &str, settings: &Settings) -> Result<Topic> {
        let replication = self.options.replication.map_or(-1, i32::from);
        let mut topic = NewTopic::new(name, settings.partitions, TopicReplication::Fixed(replication));
        let entries = settings.with_birth();
        for (key, value) in &entries {
            topic = topic.set(key, value);
        }
        let patience = patience().request_timeout(Some(MAKING)).operation_timeout(Some(MAKING));
        let answer = self.admin().create_topics([&topic], &patience).await;
        let answer = answer.map_err(|cause| error("create channel", cause))?;
        match answer.into_iter().next() {
            Some(Err((_, code))) if code != Code::TopicAlreadyExists => {
                return Err(error("create channel", KafkaError::AdminOp(code)));
            }
            _ => {}
        }
        // The broker says yes before it has told itself everything.
        let limit = Instant::now() + MAKING;
        loop {
            if let Some(topic) = self.find_topic(name).await? {
                return Ok(topic);
            }
            if Instant::now() >= limit {
                return Err(Error::new(ErrorKind::Timeout, "create channel", "the new channel has no leader yet"));
            }
            sleep(Duration::from_millis(10)).await;
        }
    }

    /// Compares what exists with what is declared, and mends what the mode allows.
    ///
    /// # Errors
    /// As [`Adapter::ensure`](pubsub_core::driver::Adapter::ensure).
    pub(super) async fn ensure(&self, topology: &Topology) -> Result<TopologyReport> {
        let mut report = TopologyReport::default();
        for spec in &topology.channels {
            spec.policy.check()?;
            check(spec).map_err(|error| error.on(&spec.channel))?;
        }
        for spec in &topology.channels {
            self.ensure_channel(topology.mode, spec, &mut report).await?;
        }
        report.into_result()
    }

    async fn ensure_channel(&self, mode: TopologyMode, spec: &ChannelSpec, report: &mut TopologyReport) -> Result<()> {
        let channel = &spec.channel;
        let missing = || Difference::new(channel, "channel", "declared", "missing");
        let topic = match self.find(channel).await? {
            Some(topic) => {
                self.compare(mode, spec, &topic, report).await?;
                topic
            }
            None if mode == TopologyMode::Validate => {
                report.push(missing());
                return Ok(());
            }
            None => {
                report.push(missing().mended());
                self.create(channel, &self.names.topic(channel)?, &spec.policy).await?
            }
        };
        self.policies.insert(channel, &spec.policy);
        for (group, start) in &spec.groups {
            let name = self.names.group_on(&topic.name, group);
            let create = mode != TopologyMode::Validate;
            if self.establish(&topic, &name, start, create).await.map_err(|error| error.on(channel))? {
                let difference = Difference::new(channel, format!("group:{group}"), "declared", "missing");
                report.push(if create { difference.mended() } else { difference });
            }
        }
        Ok(())
    }

    /// Looks whether the channels in use are still there and the same. What is gone is declared again, and everybody who
    /// reads it is told. `thorough` after an outage; otherwise what is there is taken to be the same.
    ///
    /// # Errors
    /// `Unavailable`, `Timeout`, `Auth`.
    pub(super) async fn look_after(&self, thorough: bool) -> Result<()> {
        let known = self.topics.all();
        if known.is_empty() {
            return Ok(());
        }
        let mut lost = Vec::new();
        let names: Vec<_> = known.iter().map(|(_, topic)| topic.name.to_string()).collect();
        let asked = self.ask("look at channels", move |explorer| {
            let answer = explorer.fetch_metadata(None, ANSWER).map_err(|cause| error("look at channels", cause))?;
            let there: HashMap<_, _> = answer
                .topics()
                .iter()
                .map(|topic| (topic.name().to_owned(), topic.partitions().len() as i32))
                .collect();
            Ok(names.into_iter().map(|name| there.get(&name).copied()).collect::<Vec<_>>())
        });
        let found = asked.await?;
        let (mut same, mut resized) = (Vec::new(), Vec::new());
        for ((channel, topic), found) in known.iter().zip(found) {
            match found {
                None => {
                    lost.push((channel, topic));
                    continue;
                }
                Some(partitions) if partitions != topic.partitions => resized.push(channel),
                Some(_) => {}
            }
            if topic.born != 0 {
                same.push((channel, topic));
            }
        }
        if thorough || same.len() <= 64 {
            let names: Vec<_> = same.iter().map(|(_, topic)| &*topic.name).collect();
            if !names.is_empty() {
                let settings = self.settings(&names).await?;
                let other = |topic: &Topic| settings.get(&*topic.name).is_none_or(|found| born_of(found) != topic.born);
                lost.extend(same.iter().filter(|(_, topic)| other(topic)).copied());
            }
        }
        for channel in resized {
            if lost.iter().all(|(gone, _)| *gone != channel) {
                self.find(channel).await?;
            }
        }
        if lost.is_empty() {
            return Ok(());
        }
        // Numbers of producers begin anew on a broker that has lost its data: what it confirms to a producer of before
        // may be another one's.
        self.outlet.retire();
        for (channel, _) in lost {
            self.topics.forget(channel);
            if !channel.is_inbox() && (!self.options.broker.strict || self.policies.get(channel).is_some()) {
                let policy = self.policies.get(channel).unwrap_or_default();
                if self.find(channel).await?.is_none() {
                    self.create(channel, &self.names.topic(channel)?, &policy).await?;
                }
            }
            let _ = self.incidents.send(Incident { channel: channel.clone(), trouble: Trouble::Lost });
        }
        Ok(())
    }

    /// The users' channels of this deployment.
    ///
    /// # Errors
    /// `Unavailable`, `Timeout`, `Auth`.
    pub(super) async fn channels(&self) -> Result<Vec<ChannelName>> {
        let names = self.names.clone();
        let asked = self.ask("look for channels", move |explorer| {
            let answer = explorer.fetch_metadata(None, ANSWER).map_err(|cause| error("look for channels", cause))?;
            Ok(answer.topics().iter().filter_map(|topic| names.channel(topic.name())).collect())
        });
        asked.await
    }

    /// Deletes what a name stands for.
    pub(super) async fn delete(&self, name: &str) -> Result<()> {
        let patience = patience();
        let answer = self.admin().delete_topics(&[name], &patience).await;
        match answer.map_err(|cause| error("delete channel", cause))?.into_iter().next() {
            Some(Err((_, code))) => Err(error("delete channel", KafkaError::AdminOp(code))),
            _ => Ok(()),
        }
    }

    /// Deletes a group.
    pub(super) async fn delete_members(&self, group: &str) -> Result<()> {
        let patience = patience();
        let answer = self.admin().delete_groups(&[group], &patience).await;
        match answer.map_err(|cause| error("delete group", cause))?.into_iter().next() {
            Some(Err((_, code))) => Err(error("delete group", KafkaError::AdminOp(code))),
            _ => Ok(()),
        }
    }
}
