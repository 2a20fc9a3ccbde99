//! Faults between a sound source and whoever reads it.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll, Waker, ready},
};

use pubsub_core::{
    ChannelName, Delivery, Result, StartPosition,
    driver::{BoxFuture, Chunk, Item, Source},
};

use super::Fault;

/// A source that hands out less than it is given.
pub(super) struct FaultyReader {
    inner: Box<dyn Source>,
    fault: Fault,
    taken: Chunk,
    /// The channel that all others wait for, and what they wait with.
    busy: Option<ChannelName>,
    starved: Vec<Delivery>,
    /// Meant for the receive with this waker, and gone with it.
    promised: Option<(Delivery, Waker)>,
    /// Whether a subscription of the same adapter has ended.
    stopped: Arc<AtomicBool>,
}

impl FaultyReader {
    pub(super) fn new(inner: Box<dyn Source>, fault: Fault, stopped: Arc<AtomicBool>) -> Self {
        Self { inner, fault, taken: Chunk::default(), busy: None, starved: Vec::new(), promised: None, stopped }
    }

    fn pass(&mut self, item: Item, chunk: &mut Chunk) {
        match (self.fault, item) {
            (Fault::GapsSwallowed, Item::Gap(_)) => {}
            (Fault::QuietStarves, Item::Delivery(delivery)) => {
                let busy = self.busy.get_or_insert_with(|| delivery.message.channel().clone());
                match delivery.message.channel() == busy {
                    true => chunk.push(delivery),
                    false => self.starved.push(delivery),
                }
            }
            (_, item) => chunk.push_item(item),
        }
    }

    /// Gives an event to the next poll of the same receive only.
    fn promise(&mut self, cx: &mut Context<'_>, chunk: &mut Chunk) -> Poll<Option<Result<()>>> {
        loop {
            match self.promised.take() {
                Some((delivery, waker)) if waker.will_wake(cx.waker()) => {
                    chunk.push(delivery);
                    return Poll::Ready(Some(Ok(())));
                }
                Some((delivery, _)) => delivery.ack(),
                None => {}
            }
            match self.taken.pop() {
                Some(Item::Delivery(delivery)) => {
                    self.promised = Some((delivery, cx.waker().clone()));
                    cx.waker().wake_by_ref();
                    return Poll::Pending;
                }
                Some(item) => {
                    chunk.push_item(item);
                    return Poll::Ready(Some(Ok(())));
                }
                None => match ready!(self.inner.poll_chunk(cx, &mut self.taken)) {
                    Some(Ok(())) => {}
                    other => return Poll::Ready(other),
                },
            }
        }
    }
}

impl Source for FaultyReader {
    fn poll_chunk(&mut self, cx: &mut Context<'_>, chunk: &mut Chunk) -> Poll<Option<Result<()>>> {
        match self.fault {
            Fault::DropStopsSiblings if self.stopped.load(Ordering::Acquire) => return Poll::Ready(None),
            Fault::CancelLoses => return self.promise(cx, chunk),
            _ => {}
        }
        loop {
            let outcome = ready!(self.inner.poll_chunk(cx, &mut self.taken));
            while let Some(item) = self.taken.pop() {
                self.pass(item, chunk);
            }
            if !chunk.is_empty() || !matches!(outcome, Some(Ok(()))) {
                return Poll::Ready(outcome);
            }
        }
    }

    fn seek(&mut self, to: StartPosition) -> BoxFuture<'_, Result<()>> {
        match self.fault {
            Fault::SeekIgnored => Box::pin(async { Ok(()) }),
            _ => self.inner.seek(to),
        }
    }

    fn set_paused(&mut self, paused: bool) {
        self.inner.set_paused(paused);
    }
}

impl Drop for FaultyReader {
    fn drop(&mut self) {
        self.stopped.store(true, Ordering::Release);
    }
}
