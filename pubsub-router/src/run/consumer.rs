//! One subscription at work: takes deliveries, runs their handlers, settles, and comes back when it was lost.

use std::{
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use pubsub_core::{
    ChannelName, Control, Envelope, EventId, EventItem, Events, Message, Ordering as KeyOrder, PubSub, Raw, Received,
    Result, Unknown,
    driver::{Drain, RetryPolicy, SubscriptionState},
};

use super::{
    action::{self, Answered},
    board::{Board, ConsumerState},
    gathering::Gathering,
    held::{Held, InHand, text_of},
    lanes::Lanes,
};
use crate::{
    Done, HandlerError, Incoming, Verdict,
    incoming::Site,
    router::{Kind, Plan, Served},
};

/// How long after a subscription was lost it is opened again.
const REOPEN: RetryPolicy =
    RetryPolicy::immediate().delays(Duration::from_millis(100), Duration::from_secs(10)).jitter(0.2);

/// A subscription and its handlers.
pub(crate) struct Consumer {
    bus: PubSub,
    plan: Plan,
    /// Whether all its events keep their order, not only those of a key.
    total: bool,
    board: Arc<Board>,
    in_hand: Arc<InHand>,
    drain: Drain,
    paused: AtomicBool,
    control: Mutex<Control>,
    counts: Counts,
}

#[derive(Default)]
struct Counts {
    succeeded: AtomicU64,
    failed: AtomicU64,
    unserved: AtomicU64,
    expired: AtomicU64,
    undelivered: AtomicU64,
}

/// What a subscription's handlers did, since it began.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Handled {
    /// Calls that succeeded.
    pub succeeded: u64,
    /// Calls that failed, timed out or panicked.
    pub failed: u64,
    /// Events for which there is only an action.
    pub unserved: u64,
    /// Requests that nobody waited for any more: not executed, or dropped at their deadline.
    pub expired: u64,
    /// Requests that were executed, and whose replies reached nobody.
    pub undelivered: u64,
}

/// A delivery, and the handler that it is for.
pub(super) struct Job {
    /// What it must not overtake.
    pub(super) lane: Option<u64>,
    handler: usize,
    incoming: Incoming,
    held: Held,
}

impl Job {
    pub(super) fn release(self) {
        self.held.release();
    }
}

/// Why a subscription takes no more.
enum End {
    /// Somebody asked for it.
    Asked,
    /// It must be opened again.
    Lost(String),
}

/// Notes the end of a subscription, however it comes about.
struct Ending<'a> {
    consumer: &'a Consumer,
    why: Option<String>,
}

impl Drop for Ending<'_> {
    fn drop(&mut self) {
        self.consumer.is(ConsumerState::Ended(self.why.take()));
    }
}

impl Consumer {
    /// Opens the subscription.
    pub(super) async fn open(bus: &PubSub, plan: Plan, board: Arc<Board>) -> Result<(Arc<Self>, Events<Raw>)> {
        let total = bus.policy(&plan.channel)?.ordering == KeyOrder::Total;
        let events = plan.subscribe(bus).await?;
        let consumer = Self {
            bus: bus.clone(),
            total,
            board,
            in_hand: Arc::default(),
            drain: Drain::new(),
            paused: AtomicBool::new(false),
            control: Mutex::new(events.control()),
            counts: Counts::default(),
            plan,
        };
        Ok((Arc::new(consumer), events))
    }

    pub(super) fn serves(&self, group: &str, channel: &str) -> bool {
        self.plan.group.as_str() == group && self.plan.channel.as_str() == channel
    }

    pub(super) fn consumes(&self, channel: &ChannelName) -> bool {
        self.plan.channel == *channel
    }

    /// Takes it from the board, once it is stopped.
    pub(super) fn forget(&self) {
        self.board.remove(&self.plan.group, &self.plan.channel);
    }

    pub(super) fn in_hand(&self) -> &InHand {
        &self.in_hand
    }

    pub(super) fn control(&self) -> Control {
        self.lock().clone()
    }

    pub(super) fn handled(&self) -> Handled {
        let read = |count: &AtomicU64| count.load(Ordering::Relaxed);
        let Counts { succeeded, failed, unserved, expired, undelivered } = &self.counts;
        Handled {
            succeeded: read(succeeded),
            failed: read(failed),
            unserved: read(unserved),
            expired: read(expired),
            undelivered: read(undelivered),
        }
    }

