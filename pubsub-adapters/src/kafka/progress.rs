//! How far a group is in one partition. Kafka knows one offset per group and partition; what is done beyond it, and how
//! often what is not done has failed, is written beside it, in the text that a commit may carry.

use std::collections::{BTreeMap, BTreeSet};

use pubsub_core::{AckWindow, Mark, Settled};

/// How far what is done may run ahead of the first that is not: its bits must fit into a commit's text.
pub(super) const SPAN: i64 = 12_000;
/// The longest text of attempts.
const MAX_ATTEMPTS: usize = 1_000;
/// How the text begins; a text that does not is somebody else's.
const HEAD: &str = "pubsub1 ";
/// Six bits each.
const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

/// What is committed: everything before `offset` is done, and what `text` says beyond it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Committed {
    pub(super) offset: i64,
    pub(super) text: String,
}

/// The progress of this member in one partition, from its assignment on.
#[derive(Debug)]
pub(super) struct Progress {
    window: AckWindow,
    /// Where to commit while nothing is delivered yet.
    base: i64,
    /// Done, but something before is not.
    ahead: BTreeSet<i64>,
    /// Failed attempts of what is not done.
    attempts: BTreeMap<i64, u32>,
    /// Done by an earlier member, and not come again yet.
    skips: BTreeSet<i64>,
}

/// What to do with a record that arrives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Taken {
    /// Deliver it; so often it has failed before.
    New(u32),
    /// It was done before.
    Done,
    /// The window is full: keep it, and ask again once something is settled.
    Full,
    /// It was taken before.
    Known,
}

impl Progress {
    /// As an earlier member has left it.
    pub(super) fn new(base: i64, text: &str) -> Self {
        let (skips, attempts) = parse(base, text).unwrap_or_default();
        let window = AckWindow::new(SPAN as usize);
        Self { window, base, ahead: BTreeSet::new(), attempts, skips }
    }

    /// What lies before an offset is gone.
    pub(super) fn skip_to(&mut self, offset: i64) {
        self.base = self.base.max(offset);
        self.skips = self.skips.split_off(&offset);
        self.attempts = self.attempts.split_off(&offset);
    }

    /// Takes in a record that has arrived.
    pub(super) fn take(&mut self, offset: i64, now: Mark) -> Taken {
        if offset < self.base {
            return Taken::Known;
        }
        if self.window.oldest().is_none() {
            // All before is done, and offsets only grow: what is missing here never comes.
            self.skip_to(offset);
        }
        if offset - self.first() >= SPAN {
            return Taken::Full;
        }
        match self.window.push(offset.unsigned_abs(), now) {
            Ok(()) => {}
            Err(pubsub_core::WindowRefusal::Full) => return Taken::Full,
            Err(_) => return Taken::Known,
        }
        if self.skips.remove(&offset) {
            self.done(offset);
            return Taken::Done;
        }
        Taken::New(self.attempts.get(&offset).copied().unwrap_or(0))
    }

    /// Marks a record as done; whether there is something new to commit.
    pub(super) fn done(&mut self, offset: i64) -> bool {
        self.attempts.remove(&offset);
        match self.window.done(offset.unsigned_abs()) {
            Settled::Prefix(end) => {
                let next = i64::try_from(end).unwrap_or(i64::MAX) + 1;
                self.ahead = if self.ahead.is_empty() { BTreeSet::new() } else { self.ahead.split_off(&next) };
                self.base = next;
                true
            }
            Settled::Waits => self.ahead.insert(offset),
            _ => false,
        }
    }

    /// Notes that a record has failed so often.
    pub(super) fn failed(&mut self, offset: i64, attempts: u32) {
        self.attempts.insert(offset, attempts);
    }

    /// How many records were taken in and are not done.
    #[cfg(test)]
    pub(super) fn open(&self) -> usize {
        self.window.in_flight()
    }

    fn first(&self) -> i64 {
        self.window.oldest().and_then(|oldest| i64::try_from(oldest).ok()).unwrap_or(self.base)
    }

