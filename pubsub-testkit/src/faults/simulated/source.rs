//! A subscription that breaks and is restored as the server's condition says.

use std::{
    collections::VecDeque,
    pin::Pin,
    sync::{Arc, atomic::Ordering},
    task::{Context, Poll},
};

use pubsub_core::{
    AckHandle, ChannelPattern, Delivery, ErrorKind, Result, StartPosition,
    driver::{BoxFuture, Chunk, Gap, GapReason, Item, Source, SubscribeOptions, Subscription, SubscriptionState},
};
use tokio::{
    sync::watch,
    time::{Sleep, sleep},
};

use super::{
    Flaw,
    leases::Leases,
    server::{Condition, Server},
};

use crate::faulty::Fault;

type Changed<T> = BoxFuture<'static, (watch::Receiver<T>, bool)>;

pub(super) struct SimulatedSource {
    server: Arc<Server>,
    prefix: String,
    strict: bool,
    options: SubscribeOptions,
    known: Condition,
    condition: Changed<Condition>,
    frozen: bool,
    freezing: Changed<bool>,
    inner: Option<Subscription>,
    opening: Option<BoxFuture<'static, Result<Subscription>>>,
    recovered: bool,
    zombies: Vec<(Subscription, Vec<Delivery>)>,
    hoard: VecDeque<Delivery>,
    overtaken: Option<Delivery>,
    leases: Arc<Leases>,
    /// What it misses while it is away, nobody keeps for it.
    lossy: bool,
    /// Until the leases of a stopped process end.
    ending: Option<Pin<Box<Sleep>>>,
}

impl SimulatedSource {
    pub(super) async fn open(
        server: Arc<Server>,
        prefix: String,
        strict: bool,
        options: SubscribeOptions,
        mut frozen: watch::Receiver<bool>,
        leases: Arc<Leases>,
    ) -> Result<Self> {
        let mut watch = server.watch();
        let known = *watch.borrow_and_update();
        frozen.mark_unchanged();
        let mut source = Self {
            server,
            prefix,
            strict,
            options,
            known,
            condition: changed(watch),
            frozen: false,
            freezing: changed(frozen),
            inner: None,
            opening: None,
            recovered: false,
            zombies: Vec::new(),
            hoard: VecDeque::new(),
            overtaken: None,
            leases,
            lossy: false,
            ending: None,
        };
        source.inner = Some(source.subscribe().await?);
        Ok(source)
    }

