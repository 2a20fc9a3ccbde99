//! What the deliveries of one subscription share, and the list of all subscriptions of a handle.

use std::{
    fmt,
    sync::{
        Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    task::Waker,
    time::Duration,
};

use tokio::sync::Notify;

use super::dead_letter::Writer;
use crate::{
    ChannelPattern, GroupName, HoldGauge, NamePattern, Result,
    driver::{Drain, RetryPolicy, SubscribeOptions},
    observe::{Level, Observer, Series, Tally, names},
};

/// What the deliveries of one subscription share.
pub(super) struct Consumer {
    pub(super) observer: Observer,
    pub(super) group: Option<GroupName>,
    pub(super) retry: RetryPolicy,
    /// The longest delay of a nack.
    pub(super) max_delay: Option<Duration>,
    pub(super) drain: Drain,
    /// Where dead letters go; none for broadcasts, and where the subscriber wants none.
    pub(super) dead_letters: Option<Arc<Writer>>,
    pub(super) counts: Counts,
    #[cfg(feature = "metrics")]
    pub(super) ages: Ages,
    hold: OnceLock<HoldGauge>,
    outstanding: AtomicUsize,
    idle: Arc<Notify>,
    paused: AtomicBool,
    ended: AtomicBool,
    waker: Mutex<Option<Waker>>,
}

/// How many of what, since the subscription began.
pub(super) struct Counts {
    pub(super) delivered: Tally,
    pub(super) failed: Tally,
    pub(super) retried: Tally,
    pub(super) refused: Tally,
    pub(super) unclaimed: Tally,
    pub(super) undecodable: Tally,
    pub(super) dead_lettered: Tally,
    pub(super) gaps: Tally,
    pub(super) lost: Tally,
    pub(super) disconnected: Tally,
    in_flight: Level,
}

impl Counts {
    fn new(series: &Series) -> Self {
        Self {
            delivered: series.tally(&names::CONSUMED),
            failed: series.tally(&names::FAILED),
            retried: series.tally(&names::RETRIED),
            refused: series.tally(&names::REFUSED),
            unclaimed: series.tally(&names::UNCLAIMED),
            undecodable: series.tally(&names::UNDECODABLE),
            dead_lettered: series.tally(&names::DEAD_LETTERED),
            gaps: series.tally(&names::GAPS),
            lost: series.tally(&names::LOST),
            disconnected: series.tally(&names::SLOW_DISCONNECTS),
            in_flight: series.level(&names::IN_FLIGHT),
        }
    }
}

/// The labels of a subscription.
fn series(observer: &Observer, options: &SubscribeOptions) -> Series {
    let channels: Vec<_> = options.channels.iter().map(ChannelPattern::to_string).collect();
    let group = options.group.as_ref().map_or("", GroupName::as_str);
    observer.series(&[("channel", &channels.join(",")), ("group", group)])
}

impl Consumer {
    pub(super) fn new(
        observer: &Observer,
        options: &SubscribeOptions,
        max_delay: Option<Duration>,
        dead_letters: Option<Arc<Writer>>,
        idle: Arc<Notify>,
    ) -> Self {
        Self {
            observer: observer.clone(),
            group: options.group.clone(),
            retry: options.retry,
            max_delay,
            drain: options.drain.clone(),
            dead_letters,
            counts: Counts::new(&series(observer, options)),
            #[cfg(feature = "metrics")]
            ages: Ages::default(),
            hold: OnceLock::new(),
            outstanding: AtomicUsize::new(0),
            idle,
            paused: AtomicBool::new(false),
            ended: AtomicBool::new(false),
            waker: Mutex::new(None),
        }
    }

    /// Deliveries in the hands of users or on their way to the dead letters.
    pub(super) fn outstanding(&self) -> usize {
        self.outstanding.load(Ordering::Acquire)
    }

    /// Remembers the gauge of the hold that keeps this subscription's keys in order.
    pub(super) fn set_hold(&self, gauge: HoldGauge) {
        let _ = self.hold.set(gauge); // a subscription is opened once
    }

    pub(super) fn hold(&self) -> Option<&HoldGauge> {
        self.hold.get()
    }

    pub(super) fn is_paused(&self) -> bool {
        self.paused.load(Ordering::Acquire)
    }

    pub(super) fn set_paused(&self, paused: bool) {
        self.paused.store(paused, Ordering::Release);
        self.wake();
    }

    /// Whether no more is handed out: its owner ended it, or the bus is being closed.
    pub(super) fn is_over(&self) -> bool {
        self.ended.load(Ordering::Acquire) || self.drain.is_draining()
    }

    pub(super) fn end(&self) {
        self.ended.store(true, Ordering::Release);
        self.wake();
    }

    /// Remembers whom to wake when the subscription is resumed, ended or drained.
    pub(super) fn park(&self, waker: &Waker) {
        let mut slot = self.waker.lock().unwrap_or_else(PoisonError::into_inner);
        if !slot.as_ref().is_some_and(|known| known.will_wake(waker)) {
            *slot = Some(waker.clone());
        }
    }

    pub(super) fn wake(&self) {
        let waker = self.waker.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

impl fmt::Debug for Consumer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Consumer").field("group", &self.group).finish_non_exhaustive()
    }
}

/// When the deliveries that are outstanding were handed out.
#[cfg(feature = "metrics")]
#[derive(Default)]
pub(super) struct Ages(Mutex<(u64, std::collections::BTreeMap<u64, std::time::Instant>)>);

#[cfg(feature = "metrics")]
impl Ages {
    fn begin(&self) -> u64 {
        let (next, begun) = &mut *lock(&self.0);
        *next += 1;
        begun.insert(*next, std::time::Instant::now());
        *next
    }

    fn end(&self, number: u64) {
        lock(&self.0).1.remove(&number);
    }

    /// The age of the oldest.
    pub(super) fn oldest(&self) -> Option<Duration> {
        lock(&self.0).1.first_key_value().map(|(_, begun)| begun.elapsed())
    }
}

/// Counts one delivery as outstanding for as long as it lives.
#[derive(Debug)]
pub(super) struct Outstanding {
    pub(super) consumer: Arc<Consumer>,
    #[cfg(feature = "metrics")]
    number: u64,
}

impl Outstanding {
    pub(super) fn new(consumer: &Arc<Consumer>) -> Self {
        consumer.outstanding.fetch_add(1, Ordering::Relaxed);
        consumer.counts.in_flight.up();
        Self {
            #[cfg(feature = "metrics")]
            number: consumer.ages.begin(),
            consumer: consumer.clone(),
        }
    }
}

impl Drop for Outstanding {
    fn drop(&mut self) {
        self.consumer.counts.in_flight.down();
        #[cfg(feature = "metrics")]
        self.consumer.ages.end(self.number);
        let before = self.consumer.outstanding.fetch_sub(1, Ordering::AcqRel);
        if before == 1 && self.consumer.drain.is_draining() {
            self.consumer.idle.notify_waiters();
        }
    }
}

/// A subscription that may still be alive, and what it takes.
#[derive(Debug)]
struct Member {
    consumer: Weak<Consumer>,
    group: Option<GroupName>,
    channels: Vec<ChannelPattern>,
    names: Vec<NamePattern>,
}

/// Every subscription of a handle that is still alive.
#[derive(Debug, Default)]
pub(super) struct Consumers {
    list: Mutex<Vec<Member>>,
    pub(super) idle: Arc<Notify>,
}

impl Consumers {
    /// Adds a subscription, for as long as it lives. In one group, everyone on a channel must take the same event
    /// names: see [`SubscribeOptions::check_names`].
    pub(super) fn insert(&self, consumer: &Arc<Consumer>, options: &SubscribeOptions) -> Result<()> {
        let SubscribeOptions { group, channels, names, .. } = options;
        let mut list = lock(&self.list);
        list.retain(|member| member.consumer.strong_count() > 0);
        for other in list.iter().filter(|other| group.is_some() && other.group == *group) {
            let shared = |channel: &&ChannelPattern| other.channels.iter().any(|theirs| theirs.overlaps(channel));
            if let Some(channel) = channels.iter().find(shared) {
                options.check_names(channel, &other.names)?;
            }
        }
        let consumer = Arc::downgrade(consumer);
        list.push(Member { consumer, group: group.clone(), channels: channels.clone(), names: names.clone() });
        Ok(())
    }

    pub(super) fn alive(&self) -> Vec<Arc<Consumer>> {
        lock(&self.list).iter().filter_map(|member| member.consumer.upgrade()).collect()
    }

    /// Every subscription that is alive, as metrics show it.
    #[cfg(feature = "metrics")]
    pub(super) fn samples(&self) -> Vec<crate::observe::Sample> {
        let sample = |member: &Member| {
            let consumer = member.consumer.upgrade()?;
            Some(crate::observe::Sample {
                channels: member.channels.iter().map(ChannelPattern::to_string).collect(),
                group: member.group.as_ref().map_or_else(String::new, GroupName::to_string),
                oldest: consumer.ages.oldest(),
                held: consumer.hold().map_or(0, HoldGauge::held),
            })
        };
        lock(&self.list).iter().filter_map(sample).collect()
    }

    /// Deliveries outstanding over all subscriptions.
    pub(super) fn outstanding(&self) -> usize {
        self.alive().iter().map(|consumer| consumer.outstanding()).sum()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // The lists are whole at every point where a panic could come from.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
