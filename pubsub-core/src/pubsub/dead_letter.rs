//! Writing dead letters: the copy is confirmed before the original is settled.

use std::{
    fmt,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use smallvec::smallvec;
use tokio::{sync::mpsc, task::JoinHandle};

use super::received::Ack;
use crate::{
    ChannelPolicy, Clock, GroupName, Message, Result, Retention,
    driver::{Adapter, ChannelSpec, Outcome, PublishOptions, Tickets, Topology, TopologyMode},
};

/// How many dead letters one channel keeps before the oldest is dropped.
const KEPT: u64 = 65_536;
/// How many are written in one go.
const BATCH: usize = 64;
/// Longer reasons are cut off.
const MAX_REASON: usize = 2_000;

/// A delivery that its group has given up.
struct Burial {
    ack: Ack,
    reason: String,
}

/// Where the subscriptions of a handle put what they have given up.
///
/// The queue needs no bound of its own: all that is in it is unsettled, so the subscriptions' `max_in_flight` bounds it.
#[derive(Clone)]
pub(super) struct Sink(mpsc::UnboundedSender<Burial>);

impl Sink {
    pub(super) fn bury(&self, ack: Ack, mut reason: String) {
        if let Some((cut, _)) = reason.char_indices().nth(MAX_REASON) {
            reason.truncate(cut);
        }
        // If the writer is gone, the delivery comes back with the error and is dropped unsettled: it comes again.
        let _ = self.0.send(Burial { ack, reason });
    }
}

impl fmt::Debug for Sink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Sink")
    }
}

/// Starts the writing task with the first subscription that may need it, and ends it.
pub(super) struct Writer {
    adapter: Arc<dyn Adapter>,
    clock: Clock,
    running: Mutex<Option<(Sink, JoinHandle<()>)>>,
}

impl Writer {
    pub(super) fn new(adapter: Arc<dyn Adapter>, clock: Clock) -> Self {
        Self { adapter, clock, running: Mutex::new(None) }
    }

    /// The way in. Needs a tokio runtime.
    pub(super) fn sink(&self) -> Sink {
        let mut running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((sink, task)) = &*running {
            // A task whose runtime has ended is replaced.
            if !task.is_finished() {
                return sink.clone();
            }
        }
        let (sender, receiver) = mpsc::unbounded_channel();
        let task = tokio::spawn(write_all(self.adapter.clone(), self.clock.clone(), receiver));
        let sink = Sink(sender);
        *running = Some((sink.clone(), task));
        sink
    }

    /// Stops the task; what is not written by now stays unsettled.
    pub(super) fn stop(&self) {
        let running = self.running.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some((_, task)) = running {
            task.abort();
        }
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.stop();
    }
}

async fn write_all(adapter: Arc<dyn Adapter>, clock: Clock, mut queue: mpsc::UnboundedReceiver<Burial>) {
    let mut burials = Vec::with_capacity(BATCH);
    let mut declared = std::collections::HashSet::new();
    while queue.recv_many(&mut burials, BATCH).await > 0 {
        let mut open = Vec::with_capacity(burials.len());
        for burial in burials.drain(..) {
            let copy = copy_of(&burial, &clock);
            if !declared.contains(copy.channel()) && declare(&*adapter, &copy).await.is_ok() {
                declared.insert(copy.channel().clone());
            }
            let ticket = adapter.enqueue(smallvec![Arc::new(copy)], &PublishOptions::default()).await;
            open.push((burial, ticket));
        }
        for (burial, ticket) in open {
            settle(burial, ticket).await;
        }
    }
}

async fn declare(adapter: &dyn Adapter, copy: &Message) -> Result<()> {
    let policy = ChannelPolicy { max_payload: usize::MAX, ..ChannelPolicy::default() }
        .retention(Retention::default().count(KEPT));
    let spec = ChannelSpec::new(copy.channel().clone(), policy);
    adapter.ensure(&Topology::new(TopologyMode::Create).channel(spec)).await.map(drop)
}

/// The event with its original bytes and id, and why it lies here.
fn copy_of(burial: &Burial, clock: &Clock) -> Message {
    let original = burial.ack.message();
    let mut copy = Message::clone(original);
    let now = clock.now();
    let envelope = copy.envelope_mut();
    if let Some(group) = burial.ack.group() {
        envelope.channel = original.channel().dead_letter(group);
    }
    let meta = &mut envelope.meta;
    meta.first_seen = meta.first_seen.or(burial.ack.first_seen()).or(Some(now));
    meta.dead_reason = Some(burial.reason.clone());
    meta.dead_attempts = Some(burial.ack.attempt());
    meta.dead_source = Some(original.channel().clone());
    meta.dead_time = Some(now);
    copy
}

/// The original is settled only when the copy is confirmed. Otherwise it comes again, and is buried then.
async fn settle(burial: Burial, ticket: Result<Tickets>) {
    let outcome = match ticket {
        Ok(ticket) => ticket.await.and_then(|receipts| receipts.into_iter().collect::<Result<Vec<_>>>()).map(drop),
        Err(error) => Err(error),
    };
    let delay = burial.ack.backoff().max(Duration::from_millis(100));
    // Counted as outstanding until it is settled, so that closing waits for it.
    let (handle, _outstanding) = burial.ack.into_handle();
    match outcome {
        Ok(()) => handle.settle(Outcome::Reject),
        Err(_) => handle.settle(Outcome::Nack(delay)),
    }
}

impl Ack {
    fn group(&self) -> Option<&GroupName> {
        self.consumer().group.as_ref()
    }

    fn backoff(&self) -> Duration {
        self.consumer().retry.delay(self.message().id(), self.attempt())
    }
}
