//! The tally: which serials were confirmed, which came, how often and in which order – and the verdict over them.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    time::{Duration, Instant},
};

use super::{Keys, Note};
use crate::conformance::{Failure, Verdict};

/// How many examples of a fault are kept.
const EXAMPLES: usize = 8;

/// What a run amounts to by now. It is kept outside of the adapter under test, and in another process than those members
/// that are processes of their own.
#[derive(Clone, Debug, Default)]
pub struct Tally {
    /// How the serials are spread over keys; over none where order does not matter.
    keys: Keys,
    attempted: BTreeSet<usize>,
    confirmed: BTreeSet<usize>,
    seen: BTreeMap<usize, usize>,
    done: BTreeSet<usize>,
    missing: usize,
    deliveries: usize,
    failed: usize,
    settled: usize,
    stale: usize,
    gaps: usize,
    recoveries: usize,
    disorder: Vec<(usize, usize)>,
    disorders: usize,
    faults: Vec<String>,
    broken: Vec<String>,
    members: BTreeMap<u32, Standing>,
    last: Option<Instant>,
    silence: Duration,
}

/// What one member has done by now.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Standing {
    /// How many deliveries it had.
    pub seen: usize,
    /// Whether it is at work.
    pub ready: bool,
    /// Whether its subscription is being restored.
    pub recovering: bool,
    /// Whether it has ended in good order.
    pub ended: bool,
}

/// Counts of a run, as they are printed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Serials that somebody tried to publish.
    pub published: usize,
    /// Serials that the broker confirmed.
    pub confirmed: usize,
    /// All deliveries.
    pub delivered: usize,
    /// Deliveries that were not the first of their serial.
    pub duplicates: usize,
    /// Confirmed serials whose work nobody has done.
    pub lost: usize,
    /// First deliveries before an earlier event of their key was done.
    pub out_of_order: usize,
    /// Publications that failed; each may have stored a second copy.
    pub failed: usize,
    /// Gap events.
    pub gaps: usize,
    /// The longest time between two deliveries.
    pub silence: Duration,
}

impl Tally {
    /// An empty tally of events without order.
    pub fn new() -> Self {
        Self::default()
    }

    /// An empty tally of events that keep the order of their keys.
    pub fn ordered(keys: Keys) -> Self {
        Self { keys, ..Self::default() }
    }

    /// Takes a member's note.
    pub fn apply(&mut self, member: u32, note: Note) {
        let standing = self.members.entry(member).or_default();
        match note {
            Note::Ready => standing.ready = true,
            Note::Attempt(serial) => drop(self.attempted.insert(serial)),
            Note::Confirmed(serial) => {
                self.attempted.insert(serial);
                if self.confirmed.insert(serial) && !self.done.contains(&serial) {
                    self.missing += 1;
                }
            }
            Note::Failed(_) => self.failed += 1,
            Note::Seen(serial) => {
                standing.seen += 1;
                self.saw(serial);
            }
            Note::Done(serial) => {
                if self.done.insert(serial) && self.confirmed.contains(&serial) {
                    self.missing -= 1;
                }
            }
            Note::Settled(_) => self.settled += 1,
            Note::Stale(_) => self.stale += 1,
            Note::Gap => self.gaps += 1,
            Note::Recovering => {
                standing.recovering = true;
                self.recoveries += 1;
            }
            Note::Active => standing.recovering = false,
            Note::Fault(text) => keep(&mut self.faults, format!("member {member}: {text}")),
            Note::Broken(text) => keep(&mut self.broken, format!("member {member}: {text}")),
            Note::Ended => standing.ended = true,
        }
    }

    fn saw(&mut self, serial: usize) {
        let now = Instant::now();
        self.silence = self.silence.max(self.last.map_or(Duration::ZERO, |last| now - last));
        self.last = Some(now);
        self.deliveries += 1;
        let count = self.seen.entry(serial).or_insert(0);
        *count += 1;
        let first = *count == 1;
        let Some(before) = self.keys.before(serial).filter(|_| first) else { return };
        // A publisher goes on in a key only once it was told that the event before is stored.
        if self.attempted.contains(&before) && !self.done.contains(&before) {
            self.disorders += 1;
            if self.disorder.len() < EXAMPLES {
                self.disorder.push((serial, before));
            }
        }
    }

    /// Whether the work of everything that was confirmed is done.
    pub fn is_complete(&self) -> bool {
        self.missing == 0
    }

    /// How many serials are confirmed.
    pub fn confirmed(&self) -> usize {
        self.confirmed.len()
    }

    /// How many serials were confirmed or failed by now, and how many failed publications there were.
    pub fn failed(&self) -> usize {
        self.failed
    }

    /// How many deliveries there were.
    pub fn deliveries(&self) -> usize {
        self.deliveries
    }

    /// How many serials are done.
    pub fn done(&self) -> usize {
        self.done.len()
    }

    /// Whether this serial came.
    pub fn has_seen(&self, serial: usize) -> bool {
        self.seen.contains_key(&serial)
    }

    /// How often this serial came.
    pub fn times(&self, serial: usize) -> usize {
        self.seen.get(&serial).copied().unwrap_or(0)
    }

    /// Whether the work of this serial is done.
    pub fn is_done(&self, serial: usize) -> bool {
        self.done.contains(&serial)
    }

    /// How many gap events came.
    pub fn gaps(&self) -> usize {
        self.gaps
    }

    /// How often a subscription said that it is being restored.
    pub fn recoveries(&self) -> usize {
        self.recoveries
    }

    /// How many acknowledgements the broker confirmed, and how many were refused as stale.
    pub fn settlements(&self) -> (usize, usize) {
        (self.settled, self.stale)
    }

