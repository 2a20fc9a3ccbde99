//! The adapter of a `TestBus`: memory, with a record of what is published, and faults on demand.

use std::{
    any::Any,
    collections::VecDeque,
    mem,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, Weak,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll, Waker, ready},
    time::Duration,
};

use pubsub_adapters::memory::Memory;
use pubsub_core::{
    AckHandle, ChannelName, Clock, Delivery, Error, ErrorKind, GroupName, Message, Result, StartPosition, Timestamp,
    driver::{
        AckToken, Adapter, Batch, BoxFuture, Capabilities, Chunk, Confirm, Health, History, HistoryRange, Inbox, Item,
        MaybeReady, Outcome, PublishOptions, Publisher, Receipt, Receipts, Settler, Source, States, SubscribeOptions,
        Subscriber, Subscription, Tickets, Topology, TopologyReport, async_trait,
    },
};
use tokio::task::JoinSet;

/// Longer than any test.
const AGES: Duration = Duration::from_secs(300 * 24 * 3_600);

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
    overtaken: Mutex<Option<(Batch, PublishOptions)>>,
    /// What is not settled by all groups, each with its event.
    open: Mutex<Vec<(Arc<Message>, Tickets)>>,
    /// What is published for later, and when.
    later: Mutex<Vec<(Timestamp, Arc<Message>)>>,
    crashes: AtomicUsize,
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
        let mut open = lock(&self.open);
        let mut cx = Context::from_waker(Waker::noop());
        open.retain_mut(|(_, ticket)| std::pin::Pin::new(ticket).poll(&mut cx).is_pending());
        let overtaken = lock(&self.overtaken);
        let waiting = overtaken.iter().flat_map(|(batch, _)| batch.iter());
        open.iter().map(|(message, _)| message).chain(waiting).chain(due).cloned().collect()
    }

    fn takes_crash(&self) -> bool {
        self.crashes.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1)).is_ok()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // No code panics while it holds one of these locks.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Memory behind a desk.
#[derive(Debug)]
pub(super) struct Tampered {
    way: Way,
    /// Events that are published for later: memory itself could not tell when they are settled.
    later: Mutex<JoinSet<()>>,
}

/// The way into memory.
#[derive(Clone, Debug)]
struct Way {
    inner: Arc<Memory>,
    desk: Arc<Desk>,
    clock: Clock,
}

impl Tampered {
    pub(super) fn new(inner: Arc<Memory>, desk: Arc<Desk>, clock: Clock) -> Self {
        Self { way: Way { inner, desk, clock }, later: Mutex::default() }
    }

    /// Sends an event when its time has come. What becomes of it then is its publisher's concern no more.
    fn send_later(&self, due: Timestamp, batch: Batch, mut options: PublishOptions) {
        options.deliver_at = None;
        lock(&self.way.desk.later).extend(batch.iter().map(|message| (due, message.clone())));
        let way = self.way.clone();
        lock(&self.later).spawn(async move {
            way.clock.sleep_until(due).await;
            let ids: Vec<_> = batch.iter().map(|message| message.id().clone()).collect();
            let _ = way.send(batch, options).await;
            lock(&way.desk.later).retain(|(at, message)| *at != due || !ids.contains(message.id()));
        });
    }
}

