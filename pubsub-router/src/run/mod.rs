//! A router at work: its subscriptions, how they are, and their end.

mod action;
mod board;
mod consumer;
mod gathering;
mod held;
mod lanes;
#[cfg(feature = "signal")]
mod signal;
mod took;

use std::{
    any::Any,
    fmt,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use pubsub_core::{Envelope, Error, ErrorKind, Message, Payload, PubSub, Result, Stats, rpc::Failure};
use tokio::{task::JoinHandle, time::timeout_at};

use crate::Router;
use board::Board;
pub use board::{ConsumerState, ConsumerStatus, Watch};
use consumer::Consumer;
pub use consumer::Handled;
pub(crate) use held::resolve;
#[cfg(feature = "signal")]
pub use signal::terminated;

/// How long handlers may take to finish, unless the router says otherwise.
pub(crate) const DRAIN: Duration = Duration::from_secs(30);
/// How long handlers that were cut off may take to let go of their deliveries.
const LET_GO: Duration = Duration::from_millis(500);

/// A router at work. Cloning it gives another handle to the same; when the last one is dropped, the handlers are cut off
/// and what they have not finished stays unsettled.
#[derive(Clone)]
pub struct Running {
    inner: Arc<Inner>,
}

struct Inner {
    bus: PubSub,
    board: Arc<Board>,
    active: Mutex<Vec<Active>>,
    draining: AtomicBool,
    /// Held while handlers are added: two who do so at the same time must see each other's.
    adding: tokio::sync::Mutex<()>,
}

/// What an action did for a request that no broker has delivered.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Performed {
    /// Its reply.
    pub reply: Payload,
    /// What it emitted, in order. Whoever asked publishes it.
    pub emitted: Vec<Envelope>,
}

/// A subscription and the task that serves it.
struct Active {
    consumer: Arc<Consumer>,
    task: JoinHandle<()>,
}

impl Drop for Active {
    fn drop(&mut self) {
        self.consumer.stop();
        self.task.abort();
    }
}

impl Running {
    pub(crate) async fn start(bus: &PubSub, router: Router) -> Result<Self> {
        let inner = Inner {
            bus: bus.clone(),
            board: Arc::default(),
            active: Mutex::default(),
            draining: AtomicBool::new(false),
            adding: tokio::sync::Mutex::default(),
        };
        let running = Self { inner: Arc::new(inner) };
        running.add(router).await?;
        Ok(running)
    }

    /// Adds handlers: when this returns, they are in place. Those that run already are not touched.
    ///
    /// # Errors
    /// As [`Router::start`]; `Conflict` if one of its groups already consumes one of its channels here, or if one of its actions
    /// is for a request that has one; `Closed` once the router is drained. Nothing is added then.
    pub async fn add(&self, router: Router) -> Result<()> {
        let Inner { bus, board, adding, .. } = &*self.inner;
        let _alone = adding.lock().await;
        let (degraded, mut opened) = (router.starts_degraded(), Vec::new());
        for plan in router.plan(bus)? {
            if self.find(plan.group.as_str(), plan.channel.as_str()).is_ok() {
                let text = format!("group `{}` consumes `{}` here already: stop it first", plan.group, plan.channel);
                return Err(Error::new(ErrorKind::Conflict, "add handlers", text));
            }
            let actions = self.active().iter().find_map(|active| active.consumer.shared_action(&plan));
            if let Some(request) = actions {
                let text = format!("the request `{request}` on `{}` has an action here already", plan.channel);
                return Err(Error::new(ErrorKind::Conflict, "add handlers", text));
            }
            opened.push(Consumer::open(bus, plan, board.clone(), degraded).await?);
        }
        let mut active = self.active();
        if self.inner.draining.load(Ordering::Acquire) {
            return Err(Error::new(ErrorKind::Closed, "add handlers", "the router is being drained"));
        }
        for (consumer, events) in opened {
            consumer.begins(&events);
            active.push(Active { task: tokio::spawn(consumer.clone().run(events)), consumer });
        }
        Ok(())
    }

