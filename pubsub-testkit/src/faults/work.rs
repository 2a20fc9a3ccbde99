//! What members do: publish numbered events until they are confirmed, consume and settle them.

use std::{sync::Arc, time::Duration};

use pubsub_core::{
    ChannelName, ChannelPolicy, Envelope, Error, ErrorKind, EventId, EventItem, EventName, Events, Key, Message,
    Payload, Policies, PubSub, Raw, Received,
    driver::{Adapter, Gap, RetryPolicy, SubscriptionState},
};
use serde::{Deserialize, Serialize};
use tokio::{
    sync::watch,
    task::JoinSet,
    time::{Instant, sleep, sleep_until},
};

use super::{Answering, Handling, Keys, Note, Notebook, answer::answer, handling};
use crate::conformance::{Failure, Verdict};

/// The name of the event that members publish.
pub(super) const ITEM: &str = "faults:item";

/// The work of one member.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Work {
    /// The channel.
    pub channel: String,
    /// Over how many shards the channel spreads its keys; 0 for a channel without order.
    pub shards: u16,
    /// What to do there.
    pub role: Role,
}

/// What a member does.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum Role {
    /// It publishes.
    Publish(Publishing),
    /// It consumes.
    Consume(Consuming),
    /// It handles events by a router.
    Handle(Handling),
    /// It answers requests for sums, whatever its channel.
    Answer(Answering),
}

/// How a member publishes.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Publishing {
    /// The first serial.
    pub first: usize,
    /// How many; a member that is told to leave ends earlier.
    pub count: usize,
    /// How many are underway at a time; a divisor of the steps from one event of a key to the next, so that they follow each
    /// other.
    pub lanes: usize,
    /// How they are spread over keys.
    pub keys: Keys,
    /// How many per second; 0 for as many as it can.
    pub rate: usize,
    /// How many bytes each has at least.
    pub size: usize,
    /// How long each publication may take.
    pub timeout: Duration,
}

/// How a member consumes.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Consuming {
    /// The group.
    pub group: String,
    /// How many deliveries may be unsettled.
    pub in_flight: usize,
    /// The lease, where it is not the default one.
    pub lease: Option<Duration>,
    /// How many deliveries are kept unsettled before any is worked on.
    pub hold: usize,
    /// How long the work on one event takes.
    pub work: Duration,
    /// Events of this key fail in their first two attempts.
    pub failing: Option<usize>,
    /// Only every second event is acknowledged, the later one of each pair, before the earlier one is held.
    pub out_of_order: bool,
}

impl Default for Publishing {
    fn default() -> Self {
        let timeout = Duration::from_secs(5);
        Self { first: 0, count: usize::MAX, lanes: 32, keys: Keys::over(0), rate: 0, size: 0, timeout }
    }
}

impl Default for Consuming {
    fn default() -> Self {
        Self {
            group: "workers".to_owned(),
            in_flight: 64,
            lease: None,
            hold: 0,
            work: Duration::ZERO,
            failing: None,
            out_of_order: false,
        }
    }
}

/// What a member is told while it works.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Order {
    /// Go on.
    #[default]
    Work,
    /// Acknowledge what is held, confirmed by the broker.
    Settle,
    /// End in good order.
    Leave,
}

/// The policy of a channel with so many shards.
pub(super) fn policy(shards: u16) -> ChannelPolicy {
    match shards {
        0 => ChannelPolicy::new(),
        shards => ChannelPolicy::new().ordered_per_key(shards),
    }
}

/// A handle over an adapter for channels with so many shards.
pub(super) fn bus(adapter: Arc<dyn Adapter>, shards: u16) -> PubSub {
    PubSub::builder(adapter).policies(Policies::new(policy(shards))).build()
}

/// The event of a serial, at least `size` bytes long.
///
/// # Errors
/// Never for a sound library: the event's name is fixed.
pub(super) fn item(channel: &ChannelName, serial: usize, size: usize) -> Verdict<Envelope> {
    // White space after a number is JSON.
    let payload = Payload::json(format!("{serial:<size$}"));
    Ok(Envelope::new(EventName::parse(ITEM)?, channel.clone(), payload))
}

