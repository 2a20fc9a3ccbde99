//! A member of a group: the task between its queues and its subscription.

use std::{
    collections::{HashMap, HashSet},
    future::Future,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use futures_util::{FutureExt, StreamExt, stream::FuturesUnordered, stream::SelectAll};
use lapin::types::AMQPValue;
use pubsub_core::{
    AckHandle, AckWindow, Clock, Delivery, Error, ErrorKind, Result, Settled, StartPosition, Timestamp,
    driver::{Drain, GapReason, Outcome, RetryPolicy, Settler, SubscriptionState, stale},
};
use tokio::time::{Instant, MissedTickBehavior, interval, sleep};
use tokio_util::sync::CancellationToken;

use super::{
    connection::Link,
    error::closed,
    group::{Founder, Scope, consumers, exists},
    lease::{Arrival, Arrivals, Lane},
    publisher::Sender,
    settler::{GroupSettler, Out},
    stream::position,
    topology::Topologist,
    wire::{ATTEMPT, FIRST_SEEN, Raw},
};
use crate::common::{backoff::Backoff, desk::Desk, feed::Feed, unreadable::mark};

/// How long a member that leaves keeps an ordered queue for events in users' hands.
const LEAVE_WITHIN: Duration = Duration::from_secs(5);
/// How often the members of an ordered group look whether they share its queues fairly.
const BALANCE_EVERY: Duration = Duration::from_secs(2);
/// How long an event is held before a copy of it for a later delivery is tried again.
const COPY_AGAIN: Duration = Duration::from_millis(500);
/// A group that was deleted starts again with what was sent this long before it was noticed.
const LOOK_BACK: Duration = Duration::from_secs(10);

/// One queue of a subscription.
#[derive(Clone, Debug)]
struct Queue {
    scope: usize,
    name: String,
    backlog: String,
}

/// What does not change during a subscription.
pub(super) struct Plan {
    pub(super) link: Arc<Link>,
    pub(super) topology: Arc<Topologist>,
    pub(super) sender: Arc<Sender>,
    pub(super) scopes: Vec<Scope>,
    queues: Vec<Queue>,
    max_in_flight: usize,
    ordered: bool,
    /// How long to wait for a connection when the subscription is opened.
    patience: Duration,
}

impl Plan {
    pub(super) fn new(
        (link, topology, sender): (Arc<Link>, Arc<Topologist>, Arc<Sender>),
        scopes: Vec<Scope>,
        max_in_flight: usize,
        patience: Duration,
    ) -> Arc<Self> {
        let mut queues = Vec::new();
        for (index, scope) in scopes.iter().enumerate() {
            for shard in 0..scope.len() {
                let (name, backlog) = (scope.queue(&topology.names, shard), scope.backlog(&topology.names, shard));
                queues.push(Queue { scope: index, name, backlog });
            }
        }
        let ordered = scopes.iter().any(|scope| scope.ordered);
        Arc::new(Self { link, topology, sender, scopes, queues, max_in_flight, ordered, patience })
    }

    fn founder(&self) -> Founder<'_> {
        Founder { topology: &self.topology, sender: &self.sender }
    }

    /// How many events the broker may send ahead from each queue; all of them together fill the window.
    fn prefetch(&self) -> u16 {
        let share = self.max_in_flight.div_ceil(self.queues.len().max(1)).max(1);
        u16::try_from(share).unwrap_or(u16::MAX)
    }

    /// Opens lanes for these queues: one for each ordered queue, so that it can be handed on by itself.
    async fn open(&self, indices: &[usize]) -> Result<(Vec<Lane>, Vec<Arrivals>)> {
        static LANES: AtomicU64 = AtomicU64::new(1);
        let live = self.link.live("receive", self.patience).await?;
        let parts: Vec<Vec<usize>> =
            if self.ordered { indices.iter().map(|index| vec![*index]).collect() } else { vec![indices.to_vec()] };
        let (mut lanes, mut arrivals) = (Vec::new(), Vec::new());
        for part in parts {
            let number = LANES.fetch_add(1, Ordering::Relaxed);
            let mut lane = Lane::open(live.clone(), number, self.prefetch(), part.clone()).await?;
            for index in part {
                let Some(queue) = self.queues.get(index) else { continue };
                let backlog = exists(&self.topology, &queue.backlog).await?;
                let name = if backlog { &queue.backlog } else { &queue.name };
                arrivals.push(lane.consume(name, index, backlog).await?);
            }
            lanes.push(lane);
        }
        Ok((lanes, arrivals))
    }

    /// Makes again what was deleted.
    async fn mend(&self, start: &StartPosition) -> Result<()> {
        for scope in &self.scopes {
            self.founder().mend(scope, start).await?;
        }
        Ok(())
    }

    fn all(&self) -> Vec<usize> {
        (0..self.queues.len()).collect()
    }
}

