//! A source that is played from a script, and a hold around it under a clock that is moved by hand.

mod faults;
mod model;
mod rules;

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    future::poll_fn,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll, Wake, Waker},
    time::Duration,
};

use super::{HoldGauge, HoldOptions, KeyHold};
use crate::{
    AckHandle, ChannelName, Delivery, Error, ErrorKind, EventName, Key, ManualClock, Message, Payload, Position,
    Result, StartPosition, Timestamp,
    driver::{
        AckToken, BoxFuture, Chunk, Drain, Gap, GapReason, Item, Outcome, RetryPolicy, Settler, Source,
        SubscriptionState,
    },
};

/// The broker: numbered events that it brings in the order of their numbers.
#[derive(Clone, Default)]
struct Feed(Arc<Mutex<Script>>);

#[derive(Default)]
struct Script {
    events: BTreeMap<u64, Arc<Message>>,
    /// Numbers that are not delivered, or were released.
    queue: BTreeSet<u64>,
    /// Serial numbers of deliveries whose lease holds.
    live: BTreeMap<u64, u64>,
    deliveries: u64,
    /// What was settled, in order.
    log: Vec<(u64, Outcome)>,
    /// What the hold must never do.
    faults: Vec<String>,
    extra: VecDeque<Item>,
    errors: VecDeque<Error>,
    /// How many items a poll gives at most.
    chunk: usize,
    polls: u64,
    waker: Option<Waker>,
    ended: bool,
    /// Whether extensions wait.
    gate: bool,
    extended: Vec<(u64, Duration)>,
    confirmed: Vec<u64>,
    flushes: usize,
    /// Whether flushes fail.
    deaf: bool,
}

impl Feed {
    fn script(&self) -> MutexGuard<'_, Script> {
        // A failed assertion must not end in a second panic of whatever it drops.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wake(&self) {
        let waker = self.script().waker.take();
        waker.into_iter().for_each(Waker::wake);
    }

    /// Publishes the next event; an empty key is none.
    fn push(&self, key: &str) -> u64 {
        let name = EventName::parse("test:event").unwrap();
        let mut message = Message::new(name, ChannelName::parse("test").unwrap(), Payload::json("1"));
        message.envelope_mut().key = (!key.is_empty()).then(|| Key::new(key).unwrap());
        let mut script = self.script();
        let number = script.events.len() as u64 + 1;
        script.events.insert(number, Arc::new(message));
        script.queue.insert(number);
        drop(script);
        self.wake();
        number
    }

    fn push_all(&self, keys: &[&str]) {
        for key in keys {
            self.push(key);
        }
    }

    /// Ends leases without a word; the events come again unless they are kept by somebody else.
    fn lose(&self, which: impl Fn(u64) -> bool, again: bool) {
        let mut script = self.script();
        let lost: Vec<(u64, u64)> = script.live.iter().map(|(s, n)| (*s, *n)).filter(|(_, n)| which(*n)).collect();
        for (serial, number) in lost {
            script.live.remove(&serial);
            if again {
                script.queue.insert(number);
            }
        }
        drop(script);
        self.wake();
    }

    fn settle_serial(&self, serial: u64, outcome: Outcome) {
        let mut script = self.script();
        let Some(number) = script.live.remove(&serial) else {
            if outcome != Outcome::Ack && outcome != Outcome::Reject {
                script.faults.push(format!("{outcome:?} of a delivery that is not live"));
            }
            return;
        };
        let done = |(n, outcome): &(u64, Outcome)| *n == number && *outcome != Outcome::Release;
        if script.log.iter().any(done) {
            script.faults.push(format!("event {number} was settled twice"));
        }
        if matches!(outcome, Outcome::Nack(_) | Outcome::Dropped) {
            script.faults.push(format!("event {number} was passed on as {outcome:?}"));
        }
        script.log.push((number, outcome));
        if outcome == Outcome::Release {
            script.queue.insert(number);
        }
        drop(script);
        self.wake();
    }

    fn log(&self) -> Vec<(u64, Outcome)> {
        self.script().log.clone()
    }

    fn assert_blameless(&self) {
        let script = self.script();
        assert_eq!(script.faults, Vec::<String>::new(), "log: {:?}", script.log);
    }

    /// All events are settled once, and nothing else is.
    fn assert_all_settled(&self) {
        self.assert_blameless();
        let script = self.script();
        let mut settled: Vec<u64> =
            script.log.iter().filter(|(_, o)| *o != Outcome::Release).map(|(number, _)| *number).collect();
        settled.sort_unstable();
        assert_eq!(settled, script.events.keys().copied().collect::<Vec<_>>());
        assert!(script.live.is_empty(), "still open: {:?}", script.live);
    }

    /// In each key, events were settled in order.
    fn assert_order(&self) {
        let script = self.script();
        let mut last: BTreeMap<&str, u64> = BTreeMap::new();
        for (number, _) in script.log.iter().filter(|(_, outcome)| *outcome != Outcome::Release) {
            let Some(key) = script.events[number].key() else { continue };
            let before = last.insert(key.as_str(), *number).unwrap_or(0);
            assert!(before < *number, "key {key}: {number} after {before}; log {:?}", script.log);
        }
    }
}

