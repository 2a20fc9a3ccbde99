//! `Channel`: one broker subscription per channel and node, however many streams.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, PoisonError, RwLock, RwLockReadGuard,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use futures_util::FutureExt;
use pubsub_core::{
    ChannelName, ErrorKind, EventItem, Events, Position, PubSub, Raw, Received, Result,
    driver::{History, HistoryRange, SubscriptionState},
};
use tokio::{
    sync::OnceCell,
    task::JoinHandle,
    time::{Instant, sleep, sleep_until},
};

use super::{
    Shared,
    frame::{Frame, Run},
    log::{Bounds, Log},
    subscriber::{End, Seats},
};
use crate::cursor::{ChannelKey, Mark};

/// How many events, and how many bytes of payload, are written as one.
const RUN_EVENTS: usize = 64;
const RUN_BYTES: usize = 64 * 1024;
/// How many events a page of history has.
const PAGE: usize = 256;
/// How many pages are kept for streams that resume from the same place at the same time.
const PAGES: usize = 16;
/// How often the end of a channel is looked for that changes meanwhile.
const MOST_LOOKS: u32 = 3;
/// The scheme of positions on channels that have none of their own: good at this node, while it remembers.
const EDGE: &str = "edge";

/// A channel that has streams.
#[derive(Debug)]
pub(crate) struct Channel {
    pub(crate) name: ChannelName,
    pub(crate) key: ChannelKey,
    pub(crate) seats: Seats,
    log: RwLock<Log>,
    bounds: Bounds,
    /// How many events the channel retains, if it counts them.
    retained: Option<u64>,
    over: AtomicBool,
    pages: Mutex<HashMap<Position, Arc<OnceCell<Arc<Page>>>>>,
}

/// A page of history.
#[derive(Debug)]
pub(crate) struct Page {
    pub(crate) run: Arc<Run>,
    /// The place after it.
    pub(crate) next: Mark,
    pub(crate) at_end: bool,
    /// How many events of the channel were removed by then.
    pub(crate) dropped: Option<u64>,
}

impl Channel {
    pub(crate) fn new(name: ChannelName, before: Mark, bounds: Bounds, retained: Option<u64>) -> Self {
        Self {
            key: ChannelKey::of(&name),
            name,
            seats: Seats::default(),
            log: RwLock::new(Log::new(before, bounds)),
            bounds,
            retained,
            over: AtomicBool::new(false),
            pages: Mutex::default(),
        }
    }

    pub(crate) fn log(&self) -> RwLockReadGuard<'_, Log> {
        // The log is whole at every point where a panic could come from.
        self.log.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// The number of the first event after a place in the log. What the channel would not retain is not offered, although
    /// the log may still have it: whether a client misses events must not depend on who else is here.
    pub(crate) fn resume(&self, mark: &Mark) -> Option<u64> {
        let log = self.log();
        let next = log.after(mark)?;
        self.retained.is_none_or(|retained| log.end() - next <= retained).then_some(next)
    }

    /// Whether nothing more comes.
    pub(crate) fn is_over(&self) -> bool {
        self.over.load(Ordering::Acquire)
    }

    /// Ends all its streams, and lets go of its events: who does not read may hold it for long.
    fn close(&self) {
        self.over.store(true, Ordering::Release);
        let empty = Log::new(Mark::Origin(0), self.bounds);
        *self.log.write().unwrap_or_else(PoisonError::into_inner) = empty;
        self.seats.end_all(End::Lost);
    }

    /// Adds events, and tells the streams.
    fn append(&self, frames: Vec<Frame>, shared: &Shared) {
        let start = {
            let mut log = self.log.write().unwrap_or_else(PoisonError::into_inner);
            log.push(Run::new(self.key, frames));
            log.start()
        };
        shared.note_activity();
        shared.note_slow(self.seats.announce(start));
    }