    /// What a member has done.
    pub fn standing(&self, member: u32) -> Standing {
        self.members.get(&member).copied().unwrap_or_default()
    }

    /// The counts by now.
    pub fn counts(&self) -> Counts {
        Counts {
            published: self.attempted.len(),
            confirmed: self.confirmed.len(),
            delivered: self.deliveries,
            duplicates: self.deliveries - self.seen.len(),
            lost: self.missing,
            out_of_order: self.disorders,
            failed: self.failed,
            gaps: self.gaps,
            silence: self.silence,
        }
    }

    /// Nothing confirmed is lost, nothing came that nobody published, at most `duplicates` deliveries and what failed
    /// publications may have stored twice came again, keys are in order, and no member gave up.
    ///
    /// # Errors
    /// A failure with the counts, and the first serials at fault.
    pub fn judge(&self, duplicates: usize) -> Verdict {
        let counts = self.counts();
        let allowed = duplicates + self.failed;
        let lost: Vec<_> = self.confirmed.difference(&self.done).collect();
        let foreign: Vec<_> = self.seen.keys().filter(|serial| !self.attempted.contains(serial)).collect();
        let sound = lost.is_empty()
            && foreign.is_empty()
            && counts.duplicates <= allowed
            && self.disorders == 0
            && self.broken.is_empty();
        if sound {
            return Ok(());
        }
        let order = if self.keys != Keys::default() { " in the order of their keys" } else { "" };
        let expected = format!("all {} confirmed events{order}, at most {allowed} duplicates", counts.confirmed);
        let mut seen = format!("{counts}; lost {}; never published {}", few(&lost), few(&foreign));
        for (serial, before) in &self.disorder {
            seen.push_str(&format!("; {serial} began before {before} was done"));
        }
        for text in self.broken.iter().chain(&self.faults) {
            seen.push_str(&format!("; {text}"));
        }
        Err(Failure::new(expected, seen))
    }
}

fn keep(list: &mut Vec<String>, text: String) {
    if list.len() < EXAMPLES {
        list.push(text);
    }
}

fn few(serials: &[&usize]) -> String {
    let first: Vec<_> = serials.iter().take(EXAMPLES).map(ToString::to_string).collect();
    let more = if serials.len() > first.len() { ", …" } else { "" };
    format!("{} [{}{more}]", serials.len(), first.join(", "))
}

impl fmt::Display for Counts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { published, confirmed, delivered, duplicates, lost, out_of_order, failed, gaps, silence } = self;
        write!(f, "published {published}, confirmed {confirmed}, delivered {delivered}, duplicates {duplicates}")?;
        write!(f, ", lost {lost}, out of order {out_of_order}, failed sends {failed}, gaps {gaps}")?;
        write!(f, ", longest silence {:.1} s", silence.as_secs_f64())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use Note::{Attempt, Broken, Confirmed, Done, Failed, Seen};

    fn tally(keys: usize, notes: &[Note]) -> Tally {
        let mut tally = Tally::ordered(Keys::over(keys));
        notes.iter().for_each(|note| tally.apply(1, note.clone()));
        tally
    }

    fn fault(keys: usize, notes: &[Note], duplicates: usize) -> String {
        tally(keys, notes).judge(duplicates).err().map(|failure| failure.to_string()).unwrap_or_default()
    }

    #[test]
    fn what_was_confirmed_must_be_done() {
        assert_eq!(fault(0, &[Attempt(1), Confirmed(1), Seen(1), Done(1)], 0), "");
        // A delivery whose work nobody did is no delivery: its consumer may have been killed.
        for notes in [vec![Attempt(1), Confirmed(1)], vec![Attempt(1), Confirmed(1), Seen(1)]] {
            assert!(fault(0, &notes, 9).contains("lost 1 [1]"), "{notes:?}");
        }
        // What was never confirmed may come, or not.
        assert_eq!(fault(0, &[Attempt(1), Failed(1), Seen(1), Done(1), Attempt(2), Failed(2)], 0), "");
        assert!(fault(0, &[Seen(1), Done(1)], 9).contains("never published 1 [1]"));
        assert!(!tally(0, &[Done(1), Confirmed(1), Confirmed(2)]).is_complete());
    }

    #[test]
    fn duplicates_are_bounded() {
        let notes = [Attempt(1), Confirmed(1), Seen(1), Done(1), Seen(1), Done(1)];
        assert!(fault(0, &notes, 0).contains("at most 0 duplicates"));
        assert_eq!(fault(0, &notes, 1), "");
        // A publication that failed may have stored one copy more.
        assert_eq!(fault(0, &[&[Failed(1)], &notes[..]].concat(), 0), "");
    }

    #[test]
    fn a_key_goes_on_only_when_its_last_event_is_done() {
        let published = [Attempt(1), Confirmed(1), Attempt(3), Confirmed(3), Attempt(2), Confirmed(2)];
        let order = |rest: &[Note]| fault(2, &[&published[..], rest].concat(), 9);
        assert_eq!(order(&[Seen(2), Seen(1), Done(1), Seen(3), Done(3), Done(2)]), "");
        assert!(order(&[Seen(3), Done(3), Seen(1), Done(1), Seen(2), Done(2)]).contains("3 began before 1 was done"));
        assert!(order(&[Seen(1), Seen(3), Done(1), Done(3), Seen(2), Done(2)]).contains("3 began before 1 was done"));
        // What comes again after its key went on is a duplicate, not disorder.
        assert_eq!(order(&[Seen(1), Done(1), Seen(3), Done(3), Seen(1), Done(1), Seen(2), Done(2)]), "");
    }

    #[test]
    fn a_member_that_gives_up_is_a_failure() {
        assert!(fault(0, &[Broken("no more".into())], 0).contains("no more"));
    }
}
