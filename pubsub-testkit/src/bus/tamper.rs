//! The adapter of a bus under test: a real one, with a record of what is published and settled, and faults on demand.

use std::{
    any::Any,
    collections::{HashMap, VecDeque},
    mem,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, Weak,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll, ready},
    time::Duration,
};

use pubsub_core::{
    AckHandle, ChannelName, ChannelPattern, Clock, Delivery, Error, ErrorKind, GroupName, Message, Result,
    StartPosition, Timestamp,
    driver::{
        AckToken, Adapter, Batch, BoxFuture, Capabilities, Chunk, Health, History, HistoryRange, Inbox, Item,
        MaybeReady, Outcome, PublishOptions, Publisher, Receipt, Receipts, Settler, Source, States, SubscribeOptions,
        Subscriber, Subscription, Tickets, Topology, TopologyReport, async_trait,
    },
};
use tokio::task::JoinSet;

/// What is to happen to an event that is published.
#[derive(Clone, Copy, Debug)]
pub(super) enum Mishap {
    Lost,
    Doubled,
    Overtaken,
    Late(Duration),
    Refused,
}

/// What the test has asked for, and what has happened.
#[derive(Debug, Default)]
pub(super) struct Desk {
    published: Mutex<Vec<Arc<Message>>>,
    mishaps: Mutex<VecDeque<Mishap>>,
    overtaken: Mutex<Option<(Arc<Message>, PublishOptions)>>,
    /// The groups that have subscribed, and where.
    groups: Mutex<Vec<(ChannelPattern, GroupName)>>,
    /// What groups have not settled.
    owed: Mutex<Vec<Owed>>,
    /// What is published for later, and when.
    later: Mutex<Vec<(Timestamp, Arc<Message>)>>,
    crashes: AtomicUsize,
}

/// An event that a group has to settle.
#[derive(Debug)]
struct Owed {
    message: Arc<Message>,
    group: GroupName,
    /// Nobody has to deliver it after that.
    until: Option<Timestamp>,
}

impl Desk {
    pub(super) fn plan(&self, mishap: Mishap) {
        lock(&self.mishaps).push_back(mishap);
    }

    /// Of the next acknowledgements, one more never arrives.
    pub(super) fn crash(&self) {
        self.crashes.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn published(&self) -> Vec<Arc<Message>> {
        lock(&self.published).clone()
    }

    /// What some group has not settled yet, of all that has to be there by now.
    pub(super) fn unsettled(&self, now: Timestamp) -> Vec<Arc<Message>> {
        let later = lock(&self.later);
        let due = later.iter().filter(|(due, _)| *due <= now).map(|(_, message)| message);
        let mut owed = lock(&self.owed);
        owed.retain(|owed| owed.until.is_none_or(|until| now < until));
        let overtaken = lock(&self.overtaken);
        let waiting = overtaken.iter().map(|(message, _)| message);
        owed.iter().map(|owed| &owed.message).chain(waiting).chain(due).cloned().collect()
    }

    /// Each group that reads the channel has to settle the message from now on.
    fn owe(&self, message: &Arc<Message>, until: Option<Timestamp>) {
        let groups = lock(&self.groups);
        let readers = groups.iter().filter(|(pattern, _)| pattern.matches(message.channel()));
        lock(&self.owed).extend(readers.map(|(_, group)| Owed {
            message: message.clone(),
            group: group.clone(),
            until,
        }));
    }

    /// The broker has not taken the message, or had it already.
    fn waive(&self, message: &Arc<Message>) {
        let groups = lock(&self.groups);
        let mut owed = lock(&self.owed);
        for (_, group) in &*groups {
            let last = owed.iter().rposition(|owed| owed.group == *group && Arc::ptr_eq(&owed.message, message));
            last.map(|last| owed.remove(last));
        }
    }

    /// A group has settled an event; it may owe another delivery of it.
    fn settle(&self, group: &GroupName, settled: &Message) {
        let mut owed = lock(&self.owed);
        let same = |message: &Message| message.id() == settled.id() && message.channel() == settled.channel();
        let first = owed.iter().position(|owed| owed.group == *group && same(&owed.message));
        first.map(|first| owed.remove(first));
    }

    fn takes_crash(&self) -> bool {
        self.crashes.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1)).is_ok()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // No code panics while it holds one of these locks.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// An adapter behind a desk.
#[derive(Debug)]
pub(super) struct Tampered {
    way: Way,
    /// Events that are published for later: the desk has to know when they are due.
    later: Mutex<JoinSet<()>>,
}

/// The way to the broker.
#[derive(Clone, Debug)]
struct Way {
    inner: Arc<dyn Adapter>,
    desk: Arc<Desk>,
    clock: Clock,
}

impl Tampered {
    pub(super) fn new(inner: Arc<dyn Adapter>, desk: Arc<Desk>, clock: Clock) -> Self {
        Self { way: Way { inner, desk, clock }, later: Mutex::default() }
    }