impl Way {
    /// Sends a batch, and remembers who has not settled it. Resolves when memory has it.
    async fn send(&self, batch: Batch, mut options: PublishOptions) -> Result<Receipts> {
        let messages = batch.clone();
        if options.confirm == Confirm::Settled {
            return self.inner.enqueue(batch, &options).await?.await;
        }
        // The timeout is for room; settlement has its own time.
        let timeout = mem::replace(&mut options.timeout, AGES);
        options.confirm = Confirm::Settled;
        let mut receipts = Receipts::new();
        for message in messages {
            let room = self.inner.enqueue(Batch::from_iter([message.clone()]), &options);
            let mut ticket = tokio::select! {
                biased;
                ticket = room => ticket?,
                () = self.clock.sleep(timeout) => {
                    let text = "the bus is full";
                    return Err(Error::new(ErrorKind::Backpressure, "publish", text).on(message.channel()));
                }
            };
            let at_once = std::future::poll_fn(|cx| Poll::Ready(std::pin::Pin::new(&mut ticket).poll(cx))).await;
            match at_once {
                Poll::Ready(outcome) => receipts.extend(outcome?),
                Poll::Pending => {
                    lock(&self.desk.open).push((message, ticket));
                    receipts.push(Ok(Receipt::default()));
                }
            }
        }
        Ok(receipts)
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
            let one = Batch::from_iter([message.clone()]);
            match mishap {
                Some(Mishap::Refused) => {
                    receipts.push(Err(Error::new(ErrorKind::Unavailable, "publish", "refused by the test")));
                    continue;
                }
                Some(Mishap::Lost) => receipts.push(Ok(Receipt::default())),
                Some(Mishap::Overtaken) => {
                    *lock(&desk.overtaken) = Some((one, options));
                    receipts.push(Ok(Receipt::default()));
                    lock(&desk.published).push(message);
                    continue;
                }
                Some(Mishap::Doubled) => {
                    receipts.extend(way.send(one.clone(), options).await?);
                    way.send(one, options).await?;
                }
                Some(Mishap::Late(delay)) => {
                    let due = options.deliver_at.unwrap_or_else(|| way.clock.now());
                    self.send_later(due.saturating_add(delay), one, options);
                    receipts.push(Ok(Receipt::default()));
                }
                None => match options.deliver_at {
                    Some(due) => {
                        self.send_later(due, one, options);
                        receipts.push(Ok(Receipt::default()));
                    }
                    None => receipts.extend(way.send(one, options).await?),
                },
            }
            lock(&desk.published).push(message);
            let overtaken = lock(&desk.overtaken).take();
            if let Some((earlier, options)) = overtaken {
                way.send(earlier, options).await?;
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
        let subscription = self.way.inner.subscribe(options).await?;
        let desk = self.way.desk.clone();
        Ok(subscription.map_source(|inner| Watched { inner, desk, taken: Chunk::default(), settler: Weak::new() }))
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
    taken: Chunk,
    settler: Weak<Crashing>,
}

impl Watched {
    fn watch(&mut self, mut delivery: Delivery) -> Delivery {
        let Some(real) = delivery.ack.settler().cloned() else { return delivery };
        let settler = match self.settler.upgrade() {
            Some(settler) if Arc::ptr_eq(&settler.real, &real) => settler,
            _ => Arc::new(Crashing { real, desk: self.desk.clone() }),
        };
        self.settler = Arc::downgrade(&settler);
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

/// A settler that loses an acknowledgement when the desk says so: what a crash between handler and ack looks like.
struct Crashing {
    real: Arc<dyn Settler>,
    desk: Arc<Desk>,
}

impl Crashing {
    fn said(&self, outcome: Outcome) -> Outcome {
        if outcome == Outcome::Ack && self.desk.takes_crash() { Outcome::Nack(Duration::ZERO) } else { outcome }
    }
}

impl Settler for Crashing {
    fn settle(&self, token: AckToken, outcome: Outcome) -> bool {
        self.real.settle(token, self.said(outcome))
    }

    fn is_live(&self, token: AckToken) -> bool {
        self.real.is_live(token)
    }

    fn confirm(&self, token: AckToken, outcome: Outcome) -> BoxFuture<'_, Result<()>> {
        self.real.confirm(token, self.said(outcome))
    }

    fn extend(&self, token: AckToken, duration: Duration) -> BoxFuture<'_, Result<()>> {
        self.real.extend(token, duration)
    }

    fn flush(&self) -> BoxFuture<'_, Result<()>> {
        self.real.flush()
    }
}
