//! The client of one member of a group, and what it reports.

use std::{
    collections::VecDeque,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use pubsub_core::{ChannelName, Error, ErrorKind, GroupName, Result, StartPosition};
use rdkafka::{
    ClientContext, Offset, TopicPartitionList,
    config::{FromClientConfigAndContext, RDKafkaLogLevel},
    consumer::{BaseConsumer, CommitMode, Consumer, ConsumerContext, StreamConsumer},
    error::KafkaError,
    types::RDKafkaRespErr,
};
use tokio::sync::Notify;

use super::{
    connection::{ANSWER, Context, Link, Signals, blocking, reap},
    error::{error, settled},
    position::{Bounds, bounds_of, resolve},
    progress::Committed,
    topology::Topic,
};

/// For how long a new broker may look for who answers for a group.
const SETTLING: Duration = Duration::from_secs(15);

/// What happened to a member.
#[derive(Debug)]
pub(super) enum Change {
    /// These partitions are ours.
    Assigned(Vec<i32>),
    /// These partitions have to be given up; `true` if somebody else may have them already.
    Revoked(Vec<i32>, bool),
    /// A commit ended.
    Committed(Result<()>),
}

/// Collects what the client reports while it is polled. The task acts on it: a callback must not wait.
#[derive(Debug)]
pub(super) struct MemberContext {
    signals: Arc<Signals>,
    changes: Mutex<VecDeque<Change>>,
    pub(super) changed: Notify,
    /// The client is being closed: there is no task that would act any more.
    closing: AtomicBool,
}

impl MemberContext {
    pub(super) fn push(&self, change: Change) {
        self.changes.lock().unwrap_or_else(PoisonError::into_inner).push_back(change);
        self.changed.notify_one();
    }

    pub(super) fn next(&self) -> Option<Change> {
        self.changes.lock().unwrap_or_else(PoisonError::into_inner).pop_front()
    }
}

impl ClientContext for MemberContext {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, text: &str) {
        Context(self.signals.clone()).log(level, facility, text);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        Context(self.signals.clone()).error(error, reason);
    }
}

impl ConsumerContext for MemberContext {
    /// The group waits until the task has assigned or given up the partitions.
    fn rebalance(&self, consumer: &BaseConsumer<Self>, event: RDKafkaRespErr, list: &mut TopicPartitionList) {
        if self.closing.load(Ordering::SeqCst) {
            // A client that is closed leaves its group only once this is answered.
            if consumer.unassign().is_err() {
                let _ = consumer.incremental_unassign(list);
            }
            return;
        }
        let partitions = list.elements().iter().map(|element| element.partition()).collect();
        self.push(match event {
            RDKafkaRespErr::RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS => Change::Assigned(partitions),
            _ => Change::Revoked(partitions, consumer.assignment_lost()),
        });
    }
}

/// A member's client. Dropping it leaves the group, on a thread of its own.
pub(super) struct Client(Option<Arc<StreamConsumer<MemberContext>>>);

impl Client {
    pub(super) fn new(link: &Link, group: &str) -> Result<Self> {
        let mut config = link.options.client();
        config.set("group.id", group).set("group.protocol", "classic");
        config.set("partition.assignment.strategy", "cooperative-sticky");
        config.set("enable.auto.commit", "false").set("enable.auto.offset.store", "false");
        config.set("auto.offset.reset", "earliest").set("allow.auto.create.topics", "false");
        config.set("session.timeout.ms", "6000").set("heartbeat.interval.ms", "500");
        config.set("fetch.wait.max.ms", "500").set("fetch.error.backoff.ms", "50");
        config.set("queued.min.messages", "10000").set("queued.max.messages.kbytes", "16384");
        // How long a client that has enough rests before it fetches more; by default longer than that much lasts.
        config.set("fetch.queue.backoff.ms", "10");
        link.options.finish(&mut config);
        let context = MemberContext {
            signals: link.signals.clone(),
            changes: Mutex::default(),
            changed: Notify::new(),
            closing: AtomicBool::new(false),
        };
        let consumer = StreamConsumer::from_config_and_context(&config, context);
        let consumer = consumer.map_err(|cause| error("subscribe", cause))?;
        Ok(Self(Some(Arc::new(consumer))))
    }

    pub(super) fn get(&self) -> Result<&Arc<StreamConsumer<MemberContext>>> {
        self.0.as_ref().ok_or_else(|| Error::new(ErrorKind::Closed, "receive", "the member has left"))
    }

    /// Leaves the group, and waits for it as long as `limit`.
    pub(super) async fn leave(mut self, limit: Duration) {
        let Some(consumer) = self.0.take() else { return };
        let (left, gone) = tokio::sync::oneshot::channel::<()>();
        reap((Leaving(consumer), left));
        let _ = tokio::time::timeout(limit, gone).await;
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        if let Some(consumer) = self.0.take() {
            reap(Leaving(consumer));
        }
    }
}

/// A client on its way out of its group.
struct Leaving(Arc<StreamConsumer<MemberContext>>);

impl Drop for Leaving {
    fn drop(&mut self) {
        let Self(consumer) = self;
        consumer.context().closing.store(true, Ordering::SeqCst);
        // Whatever the group has asked of it and nobody has answered is answered by these.
        let _ = consumer.incremental_assign(&TopicPartitionList::new());
        if let Ok(all) = consumer.assignment() {
            let _ = consumer.incremental_unassign(&all);
        }
    }
}

