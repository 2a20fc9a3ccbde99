//! A responder at work.

use std::{
    future::Future,
    panic::AssertUnwindSafe,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    task::Poll,
};

use futures_util::FutureExt;
use pubsub_core::{
    Events, Message, PubSub, Raw, Received,
    driver::BoxFuture,
    rpc::{Failure, ReplyBody, ReplyTo},
};
use tokio::{sync::oneshot, task::JoinSet};

use super::ResponderStats;

/// A request in the hands of its handler.
pub(super) struct Asked {
    pub(super) bus: PubSub,
    pub(super) message: Arc<Message>,
    pub(super) to: ReplyTo,
}

/// Decodes a request, handles it, and says the last word.
pub(super) type Execute = Arc<dyn Fn(Asked) -> BoxFuture<'static, ReplyBody> + Send + Sync>;

/// What all requests of a responder share.
pub(super) struct Server {
    pub(super) bus: PubSub,
    pub(super) group: String,
    pub(super) replies: bool,
    pub(super) execute: Execute,
    pub(super) counts: Arc<Counts>,
}

#[derive(Debug, Default)]
pub(super) struct Counts {
    answered: AtomicU64,
    expired: AtomicU64,
    cut_off: AtomicU64,
    undelivered: AtomicU64,
    panicked: AtomicU64,
    unasked: AtomicU64,
    malformed: AtomicU64,
    errors: AtomicU64,
}

impl Counts {
    pub(super) fn read(&self) -> ResponderStats {
        let read = |count: &AtomicU64| count.load(Ordering::Relaxed);
        ResponderStats {
            answered: read(&self.answered),
            expired: read(&self.expired),
            cut_off: read(&self.cut_off),
            undelivered: read(&self.undelivered),
            panicked: read(&self.panicked),
            unasked: read(&self.unasked),
            malformed: read(&self.malformed),
            errors: read(&self.errors),
        }
    }
}

fn add(count: &AtomicU64) {
    count.fetch_add(1, Ordering::Relaxed);
}

/// Takes requests until it is stopped or the bus is closed, then finishes those at work.
pub(super) async fn serve(
    mut requests: Events<Raw>,
    server: Arc<Server>,
    concurrency: usize,
    mut stopped: oneshot::Receiver<()>,
) {
    let mut running = JoinSet::new();
    loop {
        if running.len() >= concurrency {
            running.join_next().await;
            continue;
        }
        let next = std::future::poll_fn(|cx| {
            // Whoever dropped the other end aborts this task anyway.
            if Pin::new(&mut stopped).poll(cx).is_ready() {
                return Poll::Ready(None);
            }
            while let Poll::Ready(Some(_)) = running.poll_join_next(cx) {}
            std::pin::pin!(requests.next()).poll(cx)
        });
        match next.await {
            Some(Ok(request)) => {
                let server = server.clone();
                running.spawn(async move { server.answer(request).await });
            }
            Some(Err(_)) => add(&server.counts.errors),
            None => break,
        }
    }
    drop(requests);
    while running.join_next().await.is_some() {}
}

impl Server {
    async fn answer(&self, request: Received<Raw>) {
        let counts = &*self.counts;
        let (message, ack) = request.split();
        let to = match ReplyTo::of(&message) {
            Ok(Some(to)) => to.by(&self.group),
            Ok(None) => {
                add(&counts.unasked);
                return ack.ack();
            }
            Err(error) => {
                add(&counts.malformed);
                // In a group, which this is, it always can be rejected.
                let _ = ack.reject(error);
                return;
            }
        };
        if to.is_expired(self.bus.clock().now()) {
            add(&counts.expired);
            return ack.ack();
        }
        if !ack.is_live() {
            return; // somebody else has it by now
        }
        let asked = Asked { bus: self.bus.clone(), message, to: to.clone() };
        match self.execute(asked).await {
            None => add(&counts.cut_off),
            Some(last) if self.replies => match self.bus.reply(&to, last).await {
                Ok(()) => add(&counts.answered),
                Err(_) => add(&counts.undelivered),
            },
            Some(_) => {}
        }
        ack.ack();
    }

    /// The last word of the handler; `None` if the deadline came before it.
    async fn execute(&self, asked: Asked) -> Option<ReplyBody> {
        let deadline = asked.to.deadline();
        // Calling the handler may panic as well as polling what it gives.
        let execute = self.execute.clone();
        let work = AssertUnwindSafe(async move { execute(asked).await }).catch_unwind();
        let mut work = std::pin::pin!(work);
        // Most handlers that answer from memory are done before there is anything to time.
        let mut over = None;
        let ended = std::future::poll_fn(|cx| match (work.as_mut().poll(cx), deadline) {
            (Poll::Ready(ended), _) => Poll::Ready(Some(ended)),
            (Poll::Pending, None) => Poll::Pending,
            (Poll::Pending, Some(deadline)) => {
                let over = over.get_or_insert_with(|| self.bus.clock().sleep_until(deadline));
                over.as_mut().poll(cx).map(|()| None)
            }
        });
        Some(ended.await?.unwrap_or_else(|_| {
            add(&self.counts.panicked);
            ReplyBody::Failure(Failure::internal("the handler panicked"))
        }))
    }
}