    /// Stops the handlers of a group on a channel: takes no more, and waits up to `deadline` until what is underway is
    /// finished. Others are not touched.
    ///
    /// # Errors
    /// `NotFound` if the router has no such handlers; `Timeout` if some were unfinished, which are cut off: what they had
    /// in hand stays unsettled.
    pub async fn stop(&self, group: &str, channel: &str, deadline: Duration) -> Result<()> {
        let consumer = self.find(group, channel)?;
        let stopped = {
            let mut active = self.active();
            let place = active.iter().position(|active| Arc::ptr_eq(&active.consumer, &consumer));
            place.map(|place| active.swap_remove(place))
        };
        let finished = self.finish(stopped.into_iter().collect(), deadline).await;
        consumer.forget();
        finished
    }

    /// Lets the handlers of a group on a channel take no more until [`Running::resume`]. What they have is finished.
    ///
    /// # Errors
    /// `NotFound` if the router has no such handlers.
    pub fn pause(&self, group: &str, channel: &str) -> Result<()> {
        self.find(group, channel)?.pause();
        Ok(())
    }

    /// Lets them take events again.
    ///
    /// # Errors
    /// `NotFound` if the router has no such handlers.
    pub fn resume(&self, group: &str, channel: &str) -> Result<()> {
        self.find(group, channel)?.resume();
        Ok(())
    }

    /// Counters of a group's subscription to a channel.
    ///
    /// # Errors
    /// `NotFound` if the router has no such handlers.
    pub fn stats(&self, group: &str, channel: &str) -> Result<Stats> {
        Ok(self.find(group, channel)?.control().stats())
    }

    /// What the handlers of a group on a channel did.
    ///
    /// # Errors
    /// `NotFound` if the router has no such handlers.
    pub fn handled(&self, group: &str, channel: &str) -> Result<Handled> {
        Ok(self.find(group, channel)?.handled())
    }

    /// Executes a request that came by another way than the broker, as a web server's do: by the action that this router has
    /// for it. `None` if it has none.
    ///
    /// # Errors
    /// What the caller is to be told, as in a reply.
    pub async fn act(&self, request: Envelope) -> Option<std::result::Result<Payload, Failure>> {
        let request = Arc::new(Message::from(request));
        for consumer in self.consumers_of(&request) {
            if let Some(verdict) = consumer.act(&request).await {
                return Some(action::answer_of(verdict));
            }
        }
        None
    }

    /// As [`Running::act`], for who publishes what the action emits: it comes with the reply, and nothing has gone out. What
    /// is given along is there for the action's arguments, by [`Incoming::companion`](crate::Incoming::companion).
    ///
    /// # Errors
    /// As [`Running::act`]; what the action emitted is dropped then.
    pub async fn perform(
        &self,
        request: Envelope,
        companion: Option<Arc<dyn Any + Send + Sync>>,
    ) -> Option<std::result::Result<Performed, Failure>> {
        let request = Arc::new(Message::from(request));
        for consumer in self.consumers_of(&request) {
            if let Some((verdict, emitted)) = consumer.perform(&request, companion.clone()).await {
                return Some(action::answer_of(verdict).map(|reply| Performed { reply, emitted }));
            }
        }
        None
    }

    fn consumers_of(&self, request: &Message) -> Vec<Arc<Consumer>> {
        let active = self.active();
        let all = active.iter().map(|active| &active.consumer);
        all.filter(|consumer| consumer.consumes(request.channel())).cloned().collect()
    }

    /// All subscriptions, and how they are; those that have ended by themselves among them.
    pub fn status(&self) -> Vec<ConsumerStatus> {
        self.inner.board.current()
    }

    /// Watches them.
    pub fn watch(&self) -> Watch {
        self.inner.board.watch()
    }

    /// Whether every subscription does what it should: what a readiness probe asks.
    pub fn is_ready(&self) -> bool {
        !self.inner.draining.load(Ordering::Acquire) && self.status().iter().all(ConsumerStatus::is_ready)
    }

