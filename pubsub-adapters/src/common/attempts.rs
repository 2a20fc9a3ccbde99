//! Which delivery of an event this is, where failures are told apart from deliveries of which nobody said anything.

use pubsub_core::driver::RetryPolicy;

/// The attempt of an event that has failed so often, and came so often beside without a word: as after a crash, which says
/// nothing about the event until there are so many that it is likely to bring its consumers down. Then all of them count,
/// so that it gets no further delivery.
pub(crate) fn attempt(retry: &RetryPolicy, failures: u32, unexplained: u32) -> u32 {
    let before = failures.saturating_add(unexplained);
    1_u32.saturating_add(if retry.is_worn(before) { before } else { failures })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn deliveries_without_a_word_count_once_they_are_as_many_as_the_policy_takes() {
        let retry = RetryPolicy::default(); // 8 attempts, 64 deliveries
        assert_eq!(attempt(&retry, 0, 0), 1);
        assert_eq!(attempt(&retry, 2, 0), 3, "failures");
        assert_eq!(attempt(&retry, 0, 63), 1, "crashes");
        assert_eq!(attempt(&retry, 0, 64), 65, "it is not delivered a 65th time");
        assert_eq!(attempt(&retry, 3, 60), 4);
        assert_eq!(attempt(&retry, 3, 61), 65, "both together");
        assert_eq!(attempt(&retry.deliveries(2), 0, 7), 1, "never fewer than the attempts");
        assert_eq!(attempt(&retry.deliveries(2), 0, 8), 9);
        assert_eq!(attempt(&retry.attempts(0), 1, u32::MAX), 2, "without a cap there is no end");
    }
}