    fn subscribe(&self) -> BoxFuture<'static, Result<Subscription>> {
        let (server, prefix, strict) = (self.server.clone(), self.prefix.clone(), self.strict);
        let mut options = self.options.clone();
        let limitless = server.has(Flaw::BuffersAll) || self.recovered && server.has(Flaw::PrefetchForgotten);
        if limitless {
            options.max_in_flight = 65_536;
        }
        Box::pin(async move { server.bus(&prefix, strict)?.subscribe(options).await })
    }

    /// What a change of the server's condition means for the subscription.
    fn follow(&mut self, now: Condition, chunk: &mut Chunk) {
        let before = std::mem::replace(&mut self.known, now);
        let broken = now.breaks != before.breaks || now.losses != before.losses || !now.answers();
        if broken && (self.inner.is_some() || self.opening.is_some()) {
            if !self.server.has(Flaw::SilentRecovery) {
                chunk.push_state(SubscriptionState::Recovering("the server does not answer".to_owned()));
            }
            let inner = self.inner.take();
            self.opening = None;
            self.recovered = true;
            if self.server.has(Flaw::Zombie) {
                self.zombies.extend(inner.map(|subscription| (subscription, Vec::new())));
            }
        }
        if now.losses != before.losses && !self.server.has(Flaw::GapSwallowed) {
            self.gap(GapReason::DataLoss, chunk);
        }
        if now.losses != before.losses && self.options.group.is_none() {
            self.options.start = StartPosition::Stored;
        }
        let idle = self.inner.is_none() && self.opening.is_none();
        if now.answers() && idle && !self.server.has(Flaw::NeverRecovers) {
            self.opening = Some(self.subscribe());
        }
    }

    fn gap(&self, reason: GapReason, chunk: &mut Chunk) {
        for pattern in &self.options.channels {
            if let ChannelPattern::Exact(channel) = pattern {
                chunk.push_gap(Gap::new(channel.clone(), None, reason));
            }
        }
    }

    fn pass(&mut self, mut delivery: Delivery, chunk: &mut Chunk) {
        if self.options.group.is_none() {
            let forgets = self.lossy || self.server.has(Flaw::ForgetsPlace);
            if let Some(position) = delivery.position.as_ref().filter(|_| !forgets) {
                self.options.start = StartPosition::After(position.clone());
            }
        }
        let handle = std::mem::replace(&mut delivery.ack, AckHandle::none());
        delivery.ack = Leases::wrap(&self.leases, handle);
        if self.server.has(Flaw::RepeatsAfterReturn) && self.recovered {
            for _ in 0..2 {
                chunk.push(Delivery::new(delivery.message.clone(), AckHandle::none()));
            }
        }
        if self.server.has(Flaw::Reorders) && delivery.message.key().is_some_and(|key| key.as_str() == "key-1") {
            match self.overtaken.take() {
                None => self.overtaken = Some(delivery),
                Some(earlier) => {
                    chunk.push(delivery);
                    chunk.push(earlier);
                }
            }
            return;
        }
        chunk.push(delivery);
    }

    /// Lets the zombies take what they can get.
    fn haunt(&mut self, cx: &mut Context<'_>) {
        for (subscription, taken) in &mut self.zombies {
            while let Poll::Ready(Some(Ok(item))) = subscription.poll_next(cx) {
                if let Item::Delivery(delivery) = item {
                    taken.push(delivery);
                }
            }
        }
    }

    fn poll_inner(&mut self, cx: &mut Context<'_>, chunk: &mut Chunk) -> Poll<Option<Result<()>>> {
        let Some(inner) = &mut self.inner else { return Poll::Pending };
        if self.server.has(Flaw::BuffersAll) {
            while let Poll::Ready(Some(Ok(Item::Delivery(delivery)))) = inner.poll_next(cx) {
                self.server.hoarded.fetch_add(delivery.message.wire_len() as u64, Ordering::Relaxed);
                self.hoard.push_back(delivery);
            }
            let Some(delivery) = self.hoard.pop_front() else { return Poll::Pending };
            self.server.hoarded.fetch_sub(delivery.message.wire_len() as u64, Ordering::Relaxed);
            chunk.push(delivery);
            return Poll::Ready(Some(Ok(())));
        }
        while chunk.is_empty() {
            match inner.poll_next(cx) {
                Poll::Ready(Some(Ok(Item::Delivery(delivery)))) => {
                    self.pass(delivery, chunk);
                    if chunk.is_empty() {
                        // It was held back; ask again for the next one.
                        cx.waker().wake_by_ref();
                        return Poll::Pending;
                    }
                    return Poll::Ready(Some(Ok(())));
                }
                Poll::Ready(Some(Ok(item))) => chunk.push_item(item),
                Poll::Ready(Some(Err(error))) => return Poll::Ready(Some(Err(error))),
                Poll::Ready(None) => return Poll::Ready(None),
                Poll::Pending => return Poll::Pending,
            }
        }
        Poll::Ready(Some(Ok(())))
    }
}

impl Source for SimulatedSource {
    fn poll_chunk(&mut self, cx: &mut Context<'_>, chunk: &mut Chunk) -> Poll<Option<Result<()>>> {
        while let Poll::Ready((watch, alive)) = self.freezing.as_mut().poll(cx) {
            self.frozen = *watch.borrow();
            let immortal = [Flaw::Always(Fault::LeaseNeverEnds), Flaw::KeepsDead];
            let mortal = self.frozen && !immortal.into_iter().any(|flaw| self.server.has(flaw));
            self.ending = mortal.then(|| Box::pin(sleep(self.options.lease.duration)));
            self.freezing = if alive { changed(watch) } else { Box::pin(std::future::pending()) };
        }
        if let Some(ending) = &mut self.ending
            && ending.as_mut().poll(cx).is_ready()
        {
            self.ending = None;
            self.leases.end();
        }
        if self.frozen {
            return Poll::Pending;
        }
        while let Poll::Ready((watch, alive)) = self.condition.as_mut().poll(cx) {
            let now = *watch.borrow();
            self.condition = if alive { changed(watch) } else { Box::pin(std::future::pending()) };
            self.follow(now, chunk);
        }
        while let Some(opening) = &mut self.opening
            && let Poll::Ready(opened) = opening.as_mut().poll(cx)
        {
            self.opening = None;
            if opened.as_ref().is_err_and(|error| error.kind() == ErrorKind::Unsupported) && !self.lossy {
                // An ephemeral channel has positions, and nothing behind them.
                (self.lossy, self.options.start) = (true, StartPosition::Stored);
                self.opening = Some(self.subscribe());
                continue;
            }
            self.inner = Some(opened?);
            if self.lossy && !self.server.has(Flaw::GapSwallowed) {
                self.gap(GapReason::Disconnected, chunk);
            }
            chunk.push_state(SubscriptionState::Active);
        }
        self.haunt(cx);
        if !chunk.is_empty() {
            return Poll::Ready(Some(Ok(())));
        }
        self.poll_inner(cx, chunk)
    }
}

/// Waits for a change of what is watched; returns whether there may be another one.
fn changed<T: Send + Sync + 'static>(mut watch: watch::Receiver<T>) -> Changed<T> {
    Box::pin(async move {
        let alive = watch.changed().await.is_ok();
        watch.mark_unchanged();
        (watch, alive)
    })
}
