//! A broadcast's cursor in one durable channel: a consumer without settlement, made anew from where it was.

use std::{sync::Arc, time::Duration};

use async_nats::jetstream::consumer::{AckPolicy, pull};
use pubsub_core::{
    AckHandle, Delivery, Result, StartPosition,
    driver::{Gap, GapReason, SubscriptionState},
};
use tokio::{
    sync::watch,
    time::{Instant, sleep, sleep_until},
};

use super::{
    broadcast::{BroadcastSub, Command},
    group::consumer_fault,
    history::{From, position, resolve},
    puller::{Arrived, Heard, Puller},
    topology::{Route, born},
};
use crate::common::{backoff::Backoff, unreadable};

/// How many events are asked for at a time.
const AHEAD: usize = 1_000;

/// A cursor in one channel.
pub(super) struct Reader {
    sub: Arc<BroadcastSub>,
    route: Arc<Route>,
    puller: Puller,
    consumer: String,
    born: u64,
    from: From,
    /// The consumer's last number: each is the one before and one more.
    last: u64,
}

/// Why a reader stopped.
enum Stop {
    End,
    Lost(String),
    /// Something is missing, or a command came: open again at once.
    Again,
}

impl Reader {
    /// Opens a cursor.
    ///
    /// # Errors
    /// `PositionExpired`, `Invalid`, `Unsupported`, and what the server says.
    pub(super) async fn open(sub: Arc<BroadcastSub>, route: Arc<Route>, start: &StartPosition) -> Result<Self> {
        let info = sub.shared.must_exist("subscribe", &route.channel).await?;
        let from = resolve(&route.channel, &info, start, true)?;
        let (puller, consumer) = make(&sub, &route, from).await?;
        Ok(Self { sub, puller, consumer, born: born(&info), route, from, last: 0 })
    }

    /// The task.
    pub(super) async fn run(mut self) {
        let sub = self.sub.clone();
        let mut command = sub.command.subscribe();
        loop {
            let stop = tokio::select! {
                stop = self.read(&mut command) => stop,
                () = sub.over() => Stop::End,
            };
            if matches!(stop, Stop::End) {
                break;
            }
            self.forget_consumer().await;
            let halt = match &*command.borrow_and_update() {
                Command::Halt(number) => Some(*number),
                Command::Go(number, places) => {
                    if sub
                        .readers
                        .lock()
                        .is_ok_and(|readers| readers.get(&self.route.channel).is_some_and(|at| at < number))
                        && let Some(from) = places.get(&self.route.channel)
                    {
                        self.from = *from;
                    }
                    None
                }
            };
            if let Some(number) = halt {
                sub.obeyed(&self.route.channel, number);
                let go = tokio::select! {
                    go = command.wait_for(|command| matches!(command, Command::Go(at, _) if *at >= number)) => go,
                    () = sub.over() => break,
                };
                let Ok(go) = go else { break };
                if let Command::Go(_, places) = &*go
                    && let Some(from) = places.get(&self.route.channel)
                {
                    self.from = *from;
                }
            }
            let why = match stop {
                Stop::Lost(why) => Some(why),
                _ => None,
            };
            let reopened = tokio::select! {
                reopened = self.reopen(why) => reopened,
                () = sub.over() => false,
            };
            if !reopened {
                break;
            }
        }
        self.forget_consumer().await;
    }

    async fn forget_consumer(&mut self) {
        let stream = self.sub.shared.names.stream(&self.route.channel);
        if self.sub.shared.link.borrow().up
            && let Ok((client, _)) = self.sub.shared.connected("unsubscribe", Duration::ZERO).await
        {
            // Nobody waits for the answer; without it, the consumer goes by itself.
            let subject = format!("$JS.API.CONSUMER.DELETE.{stream}.{}", self.consumer);
            client.publish(subject, bytes::Bytes::new()).await.ok();
        }
    }

    /// Opens the cursor again, as long as it takes.
    async fn reopen(&mut self, why: Option<String>) -> bool {
        let mut told = false;
        if let Some(why) = why {
            self.sub.feed.state(SubscriptionState::Recovering(why));
            told = true;
        }
        let mut backoff = Backoff::default();
        loop {
            match self.try_reopen().await {
                Ok(()) => {
                    if told {
                        self.sub.feed.state(SubscriptionState::Active);
                    }
                    return true;
                }
                Err(error) => {
                    self.sub.feed.state(SubscriptionState::Recovering(error.to_string()));
                    told = true;
                }
            }
            if self.sub.shared.is_closed() {
                return false;
            }
            sleep(backoff.next()).await;
        }
    }

