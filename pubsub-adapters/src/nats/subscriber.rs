//! Opening subscriptions.

use std::{
    collections::HashSet,
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize},
    },
    time::Duration,
};

use futures_util::StreamExt;
use pubsub_core::{
    ChannelName, ChannelPattern, Delivery, Error, ErrorKind, Result, StartPosition,
    driver::{BoxFuture, SubscribeOptions, Subscriber, Subscription, async_trait},
};
use tokio::{
    sync::{Mutex, Notify, watch},
    time::{MissedTickBehavior, interval},
};

use super::{
    adapter::Nats,
    broadcast,
    connection::Shared,
    group::Membership,
    history::resolve,
    member::{Mode, Part},
    settler::{self, Behind, GroupSettler, GroupSub},
    shards,
    topology::Route,
};
use crate::common::{
    desk::Desk,
    feed::{Control, Feed},
};

/// How often wildcards look for channels of which no news came.
const LOOK: Duration = Duration::from_secs(3);
const NEWS: &str = "$JS.EVENT.ADVISORY.STREAM.CREATED.>";

#[async_trait]
impl Subscriber for Nats {
    async fn subscribe(&self, options: SubscribeOptions) -> Result<Subscription> {
        self.shared.check_open("subscribe")?;
        let opened = if options.group.is_some() {
            subscribe_group(&self.shared, options).await
        } else {
            broadcast::subscribe(&self.shared, options).await
        };
        opened.map_err(|error| self.shared.or_closed("subscribe", error))
    }
}

/// The exact channels of a subscription, with their routes.
pub(super) async fn exact_routes(shared: &Arc<Shared>, options: &SubscribeOptions) -> Result<Vec<Arc<Route>>> {
    let mut routes = Vec::new();
    for pattern in &options.channels {
        if let ChannelPattern::Exact(channel) = pattern {
            routes.push(shared.route("subscribe", channel).await?);
        }
    }
    Ok(routes)
}

/// The channels of durable streams that some wildcard takes.
pub(super) async fn matching(shared: &Shared, patterns: &[ChannelPattern]) -> Result<Vec<ChannelName>> {
    let context = shared.context("subscribe").await?;
    let mut names = context.stream_names();
    let mut channels = Vec::new();
    while let Some(name) = names.next().await {
        let failed = |cause| {
            Error::new(ErrorKind::Unavailable, "subscribe", "the server does not list its streams").because(cause)
        };
        if let Some(channel) = shared.names.channel_of_stream(&name.map_err(failed)?)
            && patterns.iter().any(|pattern| pattern.is_wildcard() && pattern.matches(&channel))
        {
            channels.push(channel);
        }
    }
    Ok(channels)
}

async fn subscribe_group(shared: &Arc<Shared>, options: SubscribeOptions) -> Result<Subscription> {
    let Some(group) = options.group.clone() else {
        return Err(Error::new(ErrorKind::Invalid, "subscribe", "field `group` is missing"));
    };
    let routes = exact_routes(shared, &options).await?;
    if let Some(route) = routes.iter().find(|route| !route.is_durable()) {
        let text = "an ephemeral channel has no groups";
        return Err(Error::new(ErrorKind::Unsupported, "subscribe", text).on(&route.channel));
    }
    let (control, slot) = GroupControl::new();
    let (feed, source) = Feed::new(control);
    let sub = Arc::new(GroupSub {
        shared: shared.clone(),
        desk: Desk::new(options.retry, options.drain.clone()),
        group,
        feed,
        behind: Behind::default(),
        parts: AtomicUsize::new(0),
        recovering: AtomicUsize::new(0),
        holders: AtomicUsize::new(0),
        shortest: AtomicU64::new(u64::MAX),
        moves: AtomicU64::new(0),
        moved: Notify::new(),
        options,
    });
    let joined = Joined::new(&sub);
    let mut ready = Vec::new();
    for route in routes {
        ready.extend(joined.open(route, &sub.options.start).await?);
    }
    let wildcards = sub.options.channels.iter().any(ChannelPattern::is_wildcard) && sub.options.reach.durable;
    if wildcards {
        for channel in matching(shared, &sub.options.channels).await? {
            let route = shared.route("subscribe", &channel).await?;
            ready.extend(joined.open(route, &sub.options.start).await?);
        }
    }
    // Nothing below can fail or be given up: what is started belongs to the source.
    let joined = Arc::new(joined);
    let _ = slot.set(joined.clone());
    ready.into_iter().for_each(|start| start.run(&sub));
    let (task, holder) = (joined, sub.hold());
    spawn_reader(&sub, async move {
        task.follow(wildcards).await;
        drop(holder);
    });
    let task = sub.clone();
    let kill = shared.kill.clone();
    shared.readers.spawn(async move {
        tokio::select! {
            () = kill.cancelled() => {}
            () = settler::run(task) => {}
        }
    });
    Ok(Subscription::new(source))
}

fn spawn_reader(sub: &GroupSub, future: impl Future<Output = ()> + Send + 'static) {
    let kill = sub.shared.kill.clone();
    sub.shared.readers.spawn(async move {
        tokio::select! {
            () = kill.cancelled() => {}
            () = future => {}
        }
    });
}

/// What is ready to be started.
enum Start {
    Part(Box<(Part, super::member::Place)>),
    Shards(Arc<Route>),
}