impl Source for Feed {
    fn poll_chunk(&mut self, cx: &mut Context<'_>, chunk: &mut Chunk) -> Poll<Option<Result<()>>> {
        let mut script = self.script();
        script.polls += 1;
        if let Some(error) = script.errors.pop_front() {
            return Poll::Ready(Some(Err(error)));
        }
        for _ in 0..if script.chunk == 0 { 256 } else { script.chunk } {
            if let Some(item) = script.extra.pop_front() {
                chunk.push_item(item);
            } else if let Some(number) = script.queue.pop_first() {
                script.deliveries += 1;
                let serial = script.deliveries;
                script.live.insert(serial, number);
                let token = AckToken { index: serial, generation: 0 };
                let ack = AckHandle::new(Arc::new(self.clone()), token);
                let position = Position::pair("feed", number, 0).unwrap();
                chunk.push(Delivery::new(Arc::clone(&script.events[&number]), ack).at(position));
            }
        }
        if !chunk.is_empty() {
            return Poll::Ready(Some(Ok(())));
        }
        if script.ended {
            return Poll::Ready(None);
        }
        script.waker = Some(cx.waker().clone());
        Poll::Pending
    }

    fn seek(&mut self, _: StartPosition) -> BoxFuture<'_, Result<()>> {
        Box::pin(async { Ok(()) })
    }
}

impl Settler for Feed {
    fn settle(&self, token: AckToken, outcome: Outcome) -> bool {
        let live = self.is_live(token);
        self.settle_serial(token.index, outcome);
        live
    }

    fn is_live(&self, token: AckToken) -> bool {
        self.script().live.contains_key(&token.index)
    }

    fn confirm(&self, token: AckToken, outcome: Outcome) -> BoxFuture<'_, Result<()>> {
        Box::pin(async move {
            if !self.is_live(token) {
                return Err(Error::new(ErrorKind::Conflict, "settle", "lost"));
            }
            self.script().confirmed.push(token.index);
            self.settle_serial(token.index, outcome);
            Ok(())
        })
    }

    fn extend(&self, token: AckToken, duration: Duration) -> BoxFuture<'_, Result<()>> {
        Box::pin(async move {
            self.script().extended.push((token.index, duration));
            poll_fn(|_| if self.script().gate { Poll::Pending } else { Poll::Ready(()) }).await;
            Ok(())
        })
    }

    fn flush(&self) -> BoxFuture<'_, Result<()>> {
        Box::pin(async {
            let mut script = self.script();
            script.flushes += 1;
            match script.deaf {
                true => Err(Error::new(ErrorKind::Unavailable, "flush", "nobody hears")),
                false => Ok(()),
            }
        })
    }
}