    /// A page of history after a place. Streams that ask for the same page at the same time share it.
    pub(crate) async fn page(&self, shared: &Shared, after: &Mark) -> Result<Arc<Page>> {
        let Mark::At(position) = after else { return self.read_page(shared, after).await.map(Arc::new) };
        let cell = {
            let mut pages = self.pages.lock().unwrap_or_else(PoisonError::into_inner);
            if pages.len() >= PAGES && !pages.contains_key(position) {
                pages.clear();
            }
            pages.entry(position.clone()).or_default().clone()
        };
        let page = cell.get_or_try_init(|| async { self.read_page(shared, after).await.map(Arc::new) }).await;
        // The end of a channel moves on, and what failed may succeed.
        if page.as_ref().map_or(true, |page| page.at_end) {
            let mut pages = self.pages.lock().unwrap_or_else(PoisonError::into_inner);
            if pages.get(position).is_some_and(|known| Arc::ptr_eq(known, &cell)) {
                pages.remove(position);
            }
        }
        page.cloned()
    }

    async fn read_page(&self, shared: &Shared, after: &Mark) -> Result<Page> {
        let range = HistoryRange::new(self.name.clone()).limit(PAGE);
        let range = match after {
            Mark::At(position) => range.from(pubsub_core::StartPosition::After(position.clone())),
            Mark::Origin(_) => range,
        };
        let history = match shared.bus.history(&range).await {
            Err(error) if error.kind() == ErrorKind::NotFound && matches!(after, Mark::Origin(_)) => {
                History::new(Vec::new(), None, true)
            }
            read => read?,
        };
        let History { events, next, at_end, dropped, .. } = history;
        let frames: Vec<Frame> = events
            .into_iter()
            .map(|stored| Frame {
                hidden: shared.is_hidden(&stored.message),
                message: stored.message,
                position: stored.position,
            })
            .collect();
        let next = frames.last().map(|frame| frame.position.clone()).or(next);
        Ok(Page {
            next: next.map_or_else(|| after.clone(), Mark::At),
            run: Arc::new(Run::new(self.key, frames)),
            at_end,
            dropped,
        })
    }
}

/// A channel's broker subscription, and the task that reads it. It ends when this is dropped.
#[derive(Debug)]
pub(crate) struct Feed {
    pub(crate) channel: Arc<Channel>,
    task: JoinHandle<()>,
}

impl Drop for Feed {
    fn drop(&mut self) {
        self.task.abort();
        self.channel.close();
    }
}

impl Feed {
    /// Subscribes to a channel from its present end on.
    ///
    /// # Errors
    /// What the adapter says.
    pub(crate) async fn open(shared: &Arc<Shared>, name: &ChannelName) -> Result<Self> {
        let retained = shared.bus.policy(name)?.retention.count;
        let numbers = Numbers::new()?;
        let (before, events) = subscribe(&shared.bus, name, &numbers.origin).await?;
        let channel = Arc::new(Channel::new(name.clone(), before, shared.bounds, retained));
        let task = tokio::spawn(pump(channel.clone(), events, numbers, shared.clone()));
        Ok(Self { channel, task })
    }

    pub(crate) fn is_over(&self) -> bool {
        self.channel.is_over()
    }
}

/// Subscribes after the present end of a channel, and says which place that is: `origin`, where the channel has none.
///
/// Looking and subscribing are two steps. In between the channel may be made by somebody else, or lose what it retained:
/// then the place is looked up again.
async fn subscribe(bus: &PubSub, name: &ChannelName, origin: &Position) -> Result<(Mark, Events<Raw>)> {
    let mut looks = 1;
    loop {
        match subscribe_at_end(bus, name, origin).await {
            Err(error)
                if matches!(error.kind(), ErrorKind::PositionExpired | ErrorKind::NotFound) && looks < MOST_LOOKS =>
            {
                looks += 1;
            }
            subscribed => return subscribed,
        }
    }
}

async fn subscribe_at_end(bus: &PubSub, name: &ChannelName, origin: &Position) -> Result<(Mark, Events<Raw>)> {
    let range = HistoryRange::new(name.clone()).from(pubsub_core::StartPosition::Latest).limit(0);
    let end = match bus.history(&range).await {
        Ok(page) => Some((page.next, page.dropped)),
        Err(error) if error.kind() == ErrorKind::NotFound => Some((None, Some(0))),
        Err(error) if error.kind() == ErrorKind::Unsupported => None,
        Err(error) => return Err(error),
    };
    let subscribe = bus.subscribe_channel(name.as_str());
    Ok(match end {
        Some((Some(end), _)) => (Mark::At(end.clone()), subscribe.after(end).await?),
        Some((None, dropped)) => (Mark::Origin(dropped.unwrap_or(u64::MAX)), subscribe.from_earliest().await?),
        None => (Mark::At(origin.clone()), subscribe.from_latest().await?),
    })
}