impl Start {
    fn run(self, sub: &Arc<GroupSub>) {
        match self {
            Self::Part(part) => {
                let (part, place) = *part;
                shards::start(sub, Arc::new(part), place);
            }
            Self::Shards(route) => {
                let (task, holder) = (sub.clone(), sub.hold());
                spawn_reader(sub, async move {
                    shards::run(task, route).await;
                    drop(holder);
                });
            }
        }
    }
}

/// The channels that a subscription reads.
struct Joined {
    sub: Arc<GroupSub>,
    channels: Mutex<HashSet<ChannelName>>,
    memberships: std::sync::Mutex<Vec<Membership>>,
}

impl Joined {
    fn new(sub: &Arc<GroupSub>) -> Self {
        Self { sub: sub.clone(), channels: Mutex::default(), memberships: std::sync::Mutex::default() }
    }

    /// Opens a channel, unless it is open.
    async fn open(&self, route: Arc<Route>, start: &StartPosition) -> Result<Option<Start>> {
        if self.channels.lock().await.contains(&route.channel) {
            return Ok(None);
        }
        let membership = self.sub.shared.join(&route.channel, &self.sub.group);
        let start = if super::topology::shards(&route.policy) > 0 {
            shards::prepare(&self.sub.shared).await?;
            shards::prepare_consumers(&self.sub, &route, start).await?;
            Start::Shards(route.clone())
        } else {
            let part = Part {
                sub: self.sub.clone(),
                route: route.clone(),
                shard: None,
                start: start.clone(),
                gauge: Arc::default(),
                mode: watch::Sender::new(Mode::Run),
                not_before: None,
                done: Arc::default(),
                settler: Arc::new(GroupSettler(self.sub.clone())),
            };
            let place = part.open().await?;
            Start::Part(Box::new((part, place)))
        };
        self.channels.lock().await.insert(route.channel.clone());
        let mut memberships = self.memberships.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        memberships.push(membership);
        Ok(Some(start))
    }

    /// Picks up channels that come later, until the subscription is over.
    async fn follow(&self, wildcards: bool) {
        let sub = &self.sub;
        if wildcards {
            tokio::select! {
                () = sub.over() => {}
                () = self.look_again_and_again() => {}
            }
        } else {
            sub.over().await;
        }
        self.memberships.lock().unwrap_or_else(std::sync::PoisonError::into_inner).clear();
        if sub.shared.closing.is_cancelled() {
            sub.feed.end();
            for delivery in sub.feed.take_deliveries() {
                delivery.settle_as(pubsub_core::driver::Outcome::Release);
            }
        }
    }

    async fn look_again_and_again(&self) {
        let shared = &self.sub.shared;
        let mut tick = interval(LOOK);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let Ok((client, _)) = shared.connected("subscribe", Duration::from_secs(3600)).await else { return };
        let Ok(mut news) = client.subscribe(NEWS).await else { return };
        loop {
            let Ok(channels) = matching(shared, &self.sub.options.channels).await else {
                tick.tick().await;
                continue;
            };
            for channel in channels {
                if let Ok(route) = shared.route("subscribe", &channel).await {
                    // It came later, so nothing of it was missed.
                    match self.open(route, &StartPosition::Earliest).await {
                        Ok(Some(start)) => start.run(&self.sub),
                        Ok(None) => {}
                        Err(error) => self.sub.feed.error(error),
                    }
                }
            }
            tokio::select! {
                _ = tick.tick() => {}
                Some(_) = news.next() => {}
            }
        }
    }
}

/// What a group's subscription asks of the adapter. It is filled in once the subscription is there.
struct GroupControl(Arc<std::sync::OnceLock<Arc<Joined>>>);

impl GroupControl {
    fn new() -> (Self, Arc<std::sync::OnceLock<Arc<Joined>>>) {
        let slot = Arc::new(std::sync::OnceLock::new());
        (Self(slot.clone()), slot)
    }
}

impl Control for GroupControl {
    fn seek(&mut self, to: StartPosition) -> BoxFuture<'_, Result<()>> {
        Box::pin(async move {
            let Some(joined) = self.0.get() else {
                return Err(Error::new(ErrorKind::Unavailable, "seek", "the subscription is not open yet"));
            };
            let sub = &joined.sub;
            let channels: Vec<_> = joined.channels.lock().await.iter().cloned().collect();
            // Everything that can fail comes first.
            let mut places = Vec::new();
            for channel in channels {
                let info = sub.shared.must_exist("seek", &channel).await?;
                let from = resolve(&channel, &info, &to, false)?;
                places.push((channel, from));
            }
            // What was settled before is settled, and must not reach the consumers that come now.
            sub.unless_killed(sub.desk.flush()).await?;
            let moving = sub.begin_move();
            drop(sub.desk.take_if(|_| true));
            let mut outcome = Ok(());
            for (channel, from) in places {
                let moved = sub.shared.move_group(&channel, &sub.group, from, sub.options.lease.duration).await;
                outcome = outcome.and(moved);
            }
            drop(moving);
            drop(sub.desk.take_if(|item| item.moves < sub.place()));
            sub.feed.take_deliveries().into_iter().for_each(Delivery::forget);
            outcome
        })
    }
}