    /// How many deliveries are not settled: those that handlers have, that wait for their turn, and that are on their way to
    /// the dead letters.
    pub fn in_hand(&self) -> usize {
        self.active().iter().map(|active| active.consumer.in_hand()).sum()
    }

    /// Waits until every subscription has ended, as when the bus is closed. Cancel safe.
    pub async fn ended(&self) {
        let mut watch = self.watch();
        let over = |all: &[ConsumerStatus]| all.iter().all(|one| matches!(one.state, ConsumerState::Ended(_)));
        while !over(&watch.current()) && watch.changed().await.is_some() {}
    }

    /// Ends all handlers in two phases within one deadline: nothing more is taken, and what no handler has begun goes
    /// back; handlers that run may finish and are settled. What is unfinished at the deadline is cut off and stays unsettled.
    ///
    /// The bus stays open. Draining twice does nothing more.
    ///
    /// # Errors
    /// `Timeout` if something was unfinished.
    pub async fn drain(&self, deadline: Duration) -> Result<()> {
        self.inner.draining.store(true, Ordering::Release);
        let all = std::mem::take(&mut *self.active());
        self.finish(all, deadline).await
    }

    /// As [`Running::drain`], and then closes the bus, all within one deadline: what is on its way to the broker by then, such
    /// as acknowledgements, dead letters and emitted events, is waited for as well.
    ///
    /// # Errors
    /// As [`Running::drain`] and [`PubSub::close`]; of two the first.
    pub async fn drain_and_close(&self, deadline: Duration) -> Result<()> {
        let begun = tokio::time::Instant::now();
        let drained = self.drain(deadline).await;
        let closed = self.inner.bus.close(deadline.saturating_sub(begun.elapsed())).await;
        drained.and(closed)
    }

    /// Waits for the end of consumers, and cuts off what does not end.
    async fn finish(&self, mut consumers: Vec<Active>, deadline: Duration) -> Result<()> {
        let now = tokio::time::Instant::now();
        let end = now.checked_add(deadline).unwrap_or_else(|| now + DRAIN);
        consumers.iter().for_each(|active| active.consumer.stop());
        let (mut unfinished, mut cut_off) = (0, Vec::new());
        for active in &mut consumers {
            // A task that panicked has ended, too.
            if timeout_at(end, &mut active.task).await.is_err() {
                unfinished += active.consumer.in_hand();
                active.task.abort();
                cut_off.push(active);
            }
        }
        for active in cut_off {
            // One that blocks its thread cannot be cut off; its delivery stays unsettled for as long as it holds it.
            let _ = tokio::time::timeout(LET_GO, active.consumer.let_go()).await;
            let _ = tokio::time::timeout(LET_GO, &mut active.task).await;
        }
        if unfinished == 0 {
            return Ok(());
        }
        let text = format!("{unfinished} events were not finished within {deadline:?}; they stay unsettled");
        Err(Error::new(ErrorKind::Timeout, "drain router", text))
    }

    fn active(&self) -> MutexGuard<'_, Vec<Active>> {
        // The list is whole at every point where a panic could come from.
        self.inner.active.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn find(&self, group: &str, channel: &str) -> Result<Arc<Consumer>> {
        let is = |active: &&Active| active.consumer.serves(group, channel);
        if let Some(active) = self.active().iter().find(is) {
            return Ok(active.consumer.clone());
        }
        let text = format!("the router has no handlers of group `{group}` on `{channel}`");
        Err(Error::new(ErrorKind::NotFound, "find handlers", text))
    }
}

impl fmt::Debug for Running {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Running")
            .field("status", &self.status())
            .field("in_hand", &self.in_hand())
            .finish_non_exhaustive()
    }
}

/// Waits for a reason to end, and drains.
pub(crate) async fn drain_and_report(
    running: Running,
    deadline: Duration,
    shutdown: impl Future<Output = ()>,
) -> Result<()> {
    tokio::select! {
        () = shutdown => {}
        () = running.ended() => {}
    }
    running.drain(deadline).await
}