type Copy = Pin<Box<dyn Future<Output = (u64, Out, Duration, Result<()>)> + Send>>;

/// The task of a member.
pub(super) struct Member {
    plan: Arc<Plan>,
    desk: Arc<Desk<Out>>,
    settler: Arc<dyn Settler>,
    feed: Feed,
    drain: Drain,
    closing: CancellationToken,
    lanes: HashMap<u64, Lane>,
    arrivals: SelectAll<Arrivals>,
    copies: FuturesUnordered<Copy>,
    /// Settlements are numbered, so that a flush is told in their order.
    taken: u64,
    told: AckWindow,
    failed: Option<Error>,
    clock: Clock,
    /// Whether the consumers are cancelled.
    silent: bool,
    /// Ordered queues that came to this member, by its deliveries.
    active: HashSet<usize>,
    /// A queue that is being handed on: nothing more is taken from it.
    passing: Option<usize>,
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
            feed,
            drain,
            closing,
            lanes: HashMap::new(),
            arrivals: SelectAll::new(),
            copies: FuturesUnordered::new(),
            taken: 0,
            told: AckWindow::new(usize::MAX),
            failed: None,
            clock: Clock::system(),
            silent: false,
            active: HashSet::new(),
            passing: None,
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
            if self.lanes.values().any(|lane| !lane.is_up()) && !self.heal().await {
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
                batch = desk.next_batch() => self.settle(batch).await,
                Some((number, out, delay, outcome)) = self.copies.next() => self.copied(number, out, delay, outcome).await,
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
                Some(delivery) => deliveries.extend(self.hand_out(lane, queue, backlog, delivery)),
                None => ended = Some((lane, queue, backlog)),
            }
            if ended.is_none() && deliveries.len() < 64 && self.desk.len() < self.plan.max_in_flight {
                next = self.arrivals.next().now_or_never().flatten();
            }
        }
        self.feed.deliver_all(deliveries);
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
        let raw = Raw::of(delivery);
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
        let (attempt, first_seen) = (raw.attempt(), raw.first_seen());
        let place = raw.offset().and_then(position);
        let id = message.id().clone();
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

    /// Tells the broker of settlements.
    async fn settle(&mut self, batch: Vec<(Out, Outcome)>) {
        let mut numbers = Vec::with_capacity(batch.len());
        let mut back: HashMap<u64, Vec<u64>> = HashMap::new();
        for (out, outcome) in batch {
            self.taken += 1;
            let number = self.taken;
            // The window has no bound; numbers ascend.
            let _ = self.told.push(number, self.clock.mark());
            let Some(lane) = self.lanes.get_mut(&out.lane) else {
                self.failed = Some(stale("settle"));
                numbers.push(number);
                continue;
            };
            match outcome {
                Outcome::Nack(delay) => {
                    self.copy(number, out, delay, Duration::ZERO);
                    continue;
                }
                Outcome::Release => back.entry(out.lane).or_default().push(out.tag),
                _ => lane.settled(out.tag),
            }
            numbers.push(number);
        }
        for (number, tags) in back {
            // An ordered queue goes back as a whole when its channel is closed.
            if self.plan.ordered && (self.feed.gone().is_cancelled() || self.drain.is_draining()) {
                continue;
            }
            if let Some(lane) = self.lanes.get_mut(&number)
                && let Err(error) = lane.give_back(tags).await
            {
                self.failed = Some(error);
            }
        }
        self.tell().await;
        self.tell_desk(numbers);
        self.end_backlogs().await;
    }

    async fn tell(&mut self) {
        for lane in self.lanes.values_mut() {
            if let Err(error) = lane.tell().await {
                self.failed = Some(error);
            }
        }
    }

    fn tell_desk(&mut self, numbers: Vec<u64>) {
        let before = self.told.prefix().unwrap_or(0);
        for number in numbers {
            let _: Settled = self.told.done(number);
        }
        let now = self.told.prefix().unwrap_or(0);
        if now > before {
            let outcome = self.failed.take().map_or(Ok(()), Err);
            self.desk.told(usize::try_from(now - before).unwrap_or(usize::MAX), outcome);
        }
    }

    /// Publishes a copy of a failed event, which only this group's queue gets; the original is settled when the broker
    /// has the copy.
    fn copy(&mut self, number: u64, out: Out, delay: Duration, first: Duration) {
        let plan = self.plan.clone();
        self.copies.push(Box::pin(async move {
            sleep(first).await;
            let Some(queue) = plan.queues.get(out.queue) else { return (number, out, delay, Err(closed("nack"))) };
            let attempt = i64::from(out.attempt.saturating_add(1));
            let copy = out
                .raw
                .copy()
                .with(ATTEMPT, AMQPValue::LongLongInt(attempt))
                .with(FIRST_SEEN, AMQPValue::LongLongInt(out.first_seen.as_millis()));
            let scope = plan.scopes.get(queue.scope).and_then(|scope| scope.channel.clone());
            let channel = scope.or_else(|| out.raw.channel());
            let outcome = match channel {
                Some(channel) => plan.sender.copy(copy, &queue.name, delay, &channel).await,
                None => Err(closed("nack")),
            };
            (number, out, delay, outcome)
        }));
    }

    async fn copied(&mut self, number: u64, out: Out, delay: Duration, outcome: Result<()>) {
        match outcome {
            Ok(()) => {
                match self.lanes.get_mut(&out.lane) {
                    Some(lane) => lane.settled(out.tag),
                    None => self.failed = Some(stale("settle")),
                }
                self.tell().await;
            }
            // Its lane is gone, and the original with it: it comes again by itself.
            Err(_) if !self.lanes.contains_key(&out.lane) => self.failed = Some(stale("settle")),
            Err(error) if error.kind() == ErrorKind::Closed => self.failed = Some(error),
            Err(_) => return self.copy(number, out, delay, COPY_AGAIN),
        }
        self.tell_desk(vec![number]);
        self.end_backlogs().await;
    }

    /// Goes on from backlogs that are read to the end.
    async fn end_backlogs(&mut self) {
        let ready: Vec<_> = self
            .lanes
            .values()
            .filter(|lane| lane.only_end_is_open())
            .filter_map(|lane| lane.end.map(|(queue, _)| (lane.number, queue)))
            .collect();
        for (number, index) in ready {
            let (Some(lane), Some(queue)) = (self.lanes.get_mut(&number), self.plan.queues.get(index)) else { continue };
            // Whoever reads it is told by the end of its consumer, and goes on with the queue.
            let _ = lane.delete(&queue.backlog).await;
        }
    }

    /// A consumer has ended: its backlog is read, or its queue was deleted, or its channel is gone.
    async fn ended(&mut self, number: u64, index: usize, backlog: bool) {
        let up = self.lanes.get(&number).is_some_and(Lane::is_up);
        let Some(queue) = self.plan.queues.get(index).cloned() else { return };
        if !up {
            return; // the loop sees to it
        }
        if backlog && matches!(exists(&self.plan.topology, &queue.backlog).await, Ok(false)) {
            if let Some(lane) = self.lanes.get_mut(&number) {
                match lane.consume(&queue.name, index, false).await {
                    Ok(arrivals) => self.arrivals.push(arrivals),
                    Err(_) => self.drop_lane(number).await,
                }
            }
            return;
        }
        self.drop_lane(number).await;
    }

    async fn drop_lane(&mut self, number: u64) {
        if let Some(lane) = self.lanes.get(&number) {
            let _ = lane.channel.close(200, super::names::short("lost")).await;
        }
    }

    /// Opens again what was lost. False once the adapter is closed or the subscription gone.
    async fn heal(&mut self) -> bool {
        let lost: Vec<_> = self.lanes.values().filter(|lane| !lane.is_up()).map(|lane| lane.number).collect();
        let mut indices = Vec::new();
        for number in &lost {
            if let Some(lane) = self.lanes.remove(number) {
                indices.extend(lane.queues);
            }
        }
        drop(self.desk.take_if(|out| lost.contains(&out.lane)));
        self.active.retain(|index| !indices.contains(index));
        self.passing = None;
        let noticed = Timestamp::now().saturating_sub(LOOK_BACK);
        self.feed.state(SubscriptionState::Recovering("the connection to the broker was lost".to_owned()));
        let mut backoff = Backoff::default();
        loop {
            let (plan, desk, gone) = (self.plan.clone(), self.desk.clone(), self.feed.gone().clone());
            let opened = tokio::select! {
                () = self.closing.cancelled() => return false,
                () = gone.cancelled() => return false,
                batch = desk.next_batch() => {
                    self.settle(batch).await;
                    continue;
                }
                opened = plan.open(&indices) => opened,
            };
            match opened {
                Ok(opened) => {
                    self.silent = false;
                    self.add(opened);
                    self.feed.state(SubscriptionState::Active);
                    return true;
                }
                Err(error) if error.kind() == ErrorKind::NotFound => {
                    let plan_again = self.plan.clone();
                    let text = "a queue of the group was deleted, and is made again".to_owned();
                    self.feed.state(SubscriptionState::Recovering(text));
                    if plan_again.mend(&StartPosition::Time(noticed)).await.is_ok() {
                        let channels: Vec<_> =
                            self.plan.scopes.iter().filter_map(|scope| scope.channel.clone()).collect();
                        self.feed.gaps(&channels, GapReason::DataLoss);
                        continue;
                    }
                }
                Err(error) => self.feed.state(SubscriptionState::Recovering(error.to_string())),
            }
            tokio::select! {
                () = self.closing.cancelled() => return false,
                () = gone.cancelled() => return false,
                () = sleep(backoff.next()) => {}
            }
        }
    }

    /// Takes no more, and gives back what nobody has seen.
    async fn hush(&mut self) {
        self.silent = true;
        for delivery in self.feed.take_deliveries() {
            if delivery.is_live() { delivery.settle_as(Outcome::Release) } else { delivery.forget() }
        }
        if self.plan.ordered {
            return self.let_go().await;
        }
        for lane in self.lanes.values_mut() {
            let _ = lane.cancel().await;
        }
        let mut back: HashMap<u64, Vec<u64>> = HashMap::new();
        // Every consumer has ended, so that this does: all that it had comes first.
        while let Some(Some(arrival)) = self.arrivals.next().now_or_never() {
            if let (Some(lane), Some(delivery)) = (self.lanes.get_mut(&arrival.lane), arrival.delivery) {
                lane.took(delivery.delivery_tag);
                back.entry(arrival.lane).or_default().push(delivery.delivery_tag);
            }
        }
        let batch = self.desk.take_batch();
        if !batch.is_empty() {
            self.settle(batch).await;
        }
        for (number, tags) in back {
            if let Some(lane) = self.lanes.get_mut(&number) {
                let _ = lane.give_back(tags).await;
            }
        }
    }

    /// Gives ordered queues to other members: what is in hand comes again, in its order.
    async fn let_go(&mut self) {
        let batch = self.desk.take_batch();
        if !batch.is_empty() {
            self.settle(batch).await;
        }
        drop(self.desk.take_if(|_| true));
        self.active.clear();
        for (_, lane) in self.lanes.drain() {
            lane.close().await;
        }
    }

    /// Takes again.
    async fn speak(&mut self) {
        if self.lanes.is_empty() {
            let plan = self.plan.clone();
            match plan.open(&plan.all()).await {
                Ok(opened) => self.add(opened),
                Err(_) => return sleep(COPY_AGAIN).await, // the loop comes back here
            }
            self.silent = false;
            return;
        }
        let numbers: Vec<_> = self.lanes.keys().copied().collect();
        for number in numbers {
            let Some(lane) = self.lanes.get_mut(&number) else { continue };
            for index in lane.queues.clone() {
                let Some(queue) = self.plan.queues.get(index) else { continue };
                let backlog = matches!(exists(&self.plan.topology, &queue.backlog).await, Ok(true));
                let name = if backlog { &queue.backlog } else { &queue.name };
                match lane.consume(name, index, backlog).await {
                    Ok(arrivals) => self.arrivals.push(arrivals),
                    Err(_) => {
                        let _ = lane.channel.close(200, super::names::short("lost")).await;
                        break;
                    }
                }
            }
        }
        self.silent = false;
    }

    /// Hands on an ordered queue when other members have fewer. The broker makes the next member in line the active one
    /// when the channel is closed, after it has taken back what was unsettled.
    async fn balance(&mut self) {
        if let Some(index) = self.passing {
            return self.pass_on(index).await;
        }
        let all = self.plan.queues.len();
        let Some(first) = self.plan.queues.first() else { return };
        let Ok(Some(members)) = consumers(&self.plan.topology, &first.name).await else { return };
        let share = all.div_ceil(usize::try_from(members).unwrap_or(1).max(1));
        if members > 1 && self.active.len() > share {
            let surplus = self.active.iter().copied().max();
            if let Some(index) = surplus {
                self.passing = Some(index);
                self.pass_on(index).await;
            }
        }
    }

    /// Closes the lane of a queue once nothing of it is in hand, and stands at the end of the line again.
    async fn pass_on(&mut self, index: usize) {
        let lane = self.lanes.values().find(|lane| lane.queues == [index]);
        let Some(number) = lane.filter(|lane| lane.is_idle()).map(|lane| lane.number) else { return };
        self.passing = None;
        self.active.remove(&index);
        let Some(lane) = self.lanes.remove(&number) else { return };
        drop(self.desk.take_if(|out| out.lane == number));
        lane.close().await;
        match self.plan.open(&[index]).await {
            Ok(opened) => self.add(opened),
            Err(_) => {
                // The loop opens it with all others.
                for lane in self.lanes.values() {
                    let _ = lane.channel.close(200, super::names::short("lost")).await;
                }
            }
        }
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
            if let Ok(Some((number, out, delay, outcome))) =
                tokio::time::timeout_at(limit, async { copies.next().await }).await
            {
                self.copied(number, out, delay, outcome).await;
            }
        }
        drop(self.desk.take_if(|_| true));
        for (_, lane) in self.lanes.drain() {
            lane.close().await;
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