/// What became of an item.
enum Taken {
    Frame(Box<Received<Raw>>),
    /// The subscription works.
    Up,
    /// It is interrupted, and mends itself.
    Down,
    /// Nothing to do.
    Nothing,
    /// Its streams must begin anew.
    Lost,
}

/// Reads a subscription until it ends or breaks.
async fn pump(channel: Arc<Channel>, mut events: Events<Raw>, mut numbers: Numbers, shared: Arc<Shared>) {
    // Ended streams come back, and open the channel again.
    let _closing = Closing(&channel);
    let mut down_since: Option<Instant> = None;
    loop {
        let item = match down_since {
            None => events.next_item().await,
            Some(since) => tokio::select! {
                biased;
                item = events.next_item() => item,
                () = sleep_until(since + shared.outage_grace) => return,
            },
        };
        let (mut frames, mut bytes) = (Vec::new(), 0);
        let mut next = Some(item);
        while let Some(item) = next.take() {
            match take(item, &channel) {
                Taken::Frame(received) => {
                    down_since = None;
                    bytes += received.message().payload().len();
                    frames.push(numbers.frame(&received, &shared));
                }
                Taken::Up => down_since = None,
                Taken::Down => down_since = down_since.or_else(|| Some(Instant::now())),
                Taken::Nothing => {}
                Taken::Lost => return,
            }
            if down_since.is_none() && frames.len() < RUN_EVENTS && bytes < RUN_BYTES {
                next = events.next_item().now_or_never();
            }
        }
        if frames.is_empty() {
            if down_since.is_some() {
                // A source that fails at once each time must not take all time.
                sleep(Duration::from_millis(20)).await;
            }
            continue;
        }
        channel.append(frames, &shared);
        // A source and streams that never wait would keep everyone else from running.
        tokio::task::coop::consume_budget().await;
    }
}

fn take(item: Option<Result<EventItem<Raw>>>, channel: &Channel) -> Taken {
    match item {
        Some(Ok(EventItem::Event(received))) => Taken::Frame(Box::new(received)),
        Some(Ok(EventItem::State(SubscriptionState::Active))) => Taken::Up,
        Some(Ok(EventItem::State(_))) => Taken::Down,
        Some(Ok(EventItem::Gap(gap))) => {
            tracing::warn!(channel = %channel.name, ?gap, "events are missing: the channel's streams resume from history");
            Taken::Lost
        }
        Some(Ok(_)) => Taken::Nothing,
        Some(Err(error)) => match error.kind() {
            // One event that nobody can read.
            ErrorKind::Codec => {
                tracing::warn!(channel = %channel.name, %error, "an event is passed over");
                Taken::Nothing
            }
            ErrorKind::Backpressure => Taken::Lost,
            _ => Taken::Down,
        },
        None => Taken::Lost,
    }
}

/// Gives positions to events that have none.
struct Numbers {
    next: u64,
    origin: Position,
    epoch: u64,
}

impl Numbers {
    fn new() -> Result<Self> {
        // A number that no other life of the channel at any node has had.
        let epoch = uuid::Uuid::new_v4().as_u64_pair().0;
        Ok(Self { next: 1, origin: Position::pair(EDGE, 0, epoch)?, epoch })
    }

    fn frame(&mut self, received: &Received<Raw>, shared: &Shared) -> Frame {
        let position = received.position().cloned().unwrap_or_else(|| {
            let number = self.next;
            self.next += 1;
            self.origin.with_pair(number, self.epoch)
        });
        let message = received.message().clone();
        Frame { hidden: shared.is_hidden(&message), message, position }
    }
}

/// Ends the channel however its task ends.
struct Closing<'a>(&'a Channel);

impl Drop for Closing<'_> {
    fn drop(&mut self) {
        self.0.close();
    }
}
