//! A member of a group: the task that owns its client, hands events out, and commits what is done.

mod commits;
mod flow;
mod place;

use std::{
    collections::{BTreeMap, VecDeque},
    future::pending,
    pin::Pin,
    sync::Arc,
    time::Duration,
};

use futures_util::{FutureExt, StreamExt};
use pubsub_core::{
    ChannelName, Clock, Error, ErrorKind, Result, StartPosition, Timestamp,
    driver::{AdapterState, Gap, GapReason, SubscribeOptions, SubscriptionState},
};
use rdkafka::{
    consumer::{Consumer, MessageStream, StreamConsumer},
    error::KafkaError,
};
use tokio::{
    sync::{AcquireError, Notify, OwnedSemaphorePermit, Semaphore, broadcast::error::RecvError, mpsc, oneshot},
    time::{Instant, sleep, sleep_until},
};

use self::{commits::Commits, place::Revocation};
use super::{
    connection::{Link, Trouble},
    error::{code_of, error, is_auth, is_fatal, is_unknown},
    jumps::Jumps,
    member::{Change, Client, MemberContext},
    progress::{Committed, Progress},
    settler::{GroupSettler, Record},
    topology::Topic,
};
use crate::common::{backoff::Backoff, feed::Feed};

/// How often progress is committed while nobody waits for it.
const COMMIT: Duration = Duration::from_secs(1);
/// So many settlements are committed sooner: not many more of them are done again when the process dies.
const COMMIT_EVERY: usize = 200;
/// But commits begin no closer together than this.
const COMMIT_SOONEST: Duration = Duration::from_millis(50);
/// How long a commit may take.
const COMMIT_LIMIT: Duration = Duration::from_secs(8);
/// How long handlers may go on with events of partitions that go elsewhere.
const REVOKE: Duration = Duration::from_secs(1);
/// How long a dropped subscription stays in its group for the events that are in hand.
const LEAVE: Duration = Duration::from_secs(5);
/// After so long without room the client fetches no more.
const STALL: Duration = Duration::from_millis(250);
/// Longer delays are as good as for ever, and would not fit the clock.
const LONGEST: Duration = Duration::from_secs(30 * 365 * 86_400);
/// How long room for an event may lie idle, so that more of it comes together.
const GATHER: Duration = Duration::from_millis(1);
/// How many records are taken in at once.
const CHUNK: usize = 256;

type Consumption = StreamConsumer<MemberContext>;
type Acquire = Pin<Box<dyn Future<Output = Result<OwnedSemaphorePermit, AcquireError>> + Send>>;

/// What the members of one subscription share.
pub(super) struct Shared {
    pub(super) feed: Feed,
    /// How many deliveries may be unsettled.
    pub(super) room: Arc<Semaphore>,
    /// There is one member only: nobody else waits for the room that its acknowledgements free.
    pub(super) alone: bool,
    pub(super) options: SubscribeOptions,
}

/// What a subscription asks of a member.
pub(super) struct Seek {
    pub(super) to: StartPosition,
    pub(super) done: oneshot::Sender<Result<()>>,
}

/// A partition that is ours.
struct Part {
    epoch: u64,
    progress: Progress,
    /// The offset that comes next, unless some are missing.
    expected: i64,
    /// Something is to be committed.
    dirty: bool,
    /// It has to be given up.
    revoking: bool,
    /// What came when the window was full, and for when it was meant; the partition is paused until it fits.
    stash: VecDeque<(Record, Option<Timestamp>)>,
}

/// Why a member's client is no longer served.
enum End {
    /// The subscription or the adapter ends.
    Stop,
    /// The client has to be made anew; `true` if events were lost.
    Rebuild(String, bool),
}

/// A member of a group on one channel.
pub(super) struct Member {
    link: Arc<Link>,
    shared: Arc<Shared>,
    channel: ChannelName,
    topic: Topic,
    group: String,
    /// Whether this reads what waits for its time, instead of the channel itself.
    later: bool,
    settler: Arc<GroupSettler>,
    seeks: mpsc::Receiver<Seek>,
    parts: BTreeMap<i32, Part>,
    /// What may be handed out at once, in order.
    ready: BTreeMap<(i32, i64), Record>,
    /// What has failed and waits for its time.
    held: BTreeMap<(Instant, i32, i64), Record>,
    /// Where records did not follow each other.
    jumps: Jumps,
    revocations: Vec<Revocation>,
    commits: Commits,
    spare: Option<OwnedSemaphorePermit>,
    /// Until when room is gathered before it is used.
    gathering: Option<Instant>,
    epoch: u64,
    clock: Clock,
    /// The client fetches nothing for now.
    quiet: bool,
    stalled: Option<Instant>,
    leaving: Option<Instant>,
    seeking: Option<(Seek, Instant)>,
    recovering: bool,
}

