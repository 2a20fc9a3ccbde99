//! How long to wait before a broken connection is tried again.

use std::{
    hash::{BuildHasher, RandomState},
    time::Duration,
};

const FIRST: Duration = Duration::from_millis(50);
const LONGEST: Duration = Duration::from_secs(3);

/// Delays that double from 50 ms to 3 s, each up to a half shorter at random: clients of a broker that comes back do not
/// all knock at once.
#[derive(Debug, Default)]
pub(crate) struct Backoff {
    tries: u32,
    random: RandomState,
}

impl Backoff {
    /// How long to wait now.
    pub(crate) fn next(&mut self) -> Duration {
        let full = FIRST.saturating_mul(1 << self.tries.min(16)).min(LONGEST);
        self.tries = self.tries.saturating_add(1);
        let part = (self.random.hash_one(self.tries) >> 11) as f64 / (1_u64 << 53) as f64;
        full.mul_f64(1.0 - 0.5 * part)
    }

    /// Starts over, once something worked.
    pub(crate) fn reset(&mut self) {
        self.tries = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delays_grow_to_the_longest_and_start_over() {
        let mut backoff = Backoff::default();
        for full in [50, 100, 200, 400, 800, 1600, 3000, 3000] {
            let delay = backoff.next().as_millis();
            assert!((full / 2..=full).contains(&delay), "{delay} of {full}");
        }
        backoff.reset();
        assert!(backoff.next() <= FIRST);
    }
}