/// What a group has committed on these partitions; waits for the broker.
pub(super) fn committed(
    consumer: &StreamConsumer<MemberContext>,
    topic: &str,
    partitions: &[i32],
) -> Result<Vec<(i32, Option<Committed>)>> {
    let mut wanted = TopicPartitionList::new();
    for partition in partitions {
        wanted.add_partition(topic, *partition);
    }
    let found = settled(SETTLING, || consumer.committed_offsets(wanted.clone(), ANSWER));
    let found = found.map_err(|cause| error("read progress", cause))?;
    let read = |partition: &i32| {
        let element = found.find_partition(topic, *partition)?;
        match element.offset() {
            Offset::Offset(offset) => Some(Committed { offset, text: element.metadata().to_owned() }),
            _ => None,
        }
    };
    Ok(partitions.iter().map(|partition| (*partition, read(partition))).collect())
}

/// A list of what to commit.
pub(super) fn list(topic: &str, commits: &[(i32, Committed)]) -> Result<TopicPartitionList> {
    let mut list = TopicPartitionList::with_capacity(commits.len());
    for (partition, committed) in commits {
        let mut element = list.add_partition(topic, *partition);
        element.set_offset(Offset::Offset(committed.offset)).map_err(|cause| error("commit", cause))?;
        if !committed.text.is_empty() {
            element.set_metadata(&committed.text);
        }
    }
    Ok(list)
}

/// Has a client go on at other offsets, in all of these partitions.
pub(super) async fn move_client(consumer: &Arc<StreamConsumer<MemberContext>>, list: TopicPartitionList) -> Result<()> {
    let client = consumer.clone();
    let moved = blocking("seek", move || client.seek_partitions(list, ANSWER)).await?;
    let moved = moved.and_then(|list| list.elements().iter().try_for_each(|element| element.error()));
    moved.map_err(|cause| error("seek", cause))
}

impl Link {
    /// How many records lie behind what a group has committed, what its members have in hand included.
    pub(super) async fn lag(&self, channel: &ChannelName, group: &GroupName) -> Result<u64> {
        let missing = || Error::new(ErrorKind::NotFound, "read lag", format!("the channel has no group `{group}`"));
        let topic = self.find(channel).await?.ok_or_else(missing)?;
        // What a group has committed is told to clients of that group only; this one does not join it.
        let client = Client::new(self, &self.names.group_on(&topic.name, group))?;
        let asking = client.get()?.clone();
        let found = blocking("read lag", move || {
            let partitions: Vec<_> = (0..topic.partitions).collect();
            let places = committed(&asking, &topic.name, &partitions)?;
            let with_bounds =
                places.into_iter().map(|(partition, place)| Ok((bounds_of(&*asking, &topic.name, partition)?, place)));
            with_bounds.collect::<Result<Vec<_>>>()
        });
        let found = found.await??;
        if found.iter().all(|(_, place)| place.is_none()) {
            return Err(missing());
        }
        let behind = |(bounds, place): (Bounds, Option<Committed>)| {
            let next = place.map_or(bounds.low, |place| place.offset.max(bounds.low));
            u64::try_from(bounds.high - next).unwrap_or(0)
        };
        Ok(found.into_iter().map(behind).sum())
    }

    /// Makes sure that a group has a place in a channel; whether it had none. With `create`, it gets one at `start`,
    /// before anything that is published afterwards.
    pub(super) async fn establish(
        &self,
        topic: &Topic,
        group: &str,
        start: &StartPosition,
        create: bool,
    ) -> Result<bool> {
        let client = Client::new(self, group)?;
        self.establish_with(&client, topic, start, create).await
    }

    pub(super) async fn establish_with(
        &self,
        client: &Client,
        topic: &Topic,
        start: &StartPosition,
        create: bool,
    ) -> Result<bool> {
        let (consumer, wanted) = (client.get()?.clone(), topic.clone());
        let ask = move || committed(&consumer, &wanted.name, &(0..wanted.partitions).collect::<Vec<_>>());
        let known = blocking("subscribe", ask).await??;
        let fresh: Vec<_> =
            known.iter().filter(|(_, place)| place.is_none()).map(|(partition, _)| *partition).collect();
        if fresh.is_empty() || !create {
            return Ok(fresh.len() == known.len());
        }
        // Partitions that came later than the group are read from their start.
        let all = fresh.len() == known.len();
        let start = if all { start.clone() } else { StartPosition::Earliest };
        let wanted = topic.clone();
        let offsets = self.ask("subscribe", move |explorer| resolve(explorer, &wanted, &start, false)).await?;
        let commits: Vec<_> = offsets
            .into_iter()
            .filter(|(partition, _)| fresh.contains(partition))
            .map(|(partition, offset)| (partition, Committed { offset, text: String::new() }))
            .collect();
        let (consumer, name) = (client.get()?.clone(), topic.name.clone());
        let commit = move || {
            let list = list(&name, &commits)?;
            settled(SETTLING, || consumer.commit(&list, CommitMode::Sync)).map_err(|cause| error("subscribe", cause))
        };
        match blocking("subscribe", commit).await? {
            // Somebody else was first, and the group is at work: it has its place.
            Err(error) if error.kind() == ErrorKind::Conflict => Ok(false),
            committed => committed.map(|()| all),
        }
    }
}