impl Member {
    pub(super) fn new(
        link: Arc<Link>,
        shared: Arc<Shared>,
        channel: ChannelName,
        topic: Topic,
        group: String,
        later: bool,
        seeks: mpsc::Receiver<Seek>,
    ) -> Self {
        let options = &shared.options;
        let desk = crate::common::desk::Desk::new(options.retry, options.drain.clone());
        Self {
            settler: Arc::new(GroupSettler { desk, wanted: Notify::new(), returned: Notify::new() }),
            link,
            shared,
            channel,
            topic,
            group,
            later,
            seeks,
            parts: BTreeMap::new(),
            ready: BTreeMap::new(),
            held: BTreeMap::new(),
            jumps: Jumps::default(),
            revocations: Vec::new(),
            commits: Commits::new(),
            spare: None,
            gathering: None,
            epoch: 0,
            clock: Clock::system(),
            quiet: false,
            stalled: None,
            leaving: None,
            seeking: None,
            recovering: false,
        }
    }

    /// Serves the subscription until it ends; heals by itself.
    pub(super) async fn run(mut self, mut client: Client) {
        loop {
            let (reason, lost) = match self.serve(&client).await {
                End::Stop => return self.leave(client).await,
                End::Rebuild(reason, lost) => (reason, lost),
            };
            self.recover(reason);
            self.forget_all();
            // Told at once: a broker that has lost its data may need long until it has groups again.
            if lost {
                self.shared.feed.gap(Gap::new(self.channel.clone(), None, GapReason::DataLoss));
            }
            drop(client);
            client = match self.rejoin().await {
                Some(client) => client,
                None => return self.shared.feed.end(),
            };
            self.recovered();
        }
    }

    fn recover(&mut self, reason: String) {
        self.recovering = true;
        self.shared.feed.state(SubscriptionState::Recovering(reason));
    }

    fn recovered(&mut self) {
        if std::mem::take(&mut self.recovering) {
            self.shared.feed.state(SubscriptionState::Active);
        }
    }

    /// A new client in the same group; `None` once the subscription ends.
    async fn rejoin(&mut self) -> Option<Client> {
        let mut backoff = Backoff::default();
        loop {
            let joined = tokio::select! {
                () = self.link.closing.cancelled() => return None,
                () = self.shared.feed.gone().cancelled() => return None,
                joined = self.link.join(&self.channel, self.later, &self.group, &StartPosition::Earliest) => joined,
            };
            match joined {
                Ok((topic, client)) => {
                    self.topic = topic;
                    return Some(client);
                }
                Err(error) => self.recover(error.to_string()),
            }
            tokio::select! {
                () = self.link.closing.cancelled() => return None,
                () = self.shared.feed.gone().cancelled() => return None,
                () = sleep(backoff.next()) => {}
            }
        }
    }

