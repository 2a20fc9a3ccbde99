//! Records that did not follow the one before them. Retention may have removed what was between, or it was never meant for
//! readers (marks of transactions): the broker knows which.

use std::{collections::VecDeque, time::Duration};

use pubsub_core::{
    ChannelName, Result,
    driver::{Gap, GapReason},
};
use tokio::time::Instant;

use super::{connection::Link, position::bounds_of};

/// How long a broker that does not answer is left alone.
const AGAIN: Duration = Duration::from_secs(1);

/// What was expected in a partition, and what came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Jump {
    pub(super) channel: ChannelName,
    pub(super) topic: String,
    pub(super) partition: i32,
    pub(super) expected: i64,
    pub(super) came: i64,
}

/// The jumps of which the broker has not been asked yet.
#[derive(Debug, Default)]
pub(super) struct Jumps {
    all: VecDeque<Jump>,
    again: Option<Instant>,
}

impl Jumps {
    pub(super) fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    /// Notes one, unless it is known: whoever reads again meets it again.
    pub(super) fn note(&mut self, jump: Jump) {
        if !self.all.contains(&jump) {
            self.all.push_back(jump);
        }
    }

    /// Forgets those in a log that is gone.
    pub(super) fn clear(&mut self) {
        self.all.clear();
    }

    /// The gaps among them, as far as the broker tells now; the others are asked for later.
    pub(super) async fn gaps(&mut self, link: &Link) -> Vec<Gap> {
        let mut gaps = Vec::new();
        if self.again.is_some_and(|again| Instant::now() < again) {
            return gaps;
        }
        self.again = None;
        while let (None, Some(jump)) = (self.again, self.all.front()) {
            let (topic, partition) = (jump.topic.clone(), jump.partition);
            let asked = link.ask("receive", move |explorer| bounds_of(explorer, &topic, partition)).await;
            gaps.extend(self.answered(asked.map(|bounds| bounds.low)));
        }
        gaps
    }

    /// What the broker says of the first one: where its partition begins now.
    fn answered(&mut self, low: Result<i64>) -> Option<Gap> {
        if low.as_ref().is_err_and(pubsub_core::Error::is_retryable) {
            self.again = Some(Instant::now() + AGAIN);
            return None;
        }
        let jump = self.all.pop_front()?;
        // Of a log that is gone something else tells.
        let lost = low.ok()?.min(jump.came) - jump.expected;
        (lost > 0).then(|| Gap::new(jump.channel, Some(lost.unsigned_abs()), GapReason::Retention))
    }
}

#[cfg(test)]
mod tests {
    use pubsub_core::{Error, ErrorKind};

    use super::*;

    fn jump(expected: i64, came: i64) -> Jump {
        let channel = ChannelName::parse("orders").unwrap();
        Jump { channel, topic: "orders".into(), partition: 0, expected, came }
    }

    fn failure(kind: ErrorKind) -> Error {
        Error::new(kind, "receive", "no")
    }

    #[tokio::test(start_paused = true)]
    async fn a_broker_that_does_not_answer_is_asked_again() {
        let mut jumps = Jumps::default();
        jumps.note(jump(5, 9));
        jumps.note(jump(5, 9));
        assert_eq!(jumps.answered(Err(failure(ErrorKind::Unavailable))), None);
        assert!(jumps.again.is_some() && !jumps.is_empty());
        let gap = jumps.answered(Ok(8)).unwrap();
        assert_eq!((gap.lost, gap.reason), (Some(3), GapReason::Retention));
        assert!(jumps.is_empty(), "the same one counts once");
    }

    #[tokio::test]
    async fn what_was_never_meant_for_readers_is_no_gap() {
        let mut jumps = Jumps::default();
        jumps.note(jump(5, 6));
        assert_eq!(jumps.answered(Ok(2)), None);
        jumps.note(jump(5, 6));
        assert_eq!(jumps.answered(Err(failure(ErrorKind::NotFound))), None);
        assert!(jumps.is_empty());
    }
}
