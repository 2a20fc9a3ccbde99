//! Telling the server of settlements: many at a time, the next ones while the answer to the last is on its way.
//!
//! The last settlement of each consumer in a bundle asks for an answer, which comes when the server has applied it and
//! all before it. Until then the bundle is kept, to be told again.

use std::{
    collections::VecDeque,
    future::{pending, ready},
    sync::{Arc, atomic::Ordering},
    task::Poll,
    time::Duration,
};

use async_nats::{Client, Request, RequestErrorKind};
use bytes::Bytes;
use futures_util::{FutureExt, future::join_all, poll};
use pubsub_core::{
    Result,
    driver::{BoxFuture, Outcome, stale},
};
use tokio::time::{Instant, sleep};

use super::{
    error,
    settler::{GroupSub, Item, SEEN_WITHIN},
};

/// How often consumers are told that nobody answers for: a server that has just started may not have them ready.
const TRIES: u32 = 10;
/// How many bundles may wait for their answer.
const BUNDLES: usize = 4;

const ACK: Bytes = Bytes::from_static(b"+ACK");
const NAK: Bytes = Bytes::from_static(b"-NAK");
const TERM: Bytes = Bytes::from_static(b"+TERM");

fn payload(outcome: Outcome) -> Bytes {
    match outcome {
        Outcome::Ack => ACK,
        Outcome::Reject => TERM,
        Outcome::Nack(delay) if !delay.is_zero() => {
            let nanos = u64::try_from(delay.as_nanos()).unwrap_or(u64::MAX >> 1);
            format!("-NAK {{\"delay\":{nanos}}}").into()
        }
        _ => NAK,
    }
}

fn is_final(outcome: Outcome) -> bool {
    matches!(outcome, Outcome::Ack | Outcome::Reject)
}

/// What became of the settlements that the server was told of.
pub(super) enum Told {
    /// They are applied.
    Applied,
    /// They may not have arrived.
    Again,
    /// Nobody answers for these consumers.
    Unheard(Vec<Arc<str>>),
}

/// Bundles that wait for their answers, the oldest first.
#[derive(Default)]
pub(super) struct Telling(VecDeque<Bundle>);

impl Telling {
    pub(super) fn is_idle(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn has_room(&self) -> bool {
        (1..BUNDLES).contains(&self.0.len())
    }

    /// Tells the server of these, and does not wait for its answer.
    pub(super) async fn begin(&mut self, sub: &GroupSub, batch: Vec<(Item, Outcome)>) {
        let mut bundle = Bundle::new(batch);
        // What is to be told again after a broken connection goes first.
        if !self.is_idle()
            && sub.shared.wait_up().await
            && let Some(told) = self.answer().now_or_never()
        {
            self.take(sub, told).await;
        }
        match bundle.send(sub).await {
            Ok(()) => self.0.push_back(bundle),
            Err(error) => {
                // They are told of in their order, whatever became of them.
                self.finish(sub).await;
                sub.desk.told(bundle.count, Err(error));
            }
        }
    }

    /// The answer to the oldest. Cancel safe.
    pub(super) async fn answer(&mut self) -> Told {
        match self.0.front_mut() {
            Some(bundle) => (&mut bundle.answer).await,
            None => pending().await,
        }
    }

    /// Takes the answer to the oldest. Where it has to be told again, so are those after it, before there are new ones.
    pub(super) async fn take(&mut self, sub: &GroupSub, told: Told) {
        let Some(bundle) = self.0.pop_front() else { return };
        let applied = matches!(told, Told::Applied);
        bundle.conclude(sub, told).await;
        if !applied {
            self.finish(sub).await;
        }
    }

    /// Waits until the server has applied all.
    pub(super) async fn finish(&mut self, sub: &GroupSub) {
        while let Some(mut bundle) = self.0.pop_front() {
            let told = (&mut bundle.answer).await;
            bundle.conclude(sub, told).await;
        }
    }
}

/// Settlements of which the server is told together.
pub(super) struct Bundle {
    batch: Vec<(Item, Outcome)>,
    count: usize,
    /// Some came too late to be applied.
    lost: bool,
    /// How often nobody answered.
    unheard: u32,
    answer: BoxFuture<'static, Told>,
}

impl Bundle {
    pub(super) fn new(batch: Vec<(Item, Outcome)>) -> Self {
        Self { count: batch.len(), batch, lost: false, unheard: 0, answer: Box::pin(ready(Told::Again)) }
    }