    async fn serve(&mut self, client: &Client) -> End {
        let consumer = match client.get() {
            Ok(consumer) => consumer.clone(),
            Err(error) => return End::Rebuild(error.to_string(), false),
        };
        let mut stream = consumer.stream();
        let (settler, link) = (self.settler.clone(), self.link.clone());
        let (mut incidents, mut states) = (link.incidents.subscribe(), link.states.watch());
        let feed = self.shared.feed.clone();
        let drain = self.shared.options.drain.clone();
        let mut acquiring: Option<Acquire> = None;
        let mut look = Instant::now();
        loop {
            // A publisher may have made the channel anew before anybody noticed that it was gone.
            if Instant::now() >= look {
                look = Instant::now() + COMMIT;
                if self.is_replaced() {
                    return End::Rebuild("the channel was made anew".to_owned(), true);
                }
            }
            if let Some(end) = self.step(&consumer).await {
                return end;
            }
            let (now, idle) = (Instant::now(), self.is_idle());
            let takes = idle && self.ready.is_empty();
            // Without room nothing is taken in; after a while the client stops fetching and is polled again, so that it
            // takes part in what its group does.
            let polls = takes || self.quiet;
            if takes {
                self.stalled = None;
            } else {
                self.stalled.get_or_insert(now);
            }
            if self.ready.is_empty() {
                acquiring = None;
            } else if idle && acquiring.is_none() && self.spare.is_none() && self.gathering.is_none() {
                acquiring = Some(Box::pin(self.shared.room.clone().acquire_owned()));
            }
            let wake = self.next_wake();
            let (most, gathers) = (self.shared.options.max_in_flight, self.gathering.is_some());
            // Acknowledgements are looked at when it is time to commit, unless somebody waits for what they free.
            let settles =
                !self.shared.alone || !self.ready.is_empty() || self.leaving.is_some() || !self.revocations.is_empty();
            tokio::select! {
                biased;
                () = link.closing.cancelled() => return End::Stop,
                () = feed.gone().cancelled(), if self.leaving.is_none() => self.leaving = Some(now + LEAVE),
                () = consumer.context().changed.notified() => {}
                () = settler.returned.notified() => {}
                batch = settler.desk.next_batch(), if settles && !gathers => {
                    self.settle(batch);
                    // Whoever has something to do yet does not wait for the room to be used.
                    self.gathering = (self.shared.alone && feed.len() > most / 8).then_some(now + GATHER);
                }
                _ = settler.desk.room_for(most, most / 2), if gathers => self.gathering = None,
                () = settler.wanted.notified() => self.commits.urgent = true,
                permit = acquired(&mut acquiring) => {
                    acquiring = None;
                    self.spare = permit.ok();
                }
                seek = self.seeks.recv(), if self.seeking.is_none() && self.leaving.is_none() => {
                    self.seeking = seek.map(|seek| (seek, now + 2 * COMMIT_LIMIT));
                }
                record = stream.next(), if polls => {
                    if let Some(end) = self.take_in(record, &mut stream, takes) {
                        return end;
                    }
                }
                incident = incidents.recv() => match incident {
                    Ok(incident) if incident.channel == self.channel && !self.later => match incident.trouble {
                        Trouble::Lost => return End::Rebuild("the channel has lost its events".to_owned(), true),
                        Trouble::ScheduledLost => feed.gap(Gap::new(incident.channel, None, GapReason::DataLoss)),
                        Trouble::Scheduled(error) => feed.error(error),
                    },
                    Err(RecvError::Closed) => return End::Stop,
                    _ => {}
                },
                state = states.changed() => match state {
                    Some(AdapterState::Degraded(reason)) => self.recover(reason),
                    Some(AdapterState::Ready) => self.recovered(),
                    _ => {}
                },
                () = feed.resumed(), if feed.is_paused() => {}
                () = drain.clone().started(), if !drain.is_draining() => {}
                () = sleep_until(wake) => {}
            }
        }
    }

    /// Whether the channel is not the one that is read any more.
    fn is_replaced(&self) -> bool {
        let other = |now: Arc<Topic>| now.born != self.topic.born;
        !self.later && self.topic.born != 0 && self.link.topics.get(&self.channel).is_some_and(other)
    }

    /// Everything that can be done without waiting for something to happen.
    async fn step(&mut self, consumer: &Arc<Consumption>) -> Option<End> {
        while let Some(change) = consumer.context().next() {
            let done = match change {
                Change::Assigned(partitions) => self.assign(consumer, &partitions).await,
                Change::Revoked(partitions, lost) => {
                    self.revoke(partitions, lost);
                    Ok(())
                }
                Change::Committed(result) => {
                    self.committed(&result);
                    Ok(())
                }
            };
            if let Err(error) = done {
                return Some(End::Rebuild(error.to_string(), false));
            }
        }
        let batch = self.settler.desk.take_batch();
        self.settle(batch);
        self.give_up(consumer).await;
        if let Some(end) = self.try_seek(consumer).await {
            return Some(end);
        }
        for gap in self.jumps.gaps(&self.link).await {
            self.shared.feed.gap(gap);
        }
        self.ripen();
        self.gathering = self.gathering.filter(|until| Instant::now() < *until);
        if self.is_idle() && self.gathering.is_none() {
            self.hand_out();
        }
        self.pace(consumer);
        self.commit(consumer);
        match self.leaving {
            Some(until) if self.settler.desk.len() == 0 || Instant::now() >= until => Some(End::Stop),
            _ => None,
        }
    }

    /// Whether events may be handed out.
    fn is_idle(&self) -> bool {
        self.leaving.is_none()
            && self.held.len() < self.most_held()
            && !self.shared.feed.is_paused()
            && !self.shared.options.drain.is_draining()
    }

    /// How many events may wait for their retry.
    fn most_held(&self) -> usize {
        self.shared.options.max_in_flight.max(64)
    }