    async fn try_reopen(&mut self) -> Result<()> {
        let (shared, channel) = (&self.sub.shared, &self.route.channel);
        let info = shared.restore(&self.route).await?;
        let (first, end) = (info.state.first_sequence.max(1), info.state.last_sequence + 1);
        if born(&info) != self.born {
            self.sub.feed.gap(Gap::new(channel.clone(), None, GapReason::DataLoss));
            (self.born, self.from) = (born(&info), From::Sequence(1));
        } else if let From::Sequence(next) = self.from {
            if next < first {
                self.sub.feed.gap(Gap::new(channel.clone(), Some(first - next), GapReason::Retention));
                self.from = From::Sequence(first);
            } else if next > end {
                // The server has lost what it had sent.
                self.sub.feed.gap(Gap::new(channel.clone(), None, GapReason::DataLoss));
                self.from = From::Sequence(end);
            }
        }
        let (puller, consumer) = make(&self.sub, &self.route, self.from).await?;
        (self.puller, self.consumer, self.last) = (puller, consumer, 0);
        Ok(())
    }

    async fn read(&mut self, command: &mut watch::Receiver<Command>) -> Stop {
        let sub = self.sub.clone();
        let mut link = sub.shared.link.subscribe();
        let epoch = link.borrow_and_update().epoch;
        loop {
            {
                let link = link.borrow_and_update();
                if !link.up || link.epoch != epoch {
                    return Stop::Lost("the connection is lost, and is being restored".to_owned());
                }
            }
            if matches!(&*command.borrow(), Command::Halt(_)) {
                return Stop::Again;
            }
            let room = match (sub.feed.is_paused(), sub.is_lossless()) {
                (true, _) => 0,
                (false, true) => AHEAD.saturating_sub(sub.feed.len()),
                (false, false) => AHEAD,
            };
            if room > 0
                && let Err(error) = self.puller.want(room).await
            {
                return Stop::Lost(error.to_string());
            }
            let silence = self.puller.silence();
            let wake = silence.unwrap_or_else(|| Instant::now() + Duration::from_secs(5));
            let full = room == 0 && !sub.feed.is_paused();
            let heard = tokio::select! {
                heard = self.puller.hear() => Some(heard),
                () = sub.feed.room(AHEAD / 2), if full => None,
                () = sub.feed.resumed(), if sub.feed.is_paused() => None,
                _ = link.changed() => None,
                _ = command.changed() => return Stop::Again,
                () = sleep_until(wake) => {
                    if silence.is_some() && self.puller.silence().is_some_and(|end| end <= Instant::now()) {
                        return Stop::Lost("the server sends no signs of life for this channel".to_owned());
                    }
                    None
                }
            };
            let mut next = heard;
            let mut taken = 0;
            while let Some(heard) = next.take() {
                match heard {
                    Heard::Event(arrived) => {
                        if !self.hand_out(arrived).await {
                            return Stop::Again;
                        }
                    }
                    Heard::Nothing | Heard::Less => {}
                    Heard::Gone(why) => return Stop::Lost(why),
                }
                taken += 1;
                if taken < 256 {
                    next = self.puller.hear_now();
                }
            }
        }
    }

    /// Hands out one event; false if some before it are missing here.
    async fn hand_out(&mut self, mut arrived: Arrived) -> bool {
        if arrived.consumer_sequence != self.last + 1 {
            return false;
        }
        let (sub, channel) = (&self.sub, &self.route.channel);
        if let From::Sequence(next) = self.from
            && arrived.sequence > next
            && let Ok(Some(info)) = sub.shared.stream("receive", channel).await
        {
            // Scheduled events lie between, too; only what is before the stream's first is gone.
            let lost = info.state.first_sequence.min(arrived.sequence).saturating_sub(next);
            if lost > 0 {
                sub.feed.gap(Gap::new(channel.clone(), Some(lost), GapReason::Retention));
            }
        }
        self.last = arrived.consumer_sequence;
        self.from = From::Sequence(arrived.sequence + 1);
        if let Some((message, fault)) = arrived.read(&sub.shared, channel) {
            let at = position(arrived.sequence, self.born);
            let delivery = unreadable::mark(Delivery::new(message, AckHandle::none()).at(at), fault);
            if sub.is_lossless() {
                sub.feed.deliver(delivery);
            } else {
                sub.feed.broadcast(delivery, sub.options.slow, sub.buffer());
            }
        }
        true
    }
}

async fn make(sub: &BroadcastSub, route: &Route, from: From) -> Result<(Puller, String)> {
    let config = pull::Config {
        deliver_policy: from.policy(),
        ack_policy: AckPolicy::None,
        filter_subject: sub.shared.names.durable(&route.channel, "*"),
        inactive_threshold: Duration::from_secs(60),
        memory_storage: true,
        num_replicas: 1,
        ..pull::Config::default()
    };
    let context = sub.shared.context("subscribe").await?;
    let stream = sub.shared.names.stream(&route.channel);
    let made = context.create_consumer_on_stream(config, &stream).await;
    let made = made.map_err(|cause| consumer_fault("subscribe", cause).on(&route.channel))?;
    let name = made.cached_info().name.clone();
    Ok((Puller::open(&sub.shared, &stream, &name).await?, name))
}
