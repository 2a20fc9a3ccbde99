//! A member of a group: the task between its queues and its subscription.

mod heal;
mod pace;
mod plan;
mod returns;
mod settle;

use std::{
    collections::{HashMap, HashSet},
    future::Future,
    pin::Pin,
    sync::Arc,
    time::Duration,
};

use futures_util::{
    FutureExt, StreamExt,
    stream::{FuturesUnordered, SelectAll},
};
use pubsub_core::{
    AckHandle, AckWindow, Clock, Delivery, Error, ErrorKind, Result, StartPosition, Timestamp,
    driver::{Drain, RetryPolicy, Settler},
};
use tokio::time::{Instant, MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

pub(super) use self::plan::Plan;
use self::{pace::Passing, returns::Returns};
use super::{
    error::closed,
    lease::{Arrival, Arrivals, Lane},
    settler::{GroupSettler, Out},
    stream::position,
    wire::Raw,
};
use crate::common::{attempts, desk::Desk, feed::Feed, unreadable::mark};

/// How long a member that leaves keeps an ordered queue for events in users' hands.
const LEAVE_WITHIN: Duration = Duration::from_secs(5);
/// How often the members of an ordered group look whether they share its queues fairly.
const BALANCE_EVERY: Duration = Duration::from_secs(2);
/// How long an event is held before a copy of it for a later delivery is tried again.
const COPY_AGAIN: Duration = Duration::from_millis(500);
/// How many batches of settlements may be on their way to the broker.
const WORDS: usize = 16;
/// A group that was deleted starts again with what was sent this long before it was noticed.
const LOOK_BACK: Duration = Duration::from_secs(10);

/// What became of the copy of a failed event.
type Copied = (u64, Out, Duration, Result<()>);
type Copy = Pin<Box<dyn Future<Output = Copied> + Send>>;
/// Settlements of which the broker is being told.
type Words = Pin<Box<dyn Future<Output = (Vec<u64>, Result<()>)> + Send>>;

/// The task of a member.
pub(super) struct Member {
    plan: Arc<Plan>,
    retry: RetryPolicy,
    returns: Returns,
    desk: Arc<Desk<Out>>,
    settler: Arc<dyn Settler>,
    feed: Feed,
    drain: Drain,
    closing: CancellationToken,
    lanes: HashMap<u64, Lane>,
    arrivals: SelectAll<Arrivals>,
    copies: FuturesUnordered<Copy>,
    words: FuturesUnordered<Words>,
    /// Settlements are numbered, so that a flush is told in their order.
    taken: u64,
    told: AckWindow,
    failed: Option<Error>,
    clock: Clock,
    /// Whether the consumers are cancelled.
    silent: bool,
    /// Ordered queues that came to this member, by its deliveries.
    active: HashSet<usize>,
    /// A queue that is being handed on.
    passing: Option<Passing>,
    /// No queue is handed on before.
    spared: Option<Instant>,
    /// Queues that are read nowhere here, as they could not be opened again.
    unread: Vec<usize>,
}

impl Member {
    /// Opens the queues, so that everything published from now on is for this member or another one.
    pub(super) async fn open(
        plan: Arc<Plan>,
        start: &StartPosition,
        (feed, drain, retry): (Feed, Drain, RetryPolicy),
        closing: CancellationToken,
    ) -> Result<Self> {
        for scope in &plan.scopes {
            plan.founder().join(scope, start).await?;
        }
        let desk = Arc::new(Desk::new(retry, drain.clone()));
        let mut member = Self {
            settler: Arc::new(GroupSettler(desk.clone())),
            desk,
            retry,
            returns: Returns::default(),
            feed,
            drain,
            closing,
            lanes: HashMap::new(),
            arrivals: SelectAll::new(),
            copies: FuturesUnordered::new(),
            words: FuturesUnordered::new(),
            taken: 0,
            told: AckWindow::new(usize::MAX),
            failed: None,
            clock: Clock::system(),
            silent: false,
            active: HashSet::new(),
            passing: None,
            spared: None,
            unread: Vec::new(),
            plan,
        };
        let plan = member.plan.clone();
        let opened = match plan.open(&plan.all()).await {
            Err(error) if error.kind() == ErrorKind::NotFound => {
                plan.mend(start).await?;
                plan.open(&plan.all()).await?
            }
            opened => opened?,
        };
        member.add(opened);
        Ok(member)
    }

    fn add(&mut self, (lanes, arrivals): (Vec<Lane>, Vec<Arrivals>)) {
        self.lanes.extend(lanes.into_iter().map(|lane| (lane.number, lane)));
        self.arrivals.extend(arrivals);
    }

    /// Works until the subscription is gone and nothing of it is in users' hands, or the adapter is closed.
    pub(super) async fn run(mut self) {
        let mut leaving: Option<Instant> = None;
        let mut ticks = interval(BALANCE_EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        ticks.reset();
        loop {
            let lost = !self.unread.is_empty() || self.lanes.values().any(|lane| !lane.is_up());
            if lost && !self.heal().await {
                break;
            }
            if let Some(since) = leaving
                && (self.desk.len() == 0 || (self.plan.ordered && since.elapsed() > LEAVE_WITHIN))
                && self.copies.is_empty()
            {
                break;
            }
            let (gone, paused) = (self.feed.gone().clone(), self.feed.is_paused());
            let quiet = leaving.is_some() || self.drain.is_draining() || paused;
            // An ordered queue is handed on by closing its channel, and only then.
            let keeps = self.plan.ordered && (leaving.is_some() || self.drain.is_draining());
            if quiet && !self.silent && !keeps {
                self.hush().await;
            } else if !quiet && self.silent {
                self.speak().await;
            }
            let room = self.desk.len() < self.plan.max_in_flight;
            let (desk, feed, drain) = (self.desk.clone(), self.feed.clone(), self.drain.clone());
            tokio::select! {
                biased;
                () = self.closing.cancelled() => break,
                Some(word) = self.words.next() => self.was_told(word),
                batch = desk.next_batch(), if self.words.len() < WORDS => {
                    self.settle(batch).await;
                    self.pass_on().await;
                }
                Some(copied) = self.copies.next() => {
                    self.copied(copied).await;
                    self.pass_on().await;
                }
                () = gone.cancelled(), if leaving.is_none() => leaving = Some(Instant::now()),
                () = drain.started(), if !quiet => {}
                () = feed.paused(), if !quiet => {}
                () = feed.resumed(), if paused => {}
                Some(arrival) = self.arrivals.next(), if room && !self.silent => self.arrived(arrival).await,
                () = down(&self.lanes) => {}
                _ = ticks.tick() => {
                    if self.plan.ordered && !quiet {
                        self.balance().await;
                    }
                }
            }
        }
        self.finish().await;
    }

    /// Takes what has come, as far as there is room.
    async fn arrived(&mut self, first: Arrival) {
        let mut deliveries = Vec::new();
        let mut ended = None;
        let mut next = Some(first);
        while let Some(arrival) = next.take() {
            let (lane, queue, backlog) = (arrival.lane, arrival.queue, arrival.backlog);
            match arrival.delivery {
                Some(delivery)
                    if let Some(passing) = self.passing.as_mut().filter(|passing| passing.index == queue) =>
                {
                    passing.held.push(Arrival { delivery: Some(delivery), ..arrival });
                }
                Some(delivery) => deliveries.extend(self.hand_out(lane, queue, backlog, delivery)),
                None => ended = Some((lane, queue, backlog)),
            }
            if ended.is_none() && deliveries.len() < 64 && self.desk.len() < self.plan.max_in_flight {
                next = self.arrivals.next().now_or_never().flatten();
            }
        }
        let none = deliveries.is_empty();
        self.feed.deliver_all(deliveries);
        if none {
            // What nobody is to see is settled without anybody.
            self.tell(Vec::new());
        }
        if let Some((lane, queue, backlog)) = ended {
            self.ended(lane, queue, backlog).await;
        }
        self.end_backlogs().await;
    }

    fn hand_out(
        &mut self,
        number: u64,
        queue: usize,
        backlog: bool,
        delivery: lapin::message::Delivery,
    ) -> Option<Delivery> {
        let lane = self.lanes.get_mut(&number)?;
        let tag = delivery.delivery_tag;
        let raw = Box::new(Raw::of(delivery));
        lane.took(tag);
        self.active.insert(queue);
        if let Some(mark) = raw.mark() {
            match (backlog, mark) {
                (true, b"end") => lane.end = Some((queue, tag)),
                // One that marked a place for whoever made the group, and is of no more use.
                _ => lane.settled(tag),
            }
            return None;
        }
        let scope = self.plan.scopes.get(self.plan.queues.get(queue)?.scope)?;
        let channel = scope.channel.clone().or_else(|| raw.channel().filter(|channel| scope.takes(channel)));
        let channel = channel.filter(|_| !raw.is_expired());
        let Some(channel) = channel else {
            lane.settled(tag);
            return None;
        };
        let (message, fault) = self.plan.sender.wire.decode(&raw, &channel);
        let place = raw.offset().and_then(|offset| position(offset, raw.born()));
        let id = message.id().clone();
        let unexplained = self.returns.unexplained(queue, &id, raw.returns());
        let (attempt, first_seen) = (attempts::attempt(&self.retry, raw.failures(), unexplained), raw.first_seen());
        let seen = first_seen.unwrap_or_else(Timestamp::now);
        let token = self.desk.hand_out(Out { lane: number, tag, queue, id, attempt, first_seen: seen, raw });
        let mut delivery = Delivery::new(message, AckHandle::new(self.settler.clone(), token)).attempt(attempt);
        if let Some(first_seen) = first_seen {
            delivery = delivery.first_seen(first_seen);
        }
        if let Some(place) = place {
            delivery = delivery.at(place);
        }
        Some(mark(delivery, fault))
    }

    /// Settles what is settled, and closes.
    async fn finish(&mut self) {
        let limit = Instant::now() + Duration::from_secs(2);
        loop {
            let batch = self.desk.take_batch();
            if !batch.is_empty() {
                self.settle(batch).await;
            }
            if self.copies.is_empty() || Instant::now() >= limit {
                break;
            }
            let copies = &mut self.copies;
            if let Ok(Some(copied)) = tokio::time::timeout_at(limit, async { copies.next().await }).await {
                self.copied(copied).await;
            }
        }
        // From here on nobody can settle: what was settled by now is told or refused, and nothing comes behind it.
        drop(self.desk.take_if(|_| true));
        let last = self.desk.take_batch();
        if !last.is_empty() {
            self.settle(last).await;
        }
        let _ = tokio::time::timeout_at(limit, self.all_told()).await;
        for (_, lane) in self.lanes.drain() {
            lane.close(self.plan.ordered).await;
        }
        self.feed.end();
        let left = self.taken - self.told.prefix().unwrap_or(0);
        if left > 0 {
            self.desk.told(usize::try_from(left).unwrap_or(usize::MAX), Err(closed("settle")));
        }
    }
}

/// Waits until a lane is lost.
async fn down(lanes: &HashMap<u64, Lane>) {
    match lanes.values().next() {
        Some(lane) => lane.live.dead.cancelled().await,
        None => std::future::pending().await,
    }
}
