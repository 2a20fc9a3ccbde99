//! What the deliveries of one subscription share, and the list of all subscriptions of a handle.

use std::{
    sync::{
        Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    },
    task::Waker,
    time::Duration,
};

use tokio::sync::Notify;

use super::dead_letter::Writer;
use crate::{
    ChannelPattern, GroupName, HoldGauge, NamePattern, Result,
    driver::{Drain, RetryPolicy, SubscribeOptions},
};

/// What the deliveries of one subscription share.
#[derive(Debug)]
pub(super) struct Consumer {
    pub(super) group: Option<GroupName>,
    pub(super) retry: RetryPolicy,
    /// The longest delay of a nack.
    pub(super) max_delay: Option<Duration>,
    pub(super) drain: Drain,
    /// Where dead letters go; none for broadcasts, and where the subscriber wants none.
    pub(super) dead_letters: Option<Arc<Writer>>,
    pub(super) counts: Counts,
    hold: OnceLock<HoldGauge>,
    outstanding: AtomicUsize,
    idle: Arc<Notify>,
    paused: AtomicBool,
    ended: AtomicBool,
    waker: Mutex<Option<Waker>>,
}

/// How many of what, since the subscription began.
#[derive(Debug, Default)]
pub(super) struct Counts {
    pub(super) delivered: AtomicU64,
    pub(super) refused: AtomicU64,
    pub(super) unclaimed: AtomicU64,
    pub(super) undecodable: AtomicU64,
    pub(super) dead_lettered: AtomicU64,
    pub(super) gaps: AtomicU64,
    pub(super) lost: AtomicU64,
    pub(super) disconnected: AtomicU64,
}

impl Consumer {
    pub(super) fn new(
        group: Option<GroupName>,
        retry: RetryPolicy,
        max_delay: Option<Duration>,
        drain: Drain,
        dead_letters: Option<Arc<Writer>>,
        idle: Arc<Notify>,
    ) -> Self {
        Self {
            group,
            retry,
            max_delay,
            drain,
            dead_letters,
            counts: Counts::default(),
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

/// Counts one delivery as outstanding for as long as it lives.
#[derive(Debug)]
pub(super) struct Outstanding(pub(super) Arc<Consumer>);

impl Outstanding {
    pub(super) fn new(consumer: &Arc<Consumer>) -> Self {
        consumer.outstanding.fetch_add(1, Ordering::Relaxed);
        Self(consumer.clone())
    }
}

impl Drop for Outstanding {
    fn drop(&mut self) {
        let before = self.0.outstanding.fetch_sub(1, Ordering::AcqRel);
        if before == 1 && self.0.drain.is_draining() {
            self.0.idle.notify_waiters();
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

    /// Deliveries outstanding over all subscriptions.
    pub(super) fn outstanding(&self) -> usize {
        self.alive().iter().map(|consumer| consumer.outstanding()).sum()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // The list is whole at every point where a panic could come from.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