    /// Sends an event when its time has come. What becomes of it then is its publisher's concern no more.
    fn send_later(&self, due: Timestamp, message: Arc<Message>, mut options: PublishOptions) {
        options.deliver_at = None;
        lock(&self.way.desk.later).push((due, message.clone()));
        let way = self.way.clone();
        lock(&self.later).spawn(async move {
            way.clock.sleep_until(due).await;
            let _ = way.send(&message, options).await;
            lock(&way.desk.later).retain(|(at, later)| *at != due || !Arc::ptr_eq(later, &message));
        });
    }
}

impl Way {
    /// Sends a message, and remembers who has to settle it. Resolves when the broker has it.
    async fn send(&self, message: &Arc<Message>, options: PublishOptions) -> Result<Receipts> {
        let until = options.ttl.map(|ttl| self.clock.now().saturating_add(ttl));
        self.desk.owe(message, until);
        let sent = async { self.inner.enqueue(Batch::from_iter([message.clone()]), &options).await?.await };
        let receipts = sent.await;
        let taken = |receipt: &Result<Receipt>| receipt.as_ref().is_ok_and(|receipt| !receipt.duplicate);
        if !receipts.as_ref().is_ok_and(|receipts| receipts.iter().all(taken)) {
            self.desk.waive(message);
        }
        receipts
    }
}

impl Tampered {
    async fn publish(&self, batch: Batch, options: PublishOptions) -> Result<Receipts> {
        let users = batch.first().is_none_or(|message| !message.channel().is_internal());
        if !users {
            return self.way.inner.enqueue(batch, &options).await?.await;
        }
        let (way, desk) = (&self.way, &self.way.desk);
        let mut receipts = Receipts::new();
        for message in batch {
            let mishap = lock(&desk.mishaps).pop_front();
            match mishap {
                Some(Mishap::Refused) => {
                    receipts.push(Err(Error::new(ErrorKind::Unavailable, "publish", "refused by the test")));
                    continue;
                }
                Some(Mishap::Lost) => receipts.push(Ok(Receipt::default())),
                Some(Mishap::Overtaken) => {
                    *lock(&desk.overtaken) = Some((message.clone(), options));
                    receipts.push(Ok(Receipt::default()));
                    lock(&desk.published).push(message);
                    continue;
                }
                Some(Mishap::Doubled) => {
                    receipts.extend(way.send(&message, options).await?);
                    way.send(&message, options).await?;
                }
                Some(Mishap::Late(delay)) => {
                    let due = options.deliver_at.unwrap_or_else(|| way.clock.now());
                    self.send_later(due.saturating_add(delay), message.clone(), options);
                    receipts.push(Ok(Receipt::default()));
                }
                None => match options.deliver_at {
                    Some(due) => {
                        self.send_later(due, message.clone(), options);
                        receipts.push(Ok(Receipt::default()));
                    }
                    None => receipts.extend(way.send(&message, options).await?),
                },
            }
            lock(&desk.published).push(message);
            let overtaken = lock(&desk.overtaken).take();
            if let Some((earlier, options)) = overtaken {
                way.send(&earlier, options).await?;
            }
        }
        Ok(receipts)
    }
}

impl Publisher for Tampered {
    fn enqueue<'a>(&'a self, batch: Batch, options: &PublishOptions) -> MaybeReady<'a, Result<Tickets>> {
        let options = *options;
        MaybeReady::boxed(async move { Ok(MaybeReady::ready(self.publish(batch, options).await)) })
    }

    fn flush(&self) -> BoxFuture<'_, Result<()>> {
        self.way.inner.flush()
    }
}

#[async_trait]
impl Subscriber for Tampered {
    async fn subscribe(&self, options: SubscribeOptions) -> Result<Subscription> {
        let (channels, group) = (options.channels.clone(), options.group.clone());
        let subscription = self.way.inner.subscribe(options).await?;
        let desk = self.way.desk.clone();
        if let Some(group) = &group {
            let mut groups = lock(&desk.groups);
            for place in channels.into_iter().map(|channel| (channel, group.clone())) {
                if !groups.contains(&place) {
                    groups.push(place);
                }
            }
        }
        let watched = |inner| Watched { inner, desk, group, taken: Chunk::default(), settler: Weak::new() };
        Ok(subscription.map_source(watched))
    }
}

#[async_trait]
impl Adapter for Tampered {
    fn capabilities(&self) -> Capabilities {
        self.way.inner.capabilities()
    }

    async fn ensure(&self, topology: &Topology) -> Result<TopologyReport> {
        self.way.inner.ensure(topology).await
    }

