//! Settlements on their way to the broker: which of them a commit covers, and what those who wait are told.

use pubsub_core::{Error, ErrorKind, Result};
use tokio::time::Instant;

use super::{COMMIT, COMMIT_EVERY, COMMIT_LIMIT, COMMIT_SOONEST};

/// A commit that the broker has not answered yet.
struct Underway {
    settlements: usize,
    partitions: Vec<i32>,
    since: Instant,
    /// Why it does not count, whatever the broker says.
    refused: Option<Error>,
}

/// The commits of one member.
pub(super) struct Commits {
    underway: Option<Underway>,
    /// Settlements that no commit covers yet.
    untold: usize,
    /// Why some of them never will be covered.
    refused: Option<Error>,
    /// Commits that were given up, and whose end may still be reported.
    forgotten: usize,
    /// When the last commit began.
    begun: Instant,
    /// When to commit what is done.
    pub(super) due: Instant,
    /// Somebody waits: commit now.
    pub(super) urgent: bool,
}

/// How a commit ended.
#[derive(Debug)]
pub(super) enum Ended {
    /// So many settlements can be told of.
    Told(usize, Result<()>),
    /// These partitions have to be committed again.
    Again(Vec<i32>),
    /// It was given up before.
    Forgotten,
}

impl Commits {
    pub(super) fn new() -> Self {
        let now = Instant::now();
        Self { underway: None, untold: 0, refused: None, forgotten: 0, begun: now, due: now + COMMIT, urgent: false }
    }

    /// Takes in settlements.
    pub(super) fn add(&mut self, settlements: usize) {
        self.untold += settlements;
        if self.untold >= COMMIT_EVERY {
            self.due = self.due.min(self.begun + COMMIT_SOONEST);
        }
    }

    /// Some of the settlements that no commit has covered will never be.
    pub(super) fn refuse(&mut self, why: Error) {
        if self.untold > 0 || self.underway.is_some() {
            self.refused.get_or_insert(why);
        }
    }

    /// The broker has given everything to somebody else: nothing counts that it has not confirmed by now.
    pub(super) fn refuse_all(&mut self, why: Error) {
        if let Some(underway) = &mut self.underway {
            underway.refused.get_or_insert_with(|| why.clone());
        }
        if self.untold > 0 {
            self.refused.get_or_insert(why);
        }
    }

    pub(super) fn is_underway(&self) -> bool {
        self.underway.is_some()
    }

    /// Until when the commit underway is waited for.
    pub(super) fn limit(&self) -> Option<Instant> {
        self.underway.as_ref().map(|underway| underway.since + COMMIT_LIMIT)
    }

    /// Whether somebody is to be told.
    pub(super) fn has_untold(&self) -> bool {
        self.untold > 0
    }

    /// A commit of all settlements so far begins.
    pub(super) fn begin(&mut self, partitions: Vec<i32>, now: Instant) {
        let (settlements, refused) = (std::mem::take(&mut self.untold), self.refused.take());
        self.underway = Some(Underway { settlements, partitions, since: now, refused });
        self.urgent = false;
        self.begun = now;
    }

    /// Gives up a commit that takes too long: its settlements, and its partitions.
    pub(super) fn give_up(&mut self, now: Instant) -> Option<(usize, Vec<i32>)> {
        let late = self.underway.take_if(|underway| now >= underway.since + COMMIT_LIMIT)?;
        self.forgotten += 1;
        Some((late.settlements, late.partitions))
    }

    /// The broker has answered.
    pub(super) fn end(&mut self, answer: &Result<()>) -> Ended {
        if self.forgotten > 0 {
            self.forgotten -= 1;
            return Ended::Forgotten;
        }
        let Some(Underway { settlements, partitions, refused, .. }) = self.underway.take() else {
            return Ended::Forgotten;
        };
        match (answer, refused) {
            (_, Some(why)) => Ended::Told(settlements, Err(why)),
            (Ok(()), None) => Ended::Told(settlements, Ok(())),
            // Asking again would not change it.
            (Err(why), None) if matches!(why.kind(), ErrorKind::Auth | ErrorKind::TooLarge | ErrorKind::Invalid) => {
                Ended::Told(settlements, Err(why.clone()))
            }
            (Err(_), None) => {
                // The group is changing: it is tried again once it is settled, or given up with the partitions.
                self.untold += settlements;
                self.due = Instant::now() + COMMIT / 5;
                Ended::Again(partitions)
            }
        }
    }