/// The serial of an event made by [`item`].
///
/// # Errors
/// A failure that shows what came instead.
pub(super) fn serial(message: &Message) -> Verdict<usize> {
    let text = message.payload().data().and_then(|bytes| std::str::from_utf8(bytes).ok());
    let serial = text.and_then(|text| text.trim_end().parse().ok());
    serial.ok_or_else(|| Failure::new("a serial number", format!("{message:?}")))
}

/// Whether it makes sense to try again: everything but the caller's own fault.
pub(super) fn is_passing(error: &Error) -> bool {
    !matches!(
        error.kind(),
        ErrorKind::Invalid | ErrorKind::Unsupported | ErrorKind::TooLarge | ErrorKind::Auth | ErrorKind::Closed
    )
}

/// Does the work until it is done or the order is to leave.
///
/// # Errors
/// What the member cannot live with.
pub(super) async fn run(bus: &PubSub, work: &Work, book: Arc<dyn Notebook>, orders: watch::Receiver<Order>) -> Verdict {
    let channel = ChannelName::parse(&work.channel)?;
    match &work.role {
        Role::Publish(publishing) => publish(bus, &channel, publishing, book, orders).await,
        Role::Consume(consuming) => consume(bus, &channel, consuming, &*book, orders).await,
        Role::Handle(handling) => handling::handle(bus, &channel, handling, book, orders).await,
        Role::Answer(answering) => answer(bus, answering, book, orders).await,
    }
}

async fn publish(
    bus: &PubSub,
    channel: &ChannelName,
    how: &Publishing,
    book: Arc<dyn Notebook>,
    orders: watch::Receiver<Order>,
) -> Verdict {
    book.note(Note::Ready);
    let mut lanes = JoinSet::new();
    for lane in 0..how.lanes {
        let (bus, channel, how) = (bus.clone(), channel.clone(), how.clone());
        let (book, orders) = (book.clone(), orders.clone());
        lanes.spawn(async move { publish_lane(&bus, &channel, &how, lane, &*book, orders).await });
    }
    while let Some(ended) = lanes.join_next().await {
        ended.map_err(|error| Failure::new("a publisher without a panic", error))??;
    }
    Ok(())
}

async fn publish_lane(
    bus: &PubSub,
    channel: &ChannelName,
    how: &Publishing,
    lane: usize,
    book: &dyn Notebook,
    orders: watch::Receiver<Order>,
) -> Verdict {
    let pace = Duration::from_secs(how.lanes as u64).checked_div(how.rate as u32).unwrap_or_default();
    let mut due = Instant::now() + pace.mul_f64(lane as f64 / how.lanes as f64);
    let mut serial = how.first + lane;
    while serial - how.first < how.count && *orders.borrow() != Order::Leave {
        sleep_until(due).await;
        due = (due + pace).max(Instant::now());
        book.note(Note::Attempt(serial));
        let id = EventId::random();
        loop {
            let mut publish =
                bus.publish_envelope(item(channel, serial, how.size)?).id(id.clone()).timeout(how.timeout);
            if let Some(key) = how.keys.of(serial) {
                publish = publish.key(Key::new(&format!("key-{key}"))?);
            }
            match publish.await {
                Ok(_) => {
                    book.note(Note::Confirmed(serial));
                    break;
                }
                Err(error) if is_passing(&error) => {
                    book.note(Note::Failed(serial));
                    if *orders.borrow() == Order::Leave {
                        return Ok(());
                    }
                    sleep(Duration::from_millis(50)).await;
                }
                Err(error) => return Err(Failure::from(error).during("publishing")),
            }
        }
        serial += how.lanes;
    }
    Ok(())
}