/// A waker that notes it was called.
#[derive(Default)]
struct Flag(AtomicBool);

impl Wake for Flag {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::SeqCst);
    }
}

/// A hold around a feed.
struct Stand {
    feed: Feed,
    hold: Option<KeyHold>,
    gauge: HoldGauge,
    clock: ManualClock,
    drain: Drain,
    woken: Arc<Flag>,
    /// Everything but deliveries, with how many deliveries came before it.
    others: Vec<(u64, String)>,
    handed_out: u64,
    ended: bool,
}

impl Stand {
    fn new(window: usize) -> Self {
        Self::of(window, false)
    }

    /// A hold for which all events are of one key.
    fn total(window: usize) -> Self {
        Self::of(window, true)
    }

    fn of(window: usize, total: bool) -> Self {
        let (feed, clock, drain) = (Feed::default(), ManualClock::new(Timestamp::EPOCH), Drain::new());
        let retry = RetryPolicy::default().delays(millis(100), millis(10_000)).jitter(0.0);
        let options = HoldOptions { window, total, retry, clock: clock.clone().into(), drain: drain.clone() };
        let hold = KeyHold::new(Box::new(feed.clone()), options);
        let (gauge, woken) = (hold.gauge(), Arc::<Flag>::default());
        Self { feed, gauge, hold: Some(hold), clock, drain, woken, others: Vec::new(), handed_out: 0, ended: false }
    }

    /// A hold whose feed has these keys, one event each.
    fn with(window: usize, keys: &[&str]) -> Self {
        let stand = Self::new(window);
        stand.feed.push_all(keys);
        stand
    }

    /// Polls until there is no more for now.
    fn poll(&mut self) -> Vec<Delivery> {
        let waker = Waker::from(Arc::clone(&self.woken));
        let mut cx = Context::from_waker(&waker);
        let (mut chunk, mut out) = (Chunk::default(), Vec::new());
        self.woken.0.store(false, Ordering::SeqCst);
        let hold = self.hold.as_mut().unwrap();
        for _ in 0..10_000 {
            let polled = hold.poll_chunk(&mut cx, &mut chunk);
            assert_eq!(matches!(polled, Poll::Ready(Some(Ok(())))), !chunk.is_empty(), "{polled:?}");
            while let Some(item) = chunk.pop() {
                match item {
                    Item::Delivery(delivery) => {
                        self.handed_out += 1;
                        out.push(delivery);
                    }
                    other => self.others.push((self.handed_out, format!("{other:?}"))),
                }
            }
            match polled {
                Poll::Ready(Some(Ok(()))) => {}
                Poll::Ready(Some(Err(error))) => self.others.push((self.handed_out, error.to_string())),
                Poll::Ready(None) => {
                    self.ended = true;
                    return out;
                }
                Poll::Pending => return out,
            }
        }
        panic!("the hold never rests");
    }

    fn was_woken(&self) -> bool {
        self.woken.0.load(Ordering::SeqCst)
    }
}

fn millis(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

fn number(delivery: &Delivery) -> u64 {
    delivery.position.as_ref().unwrap().as_pair("feed").unwrap().0
}

/// Numbers and attempts.
fn seen(deliveries: &[Delivery]) -> Vec<(u64, u32)> {
    deliveries.iter().map(|delivery| (number(delivery), delivery.attempt)).collect()
}

/// Takes the delivery of an event out of a list.
fn pick(deliveries: &mut Vec<Delivery>, wanted: u64) -> Delivery {
    let index = deliveries.iter().position(|delivery| number(delivery) == wanted).unwrap();
    deliveries.remove(index)
}

fn nack(delivery: Delivery, delay: u64) {
    delivery.settle_as(Outcome::Nack(millis(delay)));
}

fn a_gap() -> Item {
    Item::Gap(Gap::new(ChannelName::parse("test").unwrap(), Some(3), GapReason::Retention))
}

fn a_state() -> Item {
    Item::State(SubscriptionState::Recovering("test".into()))
}