    /// What to commit now.
    pub(super) fn committed(&self) -> Committed {
        let offset = self.first();
        let done = self.ahead.iter().chain(&self.skips).copied().filter(|done| *done >= offset);
        let mut bits = Vec::new();
        for offset in done.map(|done| (done - offset) as usize) {
            let index = offset / 6;
            if bits.len() <= index {
                bits.resize(index + 1, 0_u8);
            }
            if let Some(six) = bits.get_mut(index) {
                *six |= 1 << (offset % 6);
            }
        }
        let attempts: Vec<_> = self.attempts.range(offset..).take(MAX_ATTEMPTS / 12).collect();
        if bits.is_empty() && attempts.is_empty() {
            return Committed { offset, text: String::new() };
        }
        let mut text = HEAD.to_owned();
        text.extend(bits.iter().map(|six| char::from(ALPHABET[usize::from(*six & 63)])));
        for (failed, times) in attempts {
            let more = format!(" {}:{times}", failed - offset);
            if text.len() + more.len() > 3_500 {
                break;
            }
            text += &more;
        }
        Committed { offset, text }
    }
}

/// Offsets that are done, and failed attempts of others.
type Read = (BTreeSet<i64>, BTreeMap<i64, u32>);

fn parse(base: i64, text: &str) -> Option<Read> {
    let mut words = text.strip_prefix(HEAD)?.split(' ');
    let mut done = BTreeSet::new();
    for (index, letter) in words.next()?.bytes().enumerate() {
        let six = ALPHABET.iter().position(|known| *known == letter)?;
        let start = base + 6 * i64::try_from(index).ok()?;
        done.extend((0..6).filter(|bit| six & (1 << bit) != 0).map(|bit| start + bit));
    }
    let mut attempts = BTreeMap::new();
    for word in words {
        let (offset, times) = word.split_once(':')?;
        attempts.insert(base.checked_add(offset.parse().ok()?)?, times.parse().ok()?);
    }
    Some((done, attempts))
}

#[cfg(test)]
mod tests {
    use pubsub_core::Clock;

    use super::*;

    #[test]
    fn what_is_done_ahead_is_not_delivered_again() {
        let now = Clock::system().mark();
        let mut progress = Progress::new(5, "");
        for offset in [5, 6, 7, 9, 30] {
            assert_eq!(progress.take(offset, now), Taken::New(0));
        }
        assert_eq!(progress.take(7, now), Taken::Known);
        assert!(progress.done(7) && progress.done(30) && progress.done(6));
        progress.failed(9, 3);
        let left = progress.committed();
        assert_eq!((left.offset, progress.open()), (5, 2));

        let mut next = Progress::new(left.offset, &left.text);
        assert_eq!(next.committed(), left, "nothing is forgotten before it has come again");
        let taken: Vec<_> = [5, 6, 7, 9, 30].into_iter().map(|offset| next.take(offset, now)).collect();
        assert_eq!(taken, [Taken::New(0), Taken::Done, Taken::Done, Taken::New(3), Taken::Done]);
        assert!(next.done(5));
        assert_eq!(next.committed().offset, 9);
        assert!(next.done(9));
        assert_eq!(next.committed(), Committed { offset: 31, text: String::new() });
    }

    #[test]
    fn what_runs_too_far_ahead_waits() {
        let now = Clock::system().mark();
        let mut progress = Progress::new(0, "");
        for offset in 0..SPAN {
            assert_eq!(progress.take(offset, now), Taken::New(0));
        }
        assert_eq!(progress.take(SPAN, now), Taken::Full);
        (1..SPAN).step_by(2).for_each(|offset| {
            progress.done(offset);
        });
        (2..SPAN).step_by(2).for_each(|offset| progress.failed(offset, 7));
        let text = progress.committed().text;
        assert!(text.len() < 4_000, "{}", text.len());
        assert_eq!(progress.take(SPAN, now), Taken::Full);
        assert!(progress.done(0));
        assert_eq!(progress.take(SPAN, now), Taken::New(0));
    }

    #[test]
    fn a_hole_wider_than_the_window_is_passed_over() {
        let now = Clock::system().mark();
        let mut progress = Progress::new(0, "");
        assert_eq!(progress.take(0, now), Taken::New(0));
        assert_eq!(progress.take(SPAN * 3, now), Taken::Full, "the first one is not done yet");
        assert!(progress.done(0));
        assert_eq!(progress.take(SPAN * 3, now), Taken::New(0));
        assert_eq!(progress.committed().offset, SPAN * 3);
    }

    #[test]
    fn foreign_texts_are_passed_over() {
        for text in
            ["x", "pubsub1", "pubsub1 \u{e9}", "pubsub1 A x", "pubsub1 A 1:x", "pubsub1 A 9223372036854775807:1"]
        {
            let progress = Progress::new(3, text);
            assert_eq!(progress.committed(), Committed { offset: 3, text: String::new() }, "{text}");
        }
    }
}