async fn consume(
    bus: &PubSub,
    channel: &ChannelName,
    how: &Consuming,
    book: &dyn Notebook,
    mut orders: watch::Receiver<Order>,
) -> Verdict {
    let Some(mut events) = subscribe(bus, channel, how, book, &orders).await? else { return Ok(()) };
    book.note(Note::Ready);
    let mut held = Vec::new();
    loop {
        let item = tokio::select! {
            biased;
            changed = orders.changed() => {
                let order = *orders.borrow_and_update();
                if changed.is_err() || order == Order::Leave {
                    return Ok(());
                }
                if order == Order::Settle {
                    settle(&mut held, book).await?;
                }
                continue;
            }
            item = events.next_item() => item,
        };
        match item {
            Some(Ok(EventItem::Event(event))) => handle(event, how, &mut held, book).await?,
            Some(Ok(EventItem::Gap(Gap { .. }))) => book.note(Note::Gap),
            Some(Ok(EventItem::State(SubscriptionState::Active))) => book.note(Note::Active),
            Some(Ok(EventItem::State(_))) => book.note(Note::Recovering),
            Some(Ok(_)) => {}
            Some(Err(error)) if is_passing(&error) => book.note(Note::Fault(Failure::from(error).to_string())),
            Some(Err(error)) => return Err(Failure::from(error).during("consuming")),
            None => return Err(Failure::new("a subscription that goes on", "its end")),
        }
    }
}

/// The subscription, as soon as the broker gives it; none if the member leaves before.
async fn subscribe(
    bus: &PubSub,
    channel: &ChannelName,
    how: &Consuming,
    book: &dyn Notebook,
    orders: &watch::Receiver<Order>,
) -> Verdict<Option<Events<Raw>>> {
    // Long enough that later events of a failing key come meanwhile.
    let delay = Duration::from_millis(80);
    let retry = RetryPolicy::default().delays(delay, delay);
    loop {
        let mut subscribe = bus.subscribe_channel(channel.as_str()).group(&how.group).max_in_flight(how.in_flight);
        subscribe = subscribe.retry(retry.attempts(0));
        if let Some(lease) = how.lease {
            subscribe = subscribe.lease(lease);
        }
        match subscribe.await {
            Ok(events) => return Ok(Some(events)),
            Err(error) if is_passing(&error) => book.note(Note::Fault(Failure::from(error).to_string())),
            Err(error) => return Err(Failure::from(error).during("subscribing")),
        }
        if *orders.borrow() == Order::Leave {
            return Ok(None);
        }
        sleep(Duration::from_millis(100)).await;
    }
}

async fn handle(event: Received<Raw>, how: &Consuming, held: &mut Vec<Received<Raw>>, book: &dyn Notebook) -> Verdict {
    let serial = serial(event.message())?;
    book.note(Note::Seen(serial));
    if held.len() < how.hold || how.out_of_order && serial.is_multiple_of(2) {
        held.push(event);
        return Ok(());
    }
    let fails = how.failing.is_some_and(|failing| event.key().is_some_and(|key| is_key(key, failing)));
    if fails && event.attempt() < 3 {
        return Ok(event.nack()?);
    }
    if !how.work.is_zero() {
        sleep(how.work).await;
    }
    // Noted before the acknowledgement, which lets the next event of the key go to somebody else.
    book.note(Note::Done(serial));
    event.ack();
    Ok(())
}

fn is_key(key: &Key, number: usize) -> bool {
    key.to_string() == format!("key-{number}")
}

async fn settle(held: &mut Vec<Received<Raw>>, book: &dyn Notebook) -> Verdict {
    for event in held.drain(..) {
        let serial = serial(event.message())?;
        match event.ack_confirmed().await {
            Ok(()) => {
                book.note(Note::Done(serial));
                book.note(Note::Settled(serial));
            }
            Err(error) if error.kind() == ErrorKind::Conflict => book.note(Note::Stale(serial)),
            Err(error) => book.note(Note::Fault(Failure::from(error).to_string())),
        }
    }
    Ok(())
}