    /// Tells the server of what can still be applied, once there is a connection.
    async fn send(&mut self, sub: &GroupSub) -> Result<()> {
        let mut link = sub.shared.link.subscribe();
        let (client, epoch) = loop {
            if !sub.shared.wait_up().await {
                return Err(error::closed("settle"));
            }
            let now = link.borrow_and_update();
            if let Some(client) = now.client() {
                break (client.clone(), now.epoch);
            }
        };
        let now = Instant::now();
        self.batch.retain(|(item, outcome)| {
            let gone = item.moves != sub.moves.load(Ordering::Acquire);
            // The server gives back by itself what ran out there; it need not be told shortly before.
            let late = item.servers_end() <= now + if item.lapsed { item.ack_wait / 2 } else { Duration::ZERO };
            self.lost |= late && !item.lapsed && is_final(*outcome);
            !gone && !late
        });
        if self.batch.is_empty() {
            self.answer = Box::pin(ready(Told::Applied));
            return Ok(());
        }
        let sent = tokio::select! {
            sent = publish(sub, &client, &mut self.batch) => sent,
            _ = link.wait_for(|link| !link.up || link.epoch != epoch) => None,
        };
        self.answer = match sent {
            None => Box::pin(ready(Told::Again)),
            Some(answer) => Box::pin(async move {
                tokio::select! {
                    biased;
                    told = answer => told,
                    _ = link.wait_for(|link| !link.up || link.epoch != epoch) => Told::Again,
                }
            }),
        };
        Ok(())
    }

    /// Tells the server again as long as that is needed, and then whoever waits for it.
    pub(super) async fn conclude(mut self, sub: &GroupSub, mut told: Told) {
        let outcome = loop {
            match told {
                Told::Applied => break Ok(()),
                Told::Again => {}
                Told::Unheard(_) if self.unheard < TRIES => {
                    self.unheard += 1;
                    sleep(SEEN_WITHIN / TRIES / 2).await;
                }
                // Their consumer is gone, or has never given them.
                Told::Unheard(consumers) => self.batch.retain(|(item, outcome)| {
                    let gone = consumers.contains(&item.consumer);
                    self.lost |= gone && is_final(*outcome);
                    !gone
                }),
            }
            if sub.shared.kill.is_cancelled() {
                break Err(error::closed("settle"));
            }
            if let Err(error) = self.send(sub).await {
                break Err(error);
            }
            told = (&mut self.answer).await;
        };
        let outcome = if self.lost { outcome.and(Err(stale("settle"))) } else { outcome };
        sub.desk.told(self.count, outcome);
    }
}

/// Publishes settlements, and gives what waits for the answers; nothing if the client does not take them.
async fn publish(sub: &GroupSub, client: &Client, batch: &mut [(Item, Outcome)]) -> Option<BoxFuture<'static, Told>> {
    let failed = batch.iter().filter(|(item, outcome)| {
        // A lease that ran out without the member's doing is no failure of its handler; and each is recorded once.
        let own = !item.lapsed || item.until.is_some();
        own && item.slot.is_some() && matches!(outcome, Outcome::Nack(_))
    });
    let failed: Vec<_> = failed.map(|(item, _)| ((item.consumer.clone(), item.sequence), item.attempt)).collect();
    if !failed.is_empty() {
        sub.shared.record_failures(client, &failed).await;
    }
    let mut last: Vec<(Arc<str>, usize)> = Vec::new();
    for (index, (item, _)) in batch.iter().enumerate().rev() {
        if !last.iter().any(|(consumer, _)| *consumer == item.consumer) {
            last.push((item.consumer.clone(), index));
        }
    }
    let (mut asked, mut slots) = (Vec::new(), Vec::new());
    for (index, (item, outcome)) in batch.iter_mut().enumerate() {
        let asks = last.iter().any(|(_, last)| *last == index);
        if !asks && client.publish(item.reply.clone(), payload(*outcome)).await.is_err() {
            return None;
        }
        match outcome {
            // Counted once, though it may be told twice.
            Outcome::Release if item.slot.is_some() => sub.shared.note_released(&item.consumer, item.sequence),
            Outcome::Ack | Outcome::Reject => {
                sub.shared.forget_released(&item.consumer, item.sequence);
                if item.attempt > 1 {
                    sub.shared.forget_failures(client, &item.consumer, item.sequence).await;
                }
            }
            _ => {}
        }
        let slot = item.slot.take();
        if asks {
            slots.extend(slot);
            let request = Request::new().payload(payload(*outcome)).timeout(Some(SEEN_WITHIN));
            let (client, reply, consumer) = (client.clone(), item.reply.clone(), item.consumer.clone());
            asked.push(async move { (consumer, client.send_request(reply, request).await) });
        }
    }
    let mut answers = join_all(asked).boxed();
    // Now they are on their way, and their places are free.
    let ready = poll!(answers.as_mut());
    drop(slots);
    Some(Box::pin(async move {
        let answers = match ready {
            Poll::Ready(answers) => answers,
            Poll::Pending => answers.await,
        };
        let mut unheard = Vec::new();
        for (consumer, answer) in answers {
            match answer {
                Ok(_) => {}
                Err(fault) if matches!(fault.kind(), RequestErrorKind::NoResponders | RequestErrorKind::TimedOut) => {
                    unheard.push(consumer);
                }
                Err(_) => return Told::Again,
            }
        }
        if unheard.is_empty() { Told::Applied } else { Told::Unheard(unheard) }
    }))
}
