//! Writing dead letters: the copy is confirmed before the original is settled.

use std::{
    fmt, mem,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use smallvec::smallvec;
use tokio::{runtime::Handle, sync::mpsc, task::JoinHandle};

use super::consumer::Outstanding;
use crate::{
    AckHandle, ChannelPolicy, Clock, Message, Result, Retention, Timestamp,
    driver::{Adapter, ChannelSpec, Outcome, PublishOptions, Tickets, Topology, TopologyMode},
    observe::{Hop, Observer, Publishing},
};

/// How many dead letters one channel keeps before the oldest is dropped.
const KEPT: u64 = 65_536;
/// How many are written in one go.
const BATCH: usize = 64;

/// A delivery that its group has given up. Dropped, it comes again.
pub(super) struct Burial {
    // Before `outstanding`, which is counted until it is settled.
    pub(super) handle: AckHandle,
    pub(super) message: Arc<Message>,
    pub(super) attempt: u32,
    pub(super) first_seen: Option<Timestamp>,
    pub(super) reason: String,
    pub(super) outstanding: Outstanding,
    /// Where it was given up.
    pub(super) hop: Hop,
}

/// The queue needs no bound of its own: all that is in it is unsettled, so the subscriptions' `max_in_flight` bounds it.
type Queue = mpsc::UnboundedSender<Burial>;

/// Where the subscriptions of a handle put what they have given up: a writing task, which is started when it is
/// needed, and anew when the runtime that it ran on has ended.
pub(super) struct Writer {
    adapter: Arc<dyn Adapter>,
    clock: Clock,
    observer: Observer,
    task: Mutex<Task>,
}

enum Task {
    None,
    Running(Queue, JoinHandle<()>),
    Stopped,
}

impl Writer {
    pub(super) fn new(adapter: Arc<dyn Adapter>, clock: Clock, observer: Observer) -> Self {
        Self { adapter, clock, observer, task: Mutex::new(Task::None) }
    }

    /// Hands a delivery to the task. Where there is none and no runtime to start one on, the delivery is dropped
    /// unsettled: it comes again. Says whether the task has it.
    pub(super) fn bury(&self, burial: Burial) -> bool {
        let Some(queue) = self.queue() else { return false };
        match queue.send(burial) {
            Ok(()) => true,
            // The task ended in this moment, with its runtime; there may be another one.
            Err(mpsc::error::SendError(burial)) => self.queue().is_some_and(|queue| queue.send(burial).is_ok()),
        }
    }

    /// Starts the task if there is none, so that deliveries may be buried outside of any runtime, too.
    pub(super) fn start(&self) {
        let _ = self.queue();
    }

    /// The way into the task. The present runtime's, if a new task has to be started.
    fn queue(&self) -> Option<Queue> {
        let mut task = self.lock();
        match &*task {
            Task::Stopped => return None,
            Task::Running(queue, running) if !queue.is_closed() && !running.is_finished() => {
                return Some(queue.clone());
            }
            Task::Running(..) | Task::None => {}
        }
        let runtime = Handle::try_current().ok()?;
        let (queue, receiver) = mpsc::unbounded_channel();
        let running =
            runtime.spawn(write_all(self.adapter.clone(), self.clock.clone(), self.observer.clone(), receiver));
        let before = mem::replace(&mut *task, Task::Running(queue.clone(), running));
        drop(task);
        drop(before);
        Some(queue)
    }

    /// Stops the task for good; what is not written by now stays unsettled.
    pub(super) fn stop(&self) {
        let before = mem::replace(&mut *self.lock(), Task::Stopped);
        if let Task::Running(_, running) = before {
            running.abort();
        }
    }

    fn lock(&self) -> MutexGuard<'_, Task> {
        // The task is whole at every point where a panic could come from.
        self.task.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Writer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Writer")
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.stop();
    }
}

async fn write_all(
    adapter: Arc<dyn Adapter>,
    clock: Clock,
    observer: Observer,
    mut queue: mpsc::UnboundedReceiver<Burial>,
) {
    let mut burials = Vec::with_capacity(BATCH);
    let mut declared = std::collections::HashSet::new();
    while queue.recv_many(&mut burials, BATCH).await > 0 {
        let mut open = Vec::with_capacity(burials.len());
        for burial in burials.drain(..) {
            let copy = copy_of(&burial, &clock);
            if !declared.contains(copy.channel()) && declare(&*adapter, &copy).await.is_ok() {
                declared.insert(copy.channel().clone());
            }
            let mut copy = Arc::new(copy);
            let publishing = burial.hop.in_scope(|| observer.publishing(&mut copy));
            let ticket = adapter.enqueue(smallvec![copy], &PublishOptions::default()).await;
            open.push((burial, ticket, publishing));
        }
        for (burial, ticket, publishing) in open {
            settle(burial, ticket, publishing).await;
        }
    }
}

async fn declare(adapter: &dyn Adapter, copy: &Message) -> Result<()> {
    let policy = ChannelPolicy { max_payload: usize::MAX, ..ChannelPolicy::default() }
        .retention(Retention::default().count(KEPT));
    let spec = ChannelSpec::new(copy.channel().clone(), policy);
    adapter.ensure(&Topology::new(TopologyMode::Create).channel(spec)).await.map(drop)
}

/// The letter, on the channel where those of its group lie.
fn copy_of(burial: &Burial, clock: &Clock) -> Message {
    let Burial { message, attempt, first_seen, reason, outstanding, .. } = burial;
    let group = outstanding.consumer.group.as_ref();
    let channel = group.map_or_else(|| message.channel().clone(), |group| message.channel().dead_letter(group));
    message.dead_letter(channel, reason, *attempt, *first_seen, clock.now())
}

/// The original is settled only when the copy is confirmed. Otherwise it comes again, and is judged again.
async fn settle(burial: Burial, ticket: Result<Tickets>, mut publishing: Publishing) {
    let outcome = match ticket {
        Ok(ticket) => ticket.await.and_then(|receipts| receipts.into_iter().collect::<Result<Vec<_>>>()).map(drop),
        Err(error) => Err(error),
    };
    publishing.ended(&outcome);
    let Burial { handle, message, attempt, outstanding, .. } = burial;
    let delay = outstanding.consumer.retry.delay(message.id(), attempt).max(Duration::from_millis(100));
    // A refusal is not counted here: whoever buried it did his part, and the copy is there.
    handle.settle(outcome.map_or(Outcome::Nack(delay), |()| Outcome::Reject));
    drop(outstanding); // closing waits for it
}
