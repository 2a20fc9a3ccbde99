//! How long to wait before the next attempt.

use std::{
    hash::{BuildHasher, RandomState},
    time::Duration,
};

/// The longest that a server may ask for: what is longer is a mistake, or malice.
const MOST: Duration = Duration::from_secs(10 * 60);

/// Pauses that double from the first to the longest, each up to a half shorter at random: clients that lost one server do
/// not come back all at once.
#[derive(Clone, Debug)]
pub(super) struct Backoff {
    first: Duration,
    longest: Duration,
    tries: u32,
    random: RandomState,
}

impl Backoff {
    pub(super) fn new(first: Duration, longest: Duration) -> Self {
        Self { first, longest: longest.max(first), tries: 0, random: RandomState::new() }
    }

    /// How long to wait now; not less than the server asked for.
    pub(super) fn next(&mut self, asked: Option<Duration>) -> Duration {
        let full = self.first.saturating_mul(1 << self.tries.min(16)).min(self.longest);
        self.tries = self.tries.saturating_add(1);
        let part = (self.random.hash_one(self.tries) >> 11) as f64 / (1_u64 << 53) as f64;
        full.mul_f64(1.0 - 0.5 * part).max(asked.unwrap_or_default().min(MOST))
    }

    /// Starts over, once something worked.
    pub(super) fn reset(&mut self) {
        self.tries = 0;
    }

    /// Takes the server's wish for the first pause.
    pub(super) fn set_first(&mut self, first: Duration) {
        self.first = first.min(MOST);
        self.longest = self.longest.max(self.first);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_to_the_longest_and_start_over() {
        let mut backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(1));
        for full in [100, 200, 400, 800, 1000, 1000] {
            let pause = backoff.next(None).as_millis();
            assert!((full / 2..=full).contains(&pause), "{pause} of {full}");
        }
        backoff.reset();
        assert!(backoff.next(None) <= Duration::from_millis(100));
        assert!(backoff.next(Some(Duration::from_secs(5))) >= Duration::from_secs(5));
        assert!(backoff.next(Some(Duration::MAX)) <= MOST);
        backoff.set_first(Duration::from_secs(3));
        assert!(backoff.next(None) <= Duration::from_secs(3));
    }
}