    pub(super) fn pause(&self) {
        self.paused.store(true, Ordering::Release);
        self.control().pause();
        self.is_at_work();
    }

    pub(super) fn resume(&self) {
        self.paused.store(false, Ordering::Release);
        self.control().resume();
        self.is_at_work();
    }

    /// Takes no more, and gives back what nobody has begun.
    pub(super) fn stop(&self) {
        self.drain.start();
        self.control().end();
    }

    pub(super) fn is(&self, state: ConsumerState) {
        self.board.set(&self.plan.group, &self.plan.channel, state);
    }

    /// Notes that the subscription is as its owner wants it.
    pub(super) fn is_at_work(&self) {
        let paused = self.paused.load(Ordering::Acquire);
        self.is(if paused { ConsumerState::Paused } else { ConsumerState::Active });
    }

    fn lock(&self) -> MutexGuard<'_, Control> {
        // The control is whole at every point where a panic could come from.
        self.control.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Works until it is stopped, or the bus is closed.
    pub(super) async fn run(self: Arc<Self>, mut events: Events<Raw>) {
        let mut ending = Ending { consumer: &self, why: Some("cut off, or broken by a panic".to_owned()) };
        ending.why = loop {
            match self.consume(events).await {
                End::Asked => break None,
                End::Lost(why) => match self.reopen(why).await {
                    Ok(opened) => events = opened,
                    Err(end) => break end,
                },
            }
        };
    }

    async fn consume(self: &Arc<Self>, mut events: Events<Raw>) -> End {
        let site = self.site();
        let workers = self.plan.options.concurrency();
        let lanes = (workers > 1).then(|| Lanes::start(self, workers));
        let mut gathering = Gathering::default();
        let mut failures = 0;
        while let Some(item) = events.next_item().await {
            match item {
                Ok(EventItem::Event(received)) => {
                    if failures > 0 {
                        failures = 0;
                        self.is_at_work();
                    }
                    let Some(job) = self.admit(received, &site) else { continue };
                    match &lanes {
                        _ if self.is_for_batch(&job) => gathering.push(self, job),
                        Some(lanes) => lanes.push(job),
                        None => self.work(job).await,
                    }
                    // A source and a handler that never wait would keep everyone else from running.
                    tokio::task::coop::consume_budget().await;
                }
                Ok(EventItem::State(SubscriptionState::Active)) => self.is_at_work(),
                Ok(EventItem::State(SubscriptionState::Recovering(why))) => self.is(ConsumerState::Recovering(why)),
                // Gaps are counted by the subscription.
                Ok(_) => {}
                // The subscription heals itself; a source that fails at once each time must not take all time.
                Err(error) => {
                    failures += 1;
                    self.is(ConsumerState::Recovering(text_of(&error)));
                    self.pause_between(failures).await;
                }
            }
        }
        let asked = site.control.is_ended();
        self.is(ConsumerState::Draining);
        if let Some(lanes) = lanes {
            lanes.finish().await;
        }
        gathering.finish().await;
        if asked { End::Asked } else { End::Lost("the subscription ended by itself".to_owned()) }
    }

    /// The handler of a message. An event that wants a reply is for its action; where there is none, it is an event.
    fn handler_of(&self, message: &Message) -> Option<usize> {
        let find = |kind| {
            let serves = |served: &Served| served.kind == kind && served.name == *message.name();
            self.plan.served.iter().position(serves)
        };
        let action = message.meta().reply_to.as_ref().and_then(|_| find(Kind::Action));
        action.or_else(|| find(Kind::Event)).or_else(|| find(Kind::Batch))
    }

    /// Finds the handler of a delivery. What has none is dealt with here.
    fn admit(&self, received: Received<Raw>, site: &Arc<Site>) -> Option<Job> {
        let (message, ack) = received.split();
        let Some(handler) = self.handler_of(&message) else {
            self.counts.unserved.fetch_add(1, Ordering::Relaxed);
            match self.plan.options.unknown {
                Some(Unknown::DeadLetter) => {
                    let text =
                        format!("the group has only an action for `{}`, and nobody wants a reply", message.name());
                    self.note(ack.reject(text));
                }
                _ => ack.ack(),
            }
            return None;
        };
        let lane = if self.total { Some(0) } else { message.key().map(pubsub_core::Key::stable_hash) };
        let incoming = Incoming::new(message, &ack, site.clone());
        let held = Held::new(ack, site.clone(), self.in_hand.clone());
        Some(Job { lane, handler, incoming, held })
    }

