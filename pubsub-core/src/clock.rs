//! `Clock`: the system's time, or one that a test moves by hand.

use std::{
    collections::BTreeMap,
    fmt,
    future::poll_fn,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Poll, Waker},
    time::{Duration, Instant},
};

use crate::{Error, ErrorKind, Result, Timestamp, driver::BoxFuture};

/// The longest that anything is waited for: adding it to the time now does not overflow.
pub(crate) const LONGEST_WAIT: Duration = Duration::from_secs(365 * 24 * 3_600);

/// Where leases, delays, retention and timestamps take their time from.
#[derive(Clone, Default)]
pub struct Clock(Option<ManualClock>);

impl Clock {
    /// The system's clock, with tokio's timers.
    pub fn system() -> Self {
        Self(None)
    }

    /// Whether two clocks may show different times: one is moved by hand, and the other is not moved with it.
    pub fn differs_from(&self, other: &Self) -> bool {
        match (&self.0, &other.0) {
            (None, None) => false,
            (Some(one), Some(two)) => !Arc::ptr_eq(&one.0, &two.0),
            _ => true,
        }
    }

    /// The time now. The system's clock may be set back; nothing here relies on it never being so.
    pub fn now(&self) -> Timestamp {
        match &self.0 {
            None => Timestamp::now(),
            Some(manual) => manual.now(),
        }
    }

    /// Checks that sleeping is possible here: the system's clock needs a tokio runtime around it, and tokio does not tell
    /// whether that runtime has its time enabled. A clock that is moved by hand needs none.
    ///
    /// # Errors
    /// `Invalid` outside of a tokio runtime.
    pub fn check_timers(&self, operation: &'static str) -> Result<()> {
        if self.0.is_some() || tokio::runtime::Handle::try_current().is_ok() {
            return Ok(());
        }
        Err(Error::new(ErrorKind::Invalid, operation, "this needs a tokio runtime with time enabled"))
    }

    /// Sleeps until the time has come. The system's clock needs a tokio runtime with time enabled for it; ask
    /// [`Clock::check_timers`] where there may be none.
    pub fn sleep_until(&self, due: Timestamp) -> BoxFuture<'static, ()> {
        match &self.0 {
            // One millisecond is added because the timestamps are cut off to milliseconds.
            None => {
                let wait = due.since(Timestamp::now()) + Duration::from_millis(1);
                Box::pin(tokio::time::sleep(wait))
            }
            Some(manual) => manual.sleep_until(due),
        }
    }

    /// Sleeps for a while, as [`Clock::sleep_until`].
    pub fn sleep(&self, duration: Duration) -> BoxFuture<'static, ()> {
        match &self.0 {
            None => Box::pin(tokio::time::sleep(duration)),
            Some(manual) => manual.sleep_until(manual.now().saturating_add(duration)),
        }
    }

    /// A point that [`Clock::elapsed`] measures from.
    pub fn mark(&self) -> Mark {
        match &self.0 {
            None => Mark::System(Instant::now()),
            Some(manual) => Mark::Manual(manual.now()),
        }
    }

    /// The time since `mark`, unaffected by anyone setting the system's clock.
    pub fn elapsed(&self, mark: Mark) -> Duration {
        match mark {
            Mark::System(instant) => instant.elapsed(),
            Mark::Manual(time) => self.now().since(time),
        }
    }
}

impl From<ManualClock> for Clock {
    fn from(manual: ManualClock) -> Self {
        Self(Some(manual))
    }
}

impl fmt::Debug for Clock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            None => f.write_str("Clock::System"),
            Some(manual) => write!(f, "Clock::Manual({})", manual.now()),
        }
    }
}

/// A point in the time of a [`Clock`].
#[derive(Clone, Copy, Debug)]
pub enum Mark {
    /// By the system's monotonic clock.
    System(Instant),
    /// By a clock that is moved by hand.
    Manual(Timestamp),
}

/// A clock that stands still until it is moved: tests of delays need no waiting, and end the same way each time.
#[derive(Clone)]
pub struct ManualClock(Arc<Mutex<Manual>>);

struct Manual {
    now: Timestamp,
    sleepers: BTreeMap<(Timestamp, u64), Option<Waker>>,
    next: u64,
}

impl ManualClock {
    /// A clock that stands at `start`.
    pub fn new(start: Timestamp) -> Self {
        Self(Arc::new(Mutex::new(Manual { now: start, sleepers: BTreeMap::new(), next: 0 })))
    }

    fn lock(&self) -> MutexGuard<'_, Manual> {
        // No code panics while it holds this lock, and the numbers inside are valid at any time.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The time now.
    pub fn now(&self) -> Timestamp {
        self.lock().now
    }

    /// Moves the time and wakes everyone whose time has come.
    pub fn advance(&self, by: Duration) {
        let mut manual = self.lock();
        manual.now = manual.now.saturating_add(by);
        let now = manual.now;
        let due: Vec<Waker> = manual
            .sleepers
            .iter_mut()
            .take_while(|((due, _), _)| *due <= now)
            .filter_map(|(_, waker)| waker.take())
            .collect();
        drop(manual);
        due.into_iter().for_each(Waker::wake);
    }

    /// Sets the time, also back, as administrators do. Nobody is woken: only time that passes wakes.
    pub fn set(&self, now: Timestamp) {
        self.lock().now = now;
    }

    /// The earliest time that somebody sleeps until.
    pub fn next_due(&self) -> Option<Timestamp> {
        self.lock().sleepers.keys().next().map(|(due, _)| *due)
    }

    fn sleep_until(&self, due: Timestamp) -> BoxFuture<'static, ()> {
        let sleeper = Sleeper::new(self.clone(), due);
        Box::pin(async move {
            poll_fn(|cx| {
                let mut manual = sleeper.clock.lock();
                if manual.now >= sleeper.key.0 {
                    return Poll::Ready(());
                }
                manual.sleepers.insert(sleeper.key, Some(cx.waker().clone()));
                Poll::Pending
            })
            .await;
        })
    }
}

impl fmt::Debug for ManualClock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ManualClock({})", self.now())
    }
}

/// Takes its entry away when the sleep ends or is dropped.
struct Sleeper {
    clock: ManualClock,
    key: (Timestamp, u64),
}

impl Sleeper {
    fn new(clock: ManualClock, due: Timestamp) -> Self {
        let mut manual = clock.lock();
        manual.next += 1;
        let key = (due, manual.next);
        drop(manual);
        Self { clock, key }
    }
}

impl Drop for Sleeper {
    fn drop(&mut self) {
        self.clock.lock().sleepers.remove(&self.key);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_manual_clock_wakes_whoever_is_due() {
        let manual = ManualClock::new(Timestamp::EPOCH);
        let clock = Clock::from(manual.clone());
        let short = tokio::spawn(clock.sleep(Duration::from_secs(1)));
        let long = tokio::spawn(clock.sleep(Duration::from_secs(3)));
        while manual.next_due() != Some(Timestamp::EPOCH.saturating_add(Duration::from_secs(1))) {
            tokio::task::yield_now().await;
        }
        manual.advance(Duration::from_secs(2));
        short.await.unwrap();
        assert!(!long.is_finished());
        manual.advance(Duration::from_secs(1));
        long.await.unwrap();
        assert_eq!(manual.next_due(), None);
    }
}
