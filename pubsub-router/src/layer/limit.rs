//! How many handlers run at the same time, and how many begin per second.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use pubsub_core::{Clock, Mark};
use tokio::sync::Semaphore;

use super::{Inner, layer, wait};
use crate::{HandlerError, Incoming, Verdict};

/// Lets so many handlers run at the same time, over all that the layer and its clones are around. The others wait, and
/// keep their deliveries; while the router is drained, those that wait give them back.
#[derive(Clone, Debug)]
pub struct ConcurrencyLimit {
    permits: Arc<Semaphore>,
}

impl ConcurrencyLimit {
    /// At most `handlers` at a time; at least one.
    pub fn max(handlers: usize) -> Self {
        Self { permits: Arc::new(Semaphore::new(handlers.clamp(1, Semaphore::MAX_PERMITS))) }
    }

    async fn around(&self, incoming: Incoming, inner: impl Inner) -> Verdict {
        let permit = tokio::select! {
            biased;
            permit = self.permits.acquire() => permit?,
            () = incoming.drain().clone().started() => return Err(HandlerError::release("the router is being drained")),
        };
        let verdict = inner.run(incoming).await;
        drop(permit);
        verdict
    }
}

layer!(ConcurrencyLimit, ConcurrencyLimitService);

/// Lets so many handlers begin per second, over all that the layer and its clones are around. The others wait, and keep
/// their deliveries; while the router is drained, those that wait give them back.
#[derive(Clone, Debug)]
pub struct RateLimit {
    interval: Duration,
    burst: u32,
    schedule: Arc<Mutex<Schedule>>,
}

/// When the next one may begin, counted from the first one.
#[derive(Debug, Default)]
struct Schedule {
    begun: Option<Mark>,
    next: Duration,
}

impl RateLimit {
    /// `calls` per second, at least one, at equal distances.
    pub fn per_second(calls: u32) -> Self {
        Self { interval: Duration::from_secs(1) / calls.max(1), burst: 1, schedule: Arc::default() }
    }

    /// Lets so many begin at once after a time of rest; at least one.
    #[must_use]
    pub fn burst(mut self, calls: u32) -> Self {
        self.burst = calls.max(1);
        self
    }

    /// Takes a place in the schedule: how long to wait for it.
    fn reserve(&self, clock: &Clock) -> Duration {
        // The numbers are valid at every point where a panic could come from.
        let mut schedule = self.schedule.lock().unwrap_or_else(PoisonError::into_inner);
        let now = clock.elapsed(*schedule.begun.get_or_insert_with(|| clock.mark()));
        let place = schedule.next.max(now);
        schedule.next = place + self.interval;
        place.saturating_sub(now + self.interval * (self.burst - 1))
    }

    async fn around(&self, incoming: Incoming, inner: impl Inner) -> Verdict {
        let delay = self.reserve(incoming.bus().clock());
        if !delay.is_zero() {
            wait(&incoming, delay).await?;
        }
        inner.run(incoming).await
    }
}

layer!(RateLimit, RateLimitService);

#[cfg(test)]
mod tests {
    use pubsub_core::{ManualClock, Timestamp};

    use super::*;

    #[test]
    fn a_burst_passes_at_once_and_the_rest_at_equal_distances() {
        let manual = ManualClock::new(Timestamp::EPOCH);
        let clock = Clock::from(manual.clone());
        let limit = RateLimit::per_second(10).burst(3);
        let millis = |_| u64::try_from(limit.reserve(&clock).as_millis()).unwrap();
        assert_eq!((0..5).map(millis).collect::<Vec<_>>(), [0, 0, 0, 100, 200]);
        manual.advance(Duration::from_secs(60));
        assert_eq!((0..4).map(millis).collect::<Vec<_>>(), [0, 0, 0, 100]);
    }
}