    /// Everything so far is done with: how many settlements to tell of, and what. `outcome` holds where none was refused.
    pub(super) fn settled(&mut self, outcome: Result<()>) -> (usize, Result<()>) {
        self.urgent = false;
        let refused = self.refused.take();
        (std::mem::take(&mut self.untold), refused.map_or(outcome, Err))
    }

    /// As [`Commits::settled`], for all that there is, also what a commit underway covers.
    pub(super) fn last(&mut self, outcome: Result<()>) -> (usize, Result<()>) {
        let underway = self.underway.take();
        let (count, refused) = underway.map_or((0, None), |underway| (underway.settlements, underway.refused));
        let (more, outcome) = self.settled(outcome);
        (count + more, refused.map_or(outcome, Err))
    }

    /// Forgets all commits: how many settlements are told of no more.
    pub(super) fn clear(&mut self) -> usize {
        let underway = self.underway.take().map_or(0, |underway| underway.settlements);
        (self.refused, self.forgotten) = (None, 0);
        std::mem::take(&mut self.untold) + underway
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn conflict() -> Error {
        Error::new(ErrorKind::Conflict, "settle", "somebody else has it")
    }

    fn refused(ended: &Ended, count: usize) -> bool {
        matches!(ended, Ended::Told(told, Err(error)) if *told == count && error.kind() == ErrorKind::Conflict)
    }

    #[test]
    fn what_was_underway_when_the_group_went_on_without_us_is_never_told_as_done() {
        for answer in [Ok(()), Err(conflict())] {
            let mut commits = Commits::new();
            commits.add(2);
            commits.begin(vec![0], Instant::now());
            commits.add(1);
            commits.refuse_all(conflict());
            let ended = commits.end(&answer);
            assert!(refused(&ended, 2), "{ended:?}");
            let (count, outcome) = commits.settled(Ok(()));
            assert_eq!((count, outcome.is_err()), (1, true));
            commits.add(1);
            assert!(matches!(commits.settled(Ok(())), (1, Ok(()))), "later ones count again");
        }
    }

    #[test]
    fn a_refusal_lasts_until_its_settlements_are_told_of() {
        let mut commits = Commits::new();
        commits.refuse(conflict());
        commits.add(1);
        assert!(matches!(commits.settled(Ok(())), (1, Ok(()))), "nobody was there to be refused");
        // A settlement that came too late goes along with a commit of others.
        commits.add(2);
        commits.refuse(conflict());
        commits.begin(vec![0, 1], Instant::now());
        let ended = commits.end(&Ok(()));
        assert!(refused(&ended, 2), "{ended:?}");
        // The last commit of a partition that was given up has failed while another commit was underway.
        commits.add(3);
        commits.begin(vec![0], Instant::now());
        commits.refuse(conflict());
        assert!(matches!(commits.end(&Err(conflict())), Ended::Again(again) if again == [0]));
        assert!(matches!(commits.settled(Ok(())), (3, Err(_))));
    }

    #[test]
    fn what_the_broker_will_never_take_is_told_and_not_tried_again() {
        let mut commits = Commits::new();
        commits.add(2);
        commits.begin(vec![0], Instant::now());
        let ended = commits.end(&Err(Error::new(ErrorKind::Auth, "settle", "no right to commit")));
        assert!(matches!(&ended, Ended::Told(2, Err(error)) if error.kind() == ErrorKind::Auth), "{ended:?}");
        assert!(!commits.has_untold());
    }

    #[test]
    fn a_commit_that_takes_too_long_is_given_up_once() {
        let mut commits = Commits::new();
        let now = Instant::now();
        commits.add(4);
        commits.begin(vec![7], now);
        assert!(commits.give_up(now).is_none());
        assert_eq!(commits.give_up(now + COMMIT_LIMIT), Some((4, vec![7])));
        assert!(matches!(commits.end(&Ok(())), Ended::Forgotten));
        assert!(!commits.is_underway() && !commits.has_untold());
    }
}