    fn is_for_batch(&self, job: &Job) -> bool {
        self.plan.served[job.handler].kind == Kind::Batch
    }

    /// Runs the handler, and settles by what it says.
    pub(super) async fn work(&self, job: Job) {
        let Job { handler, incoming, mut held, .. } = job;
        // It may have waited, and been taken back meanwhile.
        if !held.is_live() {
            return;
        }
        let served = &self.plan.served[handler];
        if served.kind == Kind::Action {
            return self.answer(served, incoming, held).await;
        }
        held.prepare(served.settle, &incoming);
        let verdict = served.route.run(incoming).await;
        self.count(verdict.is_ok());
        self.note(held.settle(verdict, served.settle));
    }

    /// Shows an error that has nobody to go to.
    fn note(&self, settled: Result<()>) {
        if let Err(error) = settled {
            self.is(ConsumerState::Recovering(text_of(&error)));
        }
    }

    fn site(&self) -> Arc<Site> {
        Arc::new(Site {
            bus: self.bus.clone(),
            group: self.plan.group.clone(),
            channel: self.plan.channel.clone(),
            control: self.control(),
            drain: self.drain.clone(),
        })
    }

    /// Runs the action for a request that no broker has delivered, if there is one.
    pub(super) async fn act(&self, request: &Arc<Message>) -> Option<Verdict> {
        Some(self.run_action(self.action_for(request)?, Incoming::local(request.clone(), self.site())).await)
    }

    /// As [`Consumer::act`], with what the action emitted, which is not published.
    pub(super) async fn perform(&self, request: &Arc<Message>) -> Option<(Verdict, Vec<Envelope>)> {
        let served = self.action_for(request)?;
        let incoming = Incoming::holding(request.clone(), self.site());
        let verdict = self.run_action(served, incoming.clone()).await;
        Some((verdict, incoming.take_held()))
    }

    fn action_for(&self, request: &Message) -> Option<&Served> {
        let claims = |served: &&Served| served.kind == Kind::Action && served.name == *request.name();
        self.plan.served.iter().find(claims)
    }

    async fn run_action(&self, served: &Served, incoming: Incoming) -> Verdict {
        let verdict = action::execute(&served.route, incoming).await;
        self.count(verdict.is_ok());
        verdict
    }

    fn count(&self, success: bool) {
        let count = if success { &self.counts.succeeded } else { &self.counts.failed };
        count.fetch_add(1, Ordering::Relaxed);
    }

    /// Runs an action, and settles the request once its reply is confirmed.
    async fn answer(&self, served: &Served, incoming: Incoming, held: Held) {
        let answered = action::answer(&served.route, &incoming).await;
        let counts = &self.counts;
        match answered {
            Answered::Replied { success } => self.count(success),
            Answered::Undelivered { success } => {
                self.count(success);
                counts.undelivered.fetch_add(1, Ordering::Relaxed);
            }
            Answered::Expired => drop(counts.expired.fetch_add(1, Ordering::Relaxed)),
            Answered::Malformed(error) => {
                self.count(false);
                return self.note(held.settle(Err(HandlerError::unreadable(error)), served.settle));
            }
            Answered::Released => return held.release(),
        }
        self.note(held.settle(Ok(Done::default()), served.settle));
    }

    /// Opens the subscription again, as often as it takes. The error is why it is not opened any more.
    async fn reopen(&self, mut why: String) -> std::result::Result<Events<Raw>, Option<String>> {
        let mut failures = 0;
        loop {
            self.is(ConsumerState::Recovering(why));
            failures += 1;
            self.pause_between(failures).await;
            if self.drain.is_draining() {
                return Err(None);
            }
            match self.plan.subscribe(&self.bus).await {
                Ok(events) => {
                    *self.lock() = events.control();
                    // Whoever stopped or paused it meanwhile told the control of before.
                    if self.drain.is_draining() {
                        return Err(None);
                    }
                    if self.paused.load(Ordering::Acquire) {
                        self.control().pause();
                    }
                    self.is_at_work();
                    return Ok(events);
                }
                Err(error) if error.is_retryable() => why = text_of(&error),
                Err(error) => return Err(Some(text_of(&error))),
            }
        }
    }

    async fn pause_between(&self, failures: u32) {
        let delay = REOPEN.delay(&EventId::random(), failures);
        tokio::select! {
            () = tokio::time::sleep(delay) => {}
            () = self.drain.clone().started() => {}
        }
    }
}