    async fn delete_group(&self, channel: &ChannelName, group: &GroupName) -> Result<()> {
        self.way.inner.delete_group(channel, group).await
    }

    async fn lag(&self, channel: &ChannelName, group: &GroupName) -> Result<u64> {
        self.way.inner.lag(channel, group).await
    }

    async fn history(&self, range: &HistoryRange) -> Result<History> {
        self.way.inner.history(range).await
    }

    async fn open_inbox(&self) -> Result<Inbox> {
        self.way.inner.open_inbox().await
    }

    fn states(&self) -> States {
        self.way.inner.states()
    }

    async fn health(&self) -> Health {
        self.way.inner.health().await
    }

    async fn close(&self, deadline: Duration) -> Result<()> {
        lock(&self.later).abort_all();
        self.way.inner.close(deadline).await
    }

    fn native(&self) -> Option<&(dyn Any + Send + Sync)> {
        self.way.inner.native()
    }
}

/// A source whose acknowledgements pass the desk.
struct Watched {
    inner: Box<dyn Source>,
    desk: Arc<Desk>,
    group: Option<GroupName>,
    taken: Chunk,
    settler: Weak<Crashing>,
}

impl Watched {
    fn watch(&mut self, mut delivery: Delivery) -> Delivery {
        let Some(real) = delivery.ack.settler().cloned() else { return delivery };
        let settler = match self.settler.upgrade() {
            Some(settler) if Arc::ptr_eq(&settler.real, &real) => settler,
            _ => {
                let (desk, group) = (self.desk.clone(), self.group.clone());
                Arc::new(Crashing { real, desk, group, held: Mutex::default() })
            }
        };
        self.settler = Arc::downgrade(&settler);
        settler.hold(delivery.ack.token(), &delivery.message);
        let watched = AckHandle::new(settler, delivery.ack.token());
        mem::replace(&mut delivery.ack, watched).forget();
        delivery
    }
}

impl Source for Watched {
    fn poll_chunk(&mut self, cx: &mut Context<'_>, chunk: &mut Chunk) -> Poll<Option<Result<()>>> {
        let polled = ready!(self.inner.poll_chunk(cx, &mut self.taken));
        while let Some(item) = self.taken.pop() {
            chunk.push_item(match item {
                Item::Delivery(delivery) => Item::Delivery(self.watch(delivery)),
                other => other,
            });
        }
        Poll::Ready(polled)
    }

    fn seek(&mut self, to: StartPosition) -> BoxFuture<'_, Result<()>> {
        self.inner.seek(to)
    }

    fn set_paused(&mut self, paused: bool) {
        self.inner.set_paused(paused);
    }
}

/// A settler that loses an acknowledgement when the desk says so, which is what a crash between handler and ack looks like.
struct Crashing {
    real: Arc<dyn Settler>,
    desk: Arc<Desk>,
    group: Option<GroupName>,
    held: Mutex<HashMap<AckToken, Arc<Message>>>,
}

impl Crashing {
    fn hold(&self, token: AckToken, message: &Arc<Message>) {
        if self.group.is_some() {
            lock(&self.held).insert(token, message.clone());
        }
    }

    /// What the broker is to be told, and the message if it is settled for good by that.
    fn said(&self, token: AckToken, outcome: Outcome) -> (Outcome, Option<Arc<Message>>) {
        let message = lock(&self.held).remove(&token);
        match outcome {
            Outcome::Ack if self.desk.takes_crash() => (Outcome::Nack(Duration::ZERO), None),
            Outcome::Ack | Outcome::Reject => (outcome, message),
            _ => (outcome, None),
        }
    }

    fn note(&self, message: Option<Arc<Message>>) {
        if let (Some(group), Some(message)) = (&self.group, message) {
            self.desk.settle(group, &message);
        }
    }
}

impl Settler for Crashing {
    fn settle(&self, token: AckToken, outcome: Outcome) -> bool {
        let (outcome, message) = self.said(token, outcome);
        let settled = self.real.settle(token, outcome);
        self.note(message.filter(|_| settled));
        settled
    }

    fn is_live(&self, token: AckToken) -> bool {
        self.real.is_live(token)
    }

    fn confirm(&self, token: AckToken, outcome: Outcome) -> BoxFuture<'_, Result<()>> {
        let (outcome, message) = self.said(token, outcome);
        let confirmed = self.real.confirm(token, outcome);
        Box::pin(async move {
            confirmed.await?;
            self.note(message);
            Ok(())
        })
    }

    fn extend(&self, token: AckToken, duration: Duration) -> BoxFuture<'_, Result<()>> {
        self.real.extend(token, duration)
    }

    fn flush(&self) -> BoxFuture<'_, Result<()>> {
        self.real.flush()
    }
}
