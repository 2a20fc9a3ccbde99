//! The publish rate of one process on one channel.

use std::sync::{Mutex, PoisonError};

use crate::{Clock, Mark, Rate};

/// A token bucket: `burst` tokens at most, refilled at `per_second`.
#[derive(Debug)]
pub(super) struct Limiter {
    rate: Rate,
    bucket: Mutex<Option<Bucket>>,
}

#[derive(Debug)]
struct Bucket {
    tokens: f64,
    filled: Mark,
}

impl Limiter {
    pub(super) fn new(rate: Rate) -> Self {
        Self { rate, bucket: Mutex::new(None) }
    }

    /// Takes `count` tokens, or none.
    pub(super) fn try_take(&self, clock: &Clock, count: usize) -> bool {
        // A poisoned bucket still holds valid numbers.
        let mut bucket = self.bucket.lock().unwrap_or_else(PoisonError::into_inner);
        let bucket = bucket.get_or_insert_with(|| Bucket { tokens: f64::from(self.rate.burst), filled: clock.mark() });
        let gained = clock.elapsed(bucket.filled).as_secs_f64() * f64::from(self.rate.per_second);
        bucket.tokens = (bucket.tokens + gained).min(f64::from(self.rate.burst));
        bucket.filled = clock.mark();
        let enough = bucket.tokens >= count as f64;
        if enough {
            bucket.tokens -= count as f64;
        }
        enough
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::{ManualClock, Timestamp};

    #[test]
    fn tokens_come_back_with_time_and_no_more_than_the_burst() {
        let manual = ManualClock::new(Timestamp::EPOCH);
        let clock = Clock::from(manual.clone());
        let limiter = Limiter::new(Rate { per_second: 10, burst: 2 });
        assert!(limiter.try_take(&clock, 2) && !limiter.try_take(&clock, 1));
        manual.advance(Duration::from_millis(100));
        assert!(limiter.try_take(&clock, 1) && !limiter.try_take(&clock, 1));
        manual.advance(Duration::from_secs(60));
        assert!(!limiter.try_take(&clock, 3) && limiter.try_take(&clock, 2));
    }
}
