//! Delays: a ladder of queues in which events wait.
//!
//! The digits of a delay are the first words of the routing key. Each level of the ladder is an exchange that looks at its
//! digit: a zero leads to the next level, any other into a queue that holds events for so many units of the level, and
//! dead-letters them, at least once, into the next level. At the end stands an exchange to which channels and groups are
//! bound. All events in a queue wait equally long, so none holds up another; no process needs to run for any of it.

use std::time::Duration;

use lapin::types::FieldTable;
use pubsub_core::Timestamp;

use super::{
    names::{DIGITS, UNIT_MS, digits},
    topology::{number, text},
};

/// How long an event waits, in the ladder's units.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Delay(u64);

impl Delay {
    /// No delay.
    pub(super) fn none() -> Self {
        Self(0)
    }

    /// At least this long. Long delays are rounded up to four digits, so that an event takes few steps.
    pub(super) fn of(delay: Duration) -> Self {
        let units = u64::try_from(delay.as_millis()).unwrap_or(u64::MAX).div_ceil(UNIT_MS);
        let mut grain = 1_u64;
        while units / grain >= 1_000 {
            grain = grain.saturating_mul(10);
        }
        Self(units.div_ceil(grain).saturating_mul(grain))
    }

    /// Not before this time, to the unit.
    pub(super) fn until(due: Timestamp) -> Self {
        let millis = due.as_millis().saturating_sub(Timestamp::now().as_millis());
        Self(u64::try_from(millis).map_or(0, |millis| if millis == 0 { 0 } else { (millis + 1).div_ceil(UNIT_MS) }))
    }

    pub(super) fn units(self) -> u64 {
        self.0
    }

    /// The level at which the event enters; none without a delay.
    pub(super) fn level(self) -> Option<usize> {
        digits(self.0).1
    }

    /// The beginning of the routing key.
    pub(super) fn digits(self) -> String {
        digits(self.0).0
    }
}

/// The rungs that a delay needs: level and digit.
pub(super) fn rungs(units: u64) -> Vec<(usize, u8)> {
    let (dotted, _) = digits(units);
    let digits = dotted.split('.').take(DIGITS).enumerate();
    digits
        .filter_map(|(index, digit)| {
            let digit = digit.parse::<u8>().ok().filter(|digit| *digit > 0)?;
            Some((DIGITS - 1 - index, digit))
        })
        .collect()
}

/// The arguments of a rung's queue.
pub(super) fn rung_arguments(level: usize, digit: u8, next: &str) -> FieldTable {
    let millis = u64::from(digit) * 10_u64.pow(u32::try_from(level).unwrap_or(0)) * UNIT_MS;
    let mut arguments = FieldTable::default();
    text(&mut arguments, "x-queue-type", "quorum");
    number(&mut arguments, "x-message-ttl", millis);
    text(&mut arguments, "x-dead-letter-exchange", next);
    text(&mut arguments, "x-dead-letter-strategy", "at-least-once");
    text(&mut arguments, "x-overflow", "reject-publish");
    arguments
}

/// The pattern that sees one digit at its level, whatever stands before and behind.
pub(super) fn rung_key(level: usize, digit: u8) -> String {
    format!("{}{digit}.#", "*.".repeat(DIGITS - 1 - level))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_delay_is_never_shortened_and_takes_few_steps() {
        for millis in [1, 9, 10, 11, 999, 29_731, 86_400_000, 777_777_777] {
            let delay = Delay::of(Duration::from_millis(millis));
            let waits = delay.units() * UNIT_MS;
            assert!(waits >= millis && waits <= millis + millis / 100 + UNIT_MS, "{millis}: {waits}");
            assert!(rungs(delay.units()).len() <= 4);
        }
        assert_eq!((Delay::of(Duration::ZERO).level(), Delay::none().level()), (None, None));
    }

    #[test]
    fn keys_and_rungs_meet() {
        assert_eq!(rungs(305), [(2, 3), (0, 5)]);
        assert_eq!(rung_key(7, 3), "3.#");
        assert_eq!(rung_key(0, 5), "*.*.*.*.*.*.*.5.#");
    }
}
