//! One subscription at work: takes deliveries, runs their handlers, settles, and comes back when it was lost.

mod reopen;

use std::{
    any::Any,
    future::poll_fn,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use pubsub_core::{
    Ack, ChannelName, Control, Envelope, EventItem, EventName, Events, Message, Ordering as KeyOrder, PubSub, Raw,
    Received, Result, Unknown,
    driver::{AdapterState, Drain, SubscriptionState},
    observe::{Begun, Tally, names},
};

use super::{
    action::{self, Answered},
    board::{Board, ConsumerState},
    gathering::Gathering,
    held::{Held, text_of},
    lanes::Lanes,
    took::Took,
};
use crate::{
    Done, HandlerError, Incoming, Verdict,
    incoming::Site,
    router::{Kind, Plan, Served},
};

/// A subscription and its handlers.
pub(crate) struct Consumer {
    bus: PubSub,
    plan: Plan,
    /// Whether all its events keep their order, not only those of a key.
    total: bool,
    board: Arc<Board>,
    drain: Drain,
    paused: AtomicBool,
    control: Mutex<Control>,
    counts: Counts,
    /// In the order of the handlers.
    took: Vec<Took>,
}

struct Counts {
    succeeded: Tally,
    failed: Tally,
    unserved: Tally,
    expired: Tally,
    undelivered: Tally,
}

impl Counts {
    fn new(bus: &PubSub, plan: &Plan) -> Self {
        let series = bus.observer().series(&[("channel", plan.channel.as_str()), ("group", plan.group.as_str())]);
        Self {
            // Their metric is the number of durations.
            succeeded: Tally::default(),
            failed: Tally::default(),
            unserved: Tally::default(),
            expired: series.tally(&names::REQUESTS_EXPIRED),
            undelivered: series.tally(&names::REPLIES_UNDELIVERED),
        }
    }
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

/// A delivery that no handler has begun, and the handler that it is for. Dropped while draining, it is given back.
pub(super) struct Job {
    /// What it must not overtake.
    pub(super) lane: Option<u64>,
    handler: usize,
    /// Until the handler begins.
    delivery: Option<(Incoming, Ack)>,
}

impl Job {
    /// Whether its lease still holds: it may have waited, and been taken back meanwhile.
    pub(super) fn is_live(&self) -> bool {
        self.delivery.as_ref().is_some_and(|(_, ack)| ack.is_live())
    }

    pub(super) fn release(mut self) {
        if let Some((_, ack)) = self.delivery.take() {
            ack.release();
        }
    }
}

impl Drop for Job {
    fn drop(&mut self) {
        if let Some((_, ack)) = self.delivery.take_if(|(incoming, _)| incoming.drain().is_draining()) {
            ack.release();
        }
    }
}

/// A subscription, or why it is not open yet.
pub(super) type Opened = std::result::Result<Events<Raw>, String>;

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
    /// Opens the subscription; in a degraded start it may be opened later.
    pub(super) async fn open(
        bus: &PubSub,
        plan: Plan,
        board: Arc<Board>,
        degraded: bool,
    ) -> Result<(Arc<Self>, Opened)> {
        let total = bus.policy(&plan.channel)?.ordering == KeyOrder::Total;
        let is_away = degraded && bus.states().current() != AdapterState::Ready;
        let events = match is_away {
            // An attempt would only take its time.
            true => Err("the broker was not there at the start".to_owned()),
            false => match plan.subscribe(bus).await {
                Err(error) if degraded && error.is_retryable() => Err(text_of(&error)),
                opened => Ok(opened?),
            },
        };
        let consumer = Self {
            bus: bus.clone(),
            total,
            board,
            drain: Drain::new(),
            paused: AtomicBool::new(false),
            control: Mutex::new(events.as_ref().map_or_else(|_| Control::detached(), Events::control)),
            counts: Counts::new(bus, &plan),
            took: Took::of(&plan, bus.observer()),
            plan,
        };
        Ok((Arc::new(consumer), events))
    }

    pub(super) fn serves(&self, group: &str, channel: &str) -> bool {
        self.plan.group.as_str() == group && self.plan.channel.as_str() == channel
    }

    /// A request that both this and the plan have an action for: both would execute it.
    pub(super) fn shared_action(&self, plan: &Plan) -> Option<EventName> {
        let actions = |plan: &Plan| {
            plan.served
                .iter()
                .filter(|served| served.kind == Kind::Action)
                .map(|served| served.name.clone())
                .collect::<Vec<_>>()
        };
        let (ours, theirs) = (actions(&self.plan), actions(plan));
        ours.into_iter().find(|name| self.plan.channel == plan.channel && theirs.contains(name))
    }

    pub(super) fn consumes(&self, channel: &ChannelName) -> bool {
        self.plan.channel == *channel
    }

    /// Takes it from the board, once it is stopped.
    pub(super) fn forget(&self) {
        self.board.remove(&self.plan.group, &self.plan.channel);
    }

    /// How many deliveries are not settled.
    pub(super) fn in_hand(&self) -> usize {
        self.control().stats().outstanding
    }

    /// Waits until none is left, after the handlers were cut off.
    pub(super) async fn let_go(&self) {
        while self.in_hand() > 0 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }

    pub(super) fn control(&self) -> Control {
        self.lock().clone()
    }

    pub(super) fn handled(&self) -> Handled {
        let Counts { succeeded, failed, unserved, expired, undelivered } = &self.counts;
        Handled {
            succeeded: succeeded.get(),
            failed: failed.get(),
            unserved: unserved.get(),
            expired: expired.get(),
            undelivered: undelivered.get(),
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

    /// Notes how the subscription is at first.
    pub(super) fn begins(&self, opened: &Opened) {
        match opened {
            Ok(_) => self.is_at_work(),
            Err(why) => self.is(ConsumerState::Recovering(why.clone())),
        }
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
    pub(super) async fn run(self: Arc<Self>, mut opened: Opened) {
        let mut ending = Ending { consumer: &self, why: Some("cut off, or broken by a panic".to_owned()) };
        ending.why = loop {
            let why = match opened {
                Err(why) => why,
                Ok(events) => match self.consume(events).await {
                    End::Asked => break None,
                    End::Lost(why) => why,
                },
            };
            opened = match self.reopen(why).await {
                Ok(events) => Ok(events),
                Err(end) => break end,
            };
        };
    }

    async fn consume(self: &Arc<Self>, mut events: Events<Raw>) -> End {
        let site = self.site();
        let workers = self.plan.options.concurrency();
        let mut lanes = (workers > 1).then(|| Lanes::start(self, &site, workers));
        let mut gathering = Gathering::default();
        let mut failures = 0;
        // What was gathered is handed over at the latest when there is no more for now.
        while let Some(item) = poll_fn(|cx| {
            let item = events.poll_item(cx);
            if item.is_pending() {
                lanes.as_mut().map(Lanes::hand_over);
            }
            item
        })
        .await
        {
            match item {
                Ok(EventItem::Event(received)) => {
                    if failures > 0 {
                        failures = 0;
                        self.is_at_work();
                    }
                    let Some(job) = self.admit(received, &site) else { continue };
                    match &mut lanes {
                        _ if self.is_for_batch(&job) => gathering.push(self, &site, job),
                        Some(lanes) => lanes.push(job),
                        None => self.work(job, &site).await,
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
                    lanes.as_mut().map(Lanes::hand_over);
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
            self.counts.unserved.one();
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
        let lane = match self.plan.options.concurrency() {
            1 => None,
            _ if self.total => Some(0),
            _ => message.key().map(pubsub_core::Key::stable_hash),
        };
        let incoming = Incoming::new(message, &ack, site.clone());
        Some(Job { lane, handler, delivery: Some((incoming, ack)) })
    }

    fn is_for_batch(&self, job: &Job) -> bool {
        self.plan.served[job.handler].kind == Kind::Batch
    }

    /// Runs the handler, and settles by what it says.
    pub(super) async fn work(&self, mut job: Job, site: &Site) {
        let Some((incoming, ack)) = job.delivery.take() else { return };
        let handler = job.handler;
        let (served, mut held) = (&self.plan.served[handler], Held::new(ack, site));
        if served.kind == Kind::Action {
            return self.answer(handler, incoming, held).await;
        }
        held.prepare(served.settle, &incoming);
        let begun = Begun::now();
        let verdict = served.route.run(incoming.clone()).await;
        self.count(handler, begun, verdict.is_ok());
        self.note(incoming.hop().in_scope(|| held.settle(verdict, served.settle)));
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
        let handler = self.action_for(request)?;
        Some(self.run_action(handler, Incoming::local(request.clone(), self.site())).await)
    }

    /// As [`Consumer::act`], with what the action emitted, which is not published.
    pub(super) async fn perform(
        &self,
        request: &Arc<Message>,
        companion: Option<Arc<dyn Any + Send + Sync>>,
    ) -> Option<(Verdict, Vec<Envelope>)> {
        let handler = self.action_for(request)?;
        let incoming = Incoming::holding(request.clone(), self.site(), companion);
        let verdict = self.run_action(handler, incoming.clone()).await;
        Some((verdict, incoming.take_held()))
    }

    fn action_for(&self, request: &Message) -> Option<usize> {
        let claims = |served: &Served| served.kind == Kind::Action && served.name == *request.name();
        self.plan.served.iter().position(claims)
    }

    async fn run_action(&self, handler: usize, incoming: Incoming) -> Verdict {
        let begun = Begun::now();
        let verdict = action::execute(&self.plan.served[handler].route, incoming).await;
        self.count(handler, begun, verdict.is_ok());
        verdict
    }

    /// Counts a call of a handler.
    fn count(&self, handler: usize, begun: Begun, success: bool) {
        let count = if success { &self.counts.succeeded } else { &self.counts.failed };
        count.one();
        self.took[handler].note(begun, success);
    }

    /// Runs an action, and settles the request once its reply is confirmed.
    async fn answer(&self, handler: usize, incoming: Incoming, held: Held<'_>) {
        let (served, begun) = (&self.plan.served[handler], Begun::now());
        let answered = action::answer(&served.route, &incoming).await;
        match answered {
            Answered::Replied { success } => self.count(handler, begun, success),
            Answered::Undelivered { success } => {
                self.count(handler, begun, success);
                self.counts.undelivered.one();
            }
            Answered::Expired => self.counts.expired.one(),
            Answered::Malformed(error) => {
                self.count(handler, begun, false);
                return self.note(held.settle(Err(HandlerError::unreadable(error)), served.settle));
            }
            Answered::Released => return held.release(),
        }
        self.note(held.settle(Ok(Done::default()), served.settle));
    }
}
