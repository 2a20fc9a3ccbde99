//! Faults on the way out.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use pubsub_core::{
    AckHandle, Delivery, Message, Result, StartPosition, Timestamp,
    driver::{BoxFuture, Chunk, Item, Outcome, Source},
};
use tokio::time::{Sleep, sleep};

use super::{Fault, adapter::twisted, settler::FaultySettler};

/// How long an event waits for a later one to overtake it.
const PATIENCE: Duration = Duration::from_millis(20);

/// A source with a fault around a sound one.
pub(super) struct FaultySource {
    inner: Box<dyn Source>,
    fault: Fault,
    settler: Arc<FaultySettler>,
    lease: Duration,
    taken: Chunk,
    lost_one: bool,
    old: Vec<Arc<Message>>,
    overtaken: Option<(Delivery, Pin<Box<Sleep>>)>,
}

impl FaultySource {
    pub(super) fn new(
        inner: Box<dyn Source>,
        fault: Fault,
        settler: Arc<FaultySettler>,
        lease: Duration,
        old: Vec<Arc<Message>>,
    ) -> Self {
        Self { inner, fault, settler, lease, taken: Chunk::default(), lost_one: false, old, overtaken: None }
    }

    fn pass(&mut self, delivery: Delivery, chunk: &mut Chunk) {
        match self.fault {
            Fault::LoseMessage if !self.lost_one => {
                self.lost_one = true;
                delivery.ack();
            }
            Fault::Duplicate => {
                let twin = Delivery::new(delivery.message.clone(), AckHandle::none()).attempt(delivery.attempt);
                chunk.push(delivery);
                chunk.push(twin);
            }
            Fault::Reorder => match self.overtaken.take() {
                Some((earlier, _)) => {
                    chunk.push(delivery);
                    chunk.push(earlier);
                }
                None => self.overtaken = Some((delivery, Box::pin(sleep(PATIENCE)))),
            },
            Fault::AttemptStuck => chunk.push(delivery.attempt(1)),
            Fault::LeaseFromCreation if Timestamp::now().since(delivery.message.timestamp()) > self.lease => {
                // Its time was over before it arrived: somebody else gets it at once.
                let late = Delivery::new(delivery.message.clone(), AckHandle::none()).attempt(delivery.attempt);
                delivery.settle_as(Outcome::Nack(Duration::ZERO));
                chunk.push(late);
            }
            Fault::DropAck
            | Fault::RedeliverAcked
            | Fault::IgnoreNack
            | Fault::NackDelayIgnored
            | Fault::RejectRequeues
            | Fault::CumulativeAck
            | Fault::DropAcks
            | Fault::CloseLosesBuffer
            | Fault::ExtendIgnored
            | Fault::LeaseNeverEnds
            | Fault::ReleaseLoses
            | Fault::SilentUnsupported => {
                let mut delivery = delivery;
                let token = self.settler.hold(std::mem::replace(&mut delivery.ack, AckHandle::none()));
                delivery.ack = AckHandle::new(self.settler.clone(), token);
                chunk.push(delivery);
            }
            _ => chunk.push(delivery),
        }
    }
}

impl Source for FaultySource {
    fn poll_chunk(&mut self, cx: &mut Context<'_>, chunk: &mut Chunk) -> Poll<Option<Result<()>>> {
        if let Some(message) = self.old.pop() {
            chunk.push(Delivery::new(message, AckHandle::none()));
            return Poll::Ready(Some(Ok(())));
        }
        loop {
            if let Some((delivery, mut patience)) = self.overtaken.take() {
                if patience.as_mut().poll(cx).is_ready() {
                    chunk.push(delivery);
                    return Poll::Ready(Some(Ok(())));
                }
                self.overtaken = Some((delivery, patience));
            }
            let outcome = ready!(self.inner.poll_chunk(cx, &mut self.taken));
            while let Some(item) = self.taken.pop() {
                match item {
                    Item::Delivery(delivery) => self.pass(delivery, chunk),
                    item => chunk.push_item(item),
                }
            }
            if !chunk.is_empty() || !matches!(outcome, Some(Ok(()))) {
                return Poll::Ready(outcome);
            }
        }
    }

    fn seek(&mut self, to: StartPosition) -> BoxFuture<'_, Result<()>> {
        self.inner.seek(if self.fault == Fault::WrongPosition { twisted(&to) } else { to })
    }

    fn set_paused(&mut self, paused: bool) {
        self.inner.set_paused(paused);
    }
}
