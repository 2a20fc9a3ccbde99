//! How the events of a flow are spread over keys.

use serde::{Deserialize, Serialize};

/// Which key each serial has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Keys {
    all: usize,
    hot: usize,
}

impl Keys {
    /// One key after the other, so many; 0 for events without a key.
    pub const fn over(all: usize) -> Self {
        Self { all, hot: 0 }
    }

    /// Every second event goes to one of the first so many keys: where there are many keys, hardly two events of one are
    /// underway together otherwise, and nothing would show that their order is kept.
    #[must_use]
    pub const fn hot(mut self, hot: usize) -> Self {
        self.hot = hot;
        self
    }

    /// The key of an event.
    pub fn of(self, serial: usize) -> Option<usize> {
        match self {
            Self { all: 0, .. } => None,
            Self { all, hot: 0 } => Some(serial % all),
            Self { hot, .. } if serial % 2 == 1 => Some(serial / 2 % hot),
            Self { all, hot } => Some(hot + serial / 2 % (all - hot)),
        }
    }

    /// The event before this one in its key.
    pub fn before(self, serial: usize) -> Option<usize> {
        let step = match self {
            Self { all: 0, .. } => return None,
            Self { all, hot: 0 } => all,
            Self { hot, .. } if serial % 2 == 1 => 2 * hot,
            Self { all, hot } => 2 * (all - hot),
        };
        serial.checked_sub(step)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_event_before_is_the_latest_of_the_same_key() {
        for keys in [Keys::over(0), Keys::over(4), Keys::over(10).hot(3), Keys::over(1_000).hot(60)] {
            for serial in 0..5_000 {
                let same =
                    (0..serial).rev().find(|before| keys.of(*before).is_some() && keys.of(*before) == keys.of(serial));
                assert_eq!(keys.before(serial), same, "{keys:?} {serial}");
            }
        }
    }

    #[test]
    fn all_keys_are_used() {
        let keys = Keys::over(1_000).hot(60);
        let used: std::collections::BTreeSet<_> = (0..4_000).filter_map(|serial| keys.of(serial)).collect();
        assert_eq!((used.len(), used.last()), (1_000, Some(&999)));
    }
}
