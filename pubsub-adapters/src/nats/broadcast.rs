//! Broadcasts: ephemeral channels by subject, durable ones by a cursor of one's own.

use std::{
    collections::{BTreeSet, HashMap},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use async_nats::{Message as NatsMessage, Subscriber};
use futures_util::{FutureExt, StreamExt, stream::select_all};
use pubsub_core::{
    AckHandle, ChannelName, ChannelPattern, Delivery, Error, ErrorKind, Result, StartPosition, Timestamp,
    driver::{BoxFuture, GapReason, SlowConsumer, SubscribeOptions, Subscription, SubscriptionState},
};
use tokio::{
    sync::watch,
    time::{MissedTickBehavior, interval, sleep},
};

use super::{
    connection::{REQUEST, Shared},
    error,
    history::{From, resolve},
    reader,
    subscriber::{exact_routes, matching},
    wire,
};
use crate::common::{
    feed::{Control, Feed},
    unreadable,
};

/// How many events a reader may lag behind where it does not say.
const BUFFER: usize = 16_384;
const LOOK: Duration = Duration::from_secs(3);
const NEWS: &str = "$JS.EVENT.ADVISORY.STREAM.CREATED.>";

/// A seek in two steps: readers stop, and go on elsewhere.
#[derive(Clone, Debug)]
pub(super) enum Command {
    Go(u64, Arc<HashMap<ChannelName, From>>),
    Halt(u64),
}

/// What the readers of one broadcast share.
pub(super) struct BroadcastSub {
    pub(super) shared: Arc<Shared>,
    pub(super) options: SubscribeOptions,
    pub(super) feed: Feed,
    pub(super) command: watch::Sender<Command>,
    /// The durable channels that are read, and the last halt that each reader has obeyed.
    pub(super) readers: Mutex<HashMap<ChannelName, u64>>,
}

impl BroadcastSub {
    pub(super) fn buffer(&self) -> usize {
        self.options.buffer.unwrap_or(BUFFER)
    }

    /// Whether the server is held back instead of anything being dropped.
    pub(super) fn is_lossless(&self) -> bool {
        self.options.buffer.is_none() && self.options.slow == SlowConsumer::DropOldest
    }

    pub(super) async fn over(&self) {
        tokio::select! {
            () = self.feed.gone().cancelled() => {}
            () = self.shared.closing.cancelled() => {}
        }
    }

    pub(super) fn obeyed(&self, channel: &ChannelName, halt: u64) {
        self.readers.lock().unwrap_or_else(PoisonError::into_inner).insert(channel.clone(), halt);
    }

    fn spawn(&self, future: impl Future<Output = ()> + Send + 'static) {
        let kill = self.shared.kill.clone();
        self.shared.readers.spawn(async move {
            tokio::select! {
                () = kill.cancelled() => {}
                () = future => {}
            }
        });
    }

    /// Opens a durable channel, unless it is open.
    async fn open(self: &Arc<Self>, channel: &ChannelName, start: &StartPosition) -> Result<Option<reader::Reader>> {
        if self.readers.lock().unwrap_or_else(PoisonError::into_inner).contains_key(channel) {
            return Ok(None);
        }
        let route = self.shared.route("subscribe", channel).await?;
        let reader = reader::Reader::open(self.clone(), route, start).await?;
        self.obeyed(channel, 0);
        Ok(Some(reader))
    }
}

/// Opens a broadcast.
///
/// # Errors
/// As [`Subscriber::subscribe`](pubsub_core::driver::Subscriber::subscribe).
pub(super) async fn subscribe(shared: &Arc<Shared>, options: SubscribeOptions) -> Result<Subscription> {
    if options.slow == SlowConsumer::Block {
        let text = "nothing holds a publisher back for a broadcast: let it drop the oldest, or be disconnected";
        return Err(Error::new(ErrorKind::Unsupported, "subscribe", text));
    }
    let (durable, ephemeral): (Vec<_>, Vec<_>) =
        exact_routes(shared, &options).await?.into_iter().partition(|route| route.is_durable());
    let from_history = !matches!(options.start, StartPosition::Stored | StartPosition::Latest);
    let wildcards: Vec<_> = options.channels.iter().filter(|pattern| pattern.is_wildcard()).cloned().collect();
    if from_history && let Some(route) = ephemeral.first() {
        let text = "an ephemeral channel has no history to start from";
        return Err(Error::new(ErrorKind::Unsupported, "subscribe", text).on(&route.channel));
    }
    let mut patterns: Vec<ChannelPattern> = ephemeral.iter().map(|route| route.channel.clone().into()).collect();
    if options.reach.ephemeral {
        patterns.extend(wildcards.iter().cloned());
    }
    let follow = options.reach.durable && !wildcards.is_empty();
    let control = BroadcastControl(Arc::default());
    let slot = control.0.clone();
    let (feed, source) = Feed::new(control);
    let command = watch::Sender::new(Command::Go(0, Arc::default()));
    let sub = Arc::new(BroadcastSub { shared: shared.clone(), feed, command, readers: Mutex::default(), options });
    let start = sub.options.start.clone();
    let mut readers = Vec::new();
    for route in &durable {
        readers.extend(sub.open(&route.channel, &start).await?);
    }
    if follow {
        for channel in matching(shared, &wildcards).await? {
            readers.extend(sub.open(&channel, &start).await?);
        }
    }
    let subjects = open_subjects(shared, &without_covered(patterns)).await?;
    let _ = slot.set(sub.clone());
    for reader in readers {
        sub.spawn(reader.run());
    }
    if let Some((subscribers, patterns)) = subjects {
        let task = sub.clone();
        sub.spawn(async move { listen(task, subscribers, patterns).await });
    }
    if follow {
        let task = sub.clone();
        sub.spawn(async move { look_again_and_again(task, wildcards).await });
    }
    let task = sub.clone();
    sub.spawn(async move {
        task.over().await;
        task.feed.end();
    });
    Ok(Subscription::new(source))
}

/// A broadcast of one subject: a private inbox.
pub(super) async fn subscribe_inbox(shared: &Arc<Shared>, address: &ChannelName) -> Result<Subscription> {
    let mut options = SubscribeOptions::new(vec![address.clone().into()]);
    options.reach.durable = false;
    subscribe(shared, options).await
}

/// Patterns of which none takes what another one takes: each event comes once.
fn without_covered(patterns: Vec<ChannelPattern>) -> Vec<ChannelPattern> {
    let covers = |wide: &ChannelPattern, narrow: &ChannelPattern| match (wide, narrow) {
        (ChannelPattern::All, ChannelPattern::All) => true,
        (ChannelPattern::All, ChannelPattern::Exact(channel)) => !channel.is_internal(),
        (ChannelPattern::All, ChannelPattern::Family(_)) => true,
        (ChannelPattern::Family(one), ChannelPattern::Family(two)) => one == two || wide.matches(two),
        (wide, ChannelPattern::Exact(channel)) => wide.matches(channel),
        _ => false,
    };
    let mut kept: Vec<ChannelPattern> = Vec::new();
    for pattern in patterns {
        if kept.iter().any(|wide| covers(wide, &pattern)) {
            continue;
        }
        kept.retain(|narrow| !covers(&pattern, narrow));
        kept.push(pattern);
    }
    kept
}

type Subjects = (Vec<Subscriber>, Vec<ChannelPattern>);

async fn open_subjects(shared: &Arc<Shared>, patterns: &[ChannelPattern]) -> Result<Option<Subjects>> {
    if patterns.is_empty() {
        return Ok(None);
    }
    let (client, _) = shared.connected("subscribe", REQUEST).await?;
    let mut subscribers = Vec::new();
    for pattern in patterns {
        let subject = shared.names.ephemerals(pattern);
        let subscriber = client.subscribe(subject).await;
        subscribers.push(subscriber.map_err(|cause| error::client("subscribe", cause))?);
    }
    // In place once the server has seen it, for publishers on other connections.
    if !shared.outbox.echo(REQUEST).await {
        let text = "the server did not confirm the subscription in time";
        return Err(Error::new(ErrorKind::Unavailable, "subscribe", text));
    }
    Ok(Some((subscribers, patterns.to_vec())))
}

/// The task that listens on subjects.
async fn listen(sub: Arc<BroadcastSub>, subscribers: Vec<Subscriber>, patterns: Vec<ChannelPattern>) {
    let mut messages = select_all(subscribers);
    let mut link = sub.shared.link.subscribe();
    let mut epoch = link.borrow_and_update().epoch;
    let mut overruns = sub.shared.overrun.subscribe();
    // Gaps name channels: those that were asked for, and those that wildcards have met.
    let mut channels: BTreeSet<ChannelName> = patterns
        .iter()
        .filter_map(|pattern| match pattern {
            ChannelPattern::Exact(channel) | ChannelPattern::Family(channel) => Some(channel.clone()),
            ChannelPattern::All => None,
        })
        .collect();
    let met = |channels: &mut BTreeSet<ChannelName>, channel: &ChannelName| {
        if channels.len() < 1024 && !channels.contains(channel) {
            channels.insert(channel.clone());
        }
    };
    loop {
        tokio::select! {
            biased;
            () = sub.over() => return,
            changed = link.changed() => {
                if changed.is_err() {
                    return;
                }
                let now = link.borrow_and_update().clone();
                if !now.up {
                    let why = "the connection is lost, and is being restored".to_owned();
                    sub.feed.state(SubscriptionState::Recovering(why));
                } else if now.epoch != epoch {
                    epoch = now.epoch;
                    sub.feed.gaps(&channels, GapReason::Disconnected);
                    sub.feed.state(SubscriptionState::Active);
                }
            }
            overrun = overruns.recv() => if overrun.is_ok() {
                sub.feed.gaps(&channels, GapReason::SlowConsumer);
            },
            message = messages.next() => {
                let Some(message) = message else { return };
                let mut next = Some(message);
                for _ in 0..256 {
                    let Some(message) = next.take() else { break };
                    if let Some(delivery) = read(&sub, message) {
                        met(&mut channels, delivery.message.channel());
                        sub.feed.broadcast(delivery, sub.options.slow, sub.buffer());
                    }
                    next = messages.next().now_or_never().flatten();
                }
                if let Some(message) = next
                    && let Some(delivery) = read(&sub, message)
                {
                    sub.feed.broadcast(delivery, sub.options.slow, sub.buffer());
                }
            }
        }
    }
}

fn read(sub: &BroadcastSub, message: NatsMessage) -> Option<Delivery> {
    if message.status.is_some() {
        return None;
    }
    let channel = sub.shared.names.channel_of_subject(message.subject.as_str())?;
    let now = Timestamp::now();
    let (message, fault) = wire::decode(&sub.shared, &channel, now, || "unreadable".to_owned(), message);
    Some(unreadable::mark(Delivery::new(message, AckHandle::none()), fault))
}

/// Picks up durable channels that come later: nothing of them was missed.
async fn look_again_and_again(sub: Arc<BroadcastSub>, patterns: Vec<ChannelPattern>) {
    let mut tick = interval(LOOK);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let Ok((client, _)) = sub.shared.connected("subscribe", Duration::from_secs(3600)).await else { return };
    let Ok(mut news) = client.subscribe(NEWS).await else { return };
    loop {
        if let Ok(channels) = matching(&sub.shared, &patterns).await {
            for channel in channels {
                match sub.open(&channel, &StartPosition::Earliest).await {
                    Ok(Some(reader)) => sub.spawn(reader.run()),
                    Ok(None) => {}
                    Err(error) => sub.feed.error(error),
                }
            }
        }
        tokio::select! {
            _ = tick.tick() => {}
            Some(_) = news.next() => {}
            () = sub.over() => return,
        }
    }
}

/// What a broadcast asks of the adapter. It is filled in once the subscription is there.
struct BroadcastControl(Arc<std::sync::OnceLock<Arc<BroadcastSub>>>);

impl Control for BroadcastControl {
    fn seek(&mut self, to: StartPosition) -> BoxFuture<'_, Result<()>> {
        Box::pin(async move {
            let Some(sub) = self.0.get() else {
                return Err(Error::new(ErrorKind::Unavailable, "seek", "the subscription is not open yet"));
            };
            let channels: Vec<_> = sub.readers.lock().unwrap_or_else(PoisonError::into_inner).keys().cloned().collect();
            if channels.is_empty() {
                let text = "an ephemeral channel has no history to seek in";
                return Err(Error::new(ErrorKind::Unsupported, "seek", text));
            }
            let mut places = HashMap::new();
            for channel in &channels {
                let info = sub.shared.must_exist("seek", channel).await?;
                places.insert(channel.clone(), resolve(channel, &info, &to, true)?);
            }
            let number = match &*sub.command.borrow() {
                Command::Go(number, _) | Command::Halt(number) => number + 1,
            };
            sub.command.send_replace(Command::Halt(number));
            let halted = || {
                let readers = sub.readers.lock().unwrap_or_else(PoisonError::into_inner);
                channels.iter().all(|channel| readers.get(channel).is_none_or(|halt| *halt >= number))
            };
            for _ in 0..5_000 {
                if halted() {
                    break;
                }
                sleep(Duration::from_millis(1)).await;
            }
            sub.feed.take_deliveries().into_iter().for_each(Delivery::forget);
            sub.command.send_replace(Command::Go(number, Arc::new(places)));
            Ok(())
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_that_others_cover_are_left_out() {
        let patterns =
            |texts: &[&str]| texts.iter().map(|text| ChannelPattern::parse(text).unwrap()).collect::<Vec<_>>();
        let kept =
            |texts: &[&str]| without_covered(patterns(texts)).iter().map(ToString::to_string).collect::<Vec<_>>();
        assert_eq!(kept(&["shop.*", "shop.eu.*", "shop.eu", "shop"]), ["shop.*", "shop"]);
        assert_eq!(kept(&["shop.eu", "shop.*", "*"]), ["*"]);
        assert_eq!(kept(&["a", "b.*", "a"]), ["a", "b.*"]);
    }
}
