//! The publish rate of one process on one channel.

use std::sync::{Mutex, MutexGuard, PoisonError};

use smallvec::SmallVec;

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
        Self::take_all(clock, [(self, count)]).is_ok()
    }

    /// Takes tokens of all these limiters, or none of any; the error is the index of one that has too few. Callers
    /// name them in one order, or two of them could wait for each other.
    pub(super) fn take_all<'l>(
        clock: &Clock,
        wanted: impl IntoIterator<Item = (&'l Self, usize)>,
    ) -> Result<(), usize> {
        let mut filled = SmallVec::<[_; 2]>::new();
        for (index, (limiter, count)) in wanted.into_iter().enumerate() {
            let bucket = limiter.filled(clock);
            if bucket.as_ref().is_none_or(|bucket| bucket.tokens < count as f64) {
                return Err(index);
            }
            filled.push((bucket, count));
        }
        for (bucket, count) in &mut filled {
            if let Some(bucket) = bucket.as_mut() {
                bucket.tokens -= *count as f64;
            }
        }
        Ok(())
    }

    /// The most that can be taken at once.
    pub(super) fn burst(&self) -> usize {
        usize::try_from(self.rate.burst).unwrap_or(usize::MAX)
    }

    /// The bucket as of now.
    fn filled(&self, clock: &Clock) -> MutexGuard<'_, Option<Bucket>> {
        // A poisoned bucket still holds valid numbers.
        let mut guard = self.bucket.lock().unwrap_or_else(PoisonError::into_inner);
        let bucket = guard.get_or_insert_with(|| Bucket { tokens: f64::from(self.rate.burst), filled: clock.mark() });
        let gained = clock.elapsed(bucket.filled).as_secs_f64() * f64::from(self.rate.per_second);
        bucket.tokens = (bucket.tokens + gained).min(f64::from(self.rate.burst));
        bucket.filled = clock.mark();
        guard
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