    /// When to look again, though nothing happens.
    fn next_wake(&self) -> Instant {
        let mut wake = Instant::now() + COMMIT;
        let mut at = |when: Option<Instant>| wake = when.map_or(wake, |when| wake.min(when));
        at(self.held.keys().next().map(|(due, ..)| *due));
        at(self.revocations.iter().map(|revocation| revocation.until).min());
        at(self.stalled.filter(|_| !self.quiet).map(|since| since + STALL));
        at(self.leaving);
        at(self.gathering);
        if let Some(limit) = self.commits.limit() {
            at(Some(limit));
        } else if self.commits.has_untold() || self.settler.desk.len() > 0 || self.parts.values().any(|part| part.dirty)
        {
            at(Some(self.commits.due));
        }
        if self.seeking.is_some() {
            at(Some(Instant::now() + Duration::from_millis(20)));
        }
        wake
    }

    /// Takes in a record, and those that are there behind it.
    fn take_in(
        &mut self,
        first: Option<std::result::Result<rdkafka::message::BorrowedMessage<'_>, KafkaError>>,
        stream: &mut MessageStream<'_, MemberContext>,
        takes: bool,
    ) -> Option<End> {
        let (mut deliveries, mut next) = (Vec::new(), first);
        // One reading of the clocks is precise enough for records that were there together.
        let now = (self.clock.mark(), Timestamp::now());
        for taken in 1_usize.. {
            match next {
                Some(Ok(record)) => {
                    if let Some(end) = self.arrive(&record, now, takes, &mut deliveries) {
                        return Some(end);
                    }
                }
                Some(Err(cause)) => {
                    if let Some(end) = self.fault(cause) {
                        return Some(end);
                    }
                }
                None => break,
            }
            // What is taken out of the stream has to be taken in.
            if taken >= CHUNK || !takes || !self.ready.is_empty() {
                break;
            }
            next = match stream.next().now_or_never() {
                Some(next) => next,
                None => break,
            };
        }
        self.deliver(deliveries);
        None
    }

    /// What the client reports in place of a record.
    fn fault(&mut self, cause: KafkaError) -> Option<End> {
        if is_fatal(&cause) {
            return Some(End::Rebuild(cause.to_string(), false));
        }
        if code_of(&cause).is_some_and(is_auth) {
            self.shared.feed.error(error("receive", cause).on(&self.channel));
        } else if is_unknown(&cause) {
            self.link.topics.forget_if(&self.channel, self.topic.born);
            self.link.signals.trouble.notify_one();
            return Some(End::Rebuild("the channel is gone".to_owned(), true));
        }
        None
    }

    /// Everything that this member knew is void.
    fn forget_all(&mut self) {
        // Whoever waits for the broker's word on one of these is told, too.
        self.commits.add(self.settler.desk.take_batch().len());
        drop(self.settler.desk.take_if(|_| true));
        self.ready.clear();
        self.held.clear();
        self.parts.clear();
        self.revocations.clear();
        (self.quiet, self.stalled) = (false, None);
        let open = self.commits.clear();
        if open > 0 {
            let text = "the channel or the group's client was made anew";
            self.settler.desk.told(open, Err(Error::new(ErrorKind::Conflict, "settle", text).on(&self.channel)));
        }
    }

    /// Commits, leaves the group, and ends the subscription.
    async fn leave(mut self, client: Client) {
        self.shared.feed.end();
        self.shared.feed.take_deliveries().into_iter().for_each(pubsub_core::Delivery::forget);
        let batch = self.settler.desk.take_batch();
        self.leaving.get_or_insert_with(Instant::now);
        self.settle(batch);
        drop(self.settler.desk.take_if(|_| true));
        let commits: Vec<(i32, Committed)> = self
            .parts
            .iter()
            .filter(|(_, part)| part.dirty || self.commits.is_underway())
            .map(|(partition, part)| (*partition, part.progress.committed()))
            .collect();
        let told = match client.get() {
            Ok(consumer) => self.commit_now(consumer, commits).await,
            Err(error) => Err(error),
        };
        let (count, told) = self.commits.last(told);
        self.settler.desk.told(count, told);
        client.leave(Duration::from_secs(3)).await;
    }
}

/// Waits for a permit, if there is one to wait for.
async fn acquired(acquiring: &mut Option<Acquire>) -> Result<OwnedSemaphorePermit, AcquireError> {
    match acquiring {
        Some(acquire) => acquire.await,
        None => pending().await,
    }
}
