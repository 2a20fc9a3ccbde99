//! A responder at work.

use std::{future::Future, panic::AssertUnwindSafe, pin::Pin, sync::Arc, task::Poll};

use futures_util::FutureExt;
use pubsub_core::{
    Events, Message, PubSub, Raw, Received,
    driver::BoxFuture,
    observe::{Begun, Durations, Hop, Observer, Tally, names},
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

#[derive(Debug)]
pub(super) struct Counts {
    answered: Tally,
    expired: Tally,
    cut_off: Tally,
    undelivered: Tally,
    panicked: Tally,
    unasked: Tally,
    malformed: Tally,
    errors: Tally,
    succeeding: Durations,
    failing: Durations,
}

impl Counts {
    pub(super) fn new(observer: &Observer, channel: &str, group: &str, event: &str) -> Self {
        let (channel, group) = (("channel", channel), ("group", group));
        let series = observer.series(&[channel, group]);
        let durations = |outcome| {
            let series = observer.series(&[channel, group, ("event", event), ("outcome", outcome)]);
            series.durations(&names::HANDLER_DURATION)
        };
        Self {
            answered: Tally::default(),
            expired: series.tally(&names::REQUESTS_EXPIRED),
            cut_off: series.tally(&names::REQUESTS_EXPIRED),
            undelivered: series.tally(&names::REPLIES_UNDELIVERED),
            panicked: Tally::default(),
            unasked: Tally::default(),
            malformed: Tally::default(),
            errors: Tally::default(),
            succeeding: durations("success"),
            failing: durations("failure"),
        }
    }

    pub(super) fn read(&self) -> ResponderStats {
        ResponderStats {
            answered: self.answered.get(),
            expired: self.expired.get(),
            cut_off: self.cut_off.get(),
            undelivered: self.undelivered.get(),
            panicked: self.panicked.get(),
            unasked: self.unasked.get(),
            malformed: self.malformed.get(),
            errors: self.errors.get(),
        }
    }
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
            Some(Err(_)) => server.counts.errors.one(),
            None => break,
        }
    }
    drop(requests);
    while running.join_next().await.is_some() {}
}

impl Server {
    async fn answer(&self, request: Received<Raw>) {
        let hop = request.hop();
        hop.run(self.answer_within(&hop, request)).await;
    }

    async fn answer_within(&self, hop: &Hop, request: Received<Raw>) {
        let counts = &*self.counts;
        let (message, ack) = request.split();
        let to = match ReplyTo::of(&message) {
            Ok(Some(to)) => to.by(&self.group),
            Ok(None) => {
                counts.unasked.one();
                return ack.ack();
            }
            Err(error) => {
                counts.malformed.one();
                // In a group, which this is, it always can be rejected.
                let _ = ack.reject(error);
                return;
            }
        };
        if to.is_expired(self.bus.clock().now()) {
            counts.expired.one();
            return ack.ack();
        }
        if !ack.is_live() {
            return; // somebody else has it by now
        }
        let asked = Asked { bus: self.bus.clone(), message, to: to.clone() };
        let begun = Begun::now();
        let ended = self.execute(asked).await;
        match &ended {
            Some(ReplyBody::Failure(failure)) => {
                counts.failing.since(begun);
                hop.failed(failure.code.as_str(), failure);
            }
            Some(_) => {
                counts.succeeding.since(begun);
                hop.succeeded();
            }
            None => hop.failed("deadline exceeded", &"the deadline came before the answer"),
        }
        match ended {
            None => counts.cut_off.one(),
            Some(last) if self.replies => match self.bus.reply(&to, last).await {
                Ok(()) => counts.answered.one(),
                Err(_) => counts.undelivered.one(),
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
            self.counts.panicked.one();
            ReplyBody::Failure(Failure::internal("the handler panicked"))
        }))
    }
}
