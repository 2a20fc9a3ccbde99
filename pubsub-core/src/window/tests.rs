use proptest::prelude::*;

use super::*;
use crate::{ManualClock, Timestamp};

fn mark() -> Mark {
    Mark::Manual(Timestamp::EPOCH)
}

/// The window as one would write it without a thought for speed.
#[derive(Default)]
struct Naive {
    pushed: Vec<(u64, bool)>,
    capacity: usize,
}

impl Naive {
    /// How many ids lie before the first one that is not done.
    fn finished(&self) -> usize {
        self.pushed.iter().take_while(|(_, done)| *done).count()
    }

    fn prefix(&self) -> Option<u64> {
        self.finished().checked_sub(1).map(|last| self.pushed[last].0)
    }

    fn push(&mut self, id: u64) -> Result<(), WindowRefusal> {
        if let Some((last, _)) = self.pushed.last().filter(|(last, _)| id <= *last) {
            return Err(WindowRefusal::NotAscending(*last));
        }
        if self.pushed.len() - self.finished() >= self.capacity {
            return Err(WindowRefusal::Full);
        }
        self.pushed.push((id, false));
        Ok(())
    }

    fn done(&mut self, id: u64) -> Settled {
        let before = self.prefix();
        match self.pushed.iter().position(|(known, _)| *known == id) {
            Some(index) if self.pushed[index].1 => return Settled::Again,
            Some(index) => self.pushed[index].1 = true,
            // Inside the finished prefix, a hole cannot be told from an id that was done.
            None if self.pushed.first().is_some_and(|(first, _)| *first <= id) && Some(id) <= before => {
                return Settled::Again;
            }
            None => return Settled::Unknown,
        }
        match self.prefix() {
            Some(end) if before != Some(end) => Settled::Prefix(end),
            _ => Settled::Waits,
        }
    }
}

#[derive(Clone, Debug)]
enum Step {
    /// Pushes the last id plus this; zero is a mistake.
    Push(u64),
    /// Marks an id near the window, known or not.
    Done(u64),
    /// Marks the oldest one.
    Oldest,
    Clear,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        6 => prop_oneof![8 => Just(1_u64), 3 => 2..5_u64, 1 => Just(0)].prop_map(Step::Push),
        6 => (0..40_u64).prop_map(Step::Done),
        2 => Just(Step::Oldest),
        1 => prop_oneof![9 => Just(Step::Oldest), 1 => Just(Step::Clear)],
    ];
    prop::collection::vec(step, 0..120)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 4_000, ..ProptestConfig::default() })]

    #[test]
    fn the_window_does_what_a_naive_one_does(
        capacity in 1..12_usize, start in prop_oneof![Just(0), Just(7), Just(u64::MAX - 400)], steps in steps()
    ) {
        let mut window = AckWindow::new(capacity);
        let mut naive = Naive { capacity, ..Naive::default() };
        let mut next = start;
        for step in steps {
            match step {
                Step::Push(by) => {
                    let id = naive.pushed.last().map_or(next, |(last, _)| last + by);
                    prop_assert_eq!(window.push(id, mark()), naive.push(id));
                }
                Step::Done(back) => {
                    let id = naive.pushed.last().map_or(next, |(last, _)| last + 3).saturating_sub(back);
                    prop_assert_eq!(window.done(id), naive.done(id));
                }
                Step::Oldest => {
                    if let Some(id) = window.oldest() {
                        prop_assert_eq!(window.done(id), naive.done(id));
                    }
                }
                Step::Clear => {
                    window.clear();
                    naive.pushed.clear();
                    next = start / 2;
                }
            }
            let finished = naive.finished();
            prop_assert_eq!(window.prefix(), naive.prefix());
            prop_assert_eq!(window.len(), naive.pushed.len() - finished);
            prop_assert!(window.len() <= capacity);
            prop_assert_eq!(window.is_full(), window.len() == capacity);
            prop_assert_eq!(window.in_flight(), naive.pushed.iter().filter(|(_, done)| !done).count());
            prop_assert_eq!(window.oldest(), naive.pushed.get(finished).map(|(id, _)| *id));
        }
    }
}

#[test]
fn holes_do_not_stop_the_prefix() {
    let mut window = AckWindow::new(8);
    for id in [3, 10, 11, 500] {
        window.push(id, mark()).unwrap();
    }
    assert_eq!(window.done(500), Settled::Waits);
    assert_eq!(window.done(11), Settled::Waits);
    assert_eq!(window.done(3), Settled::Prefix(3));
    assert_eq!(window.done(10), Settled::Prefix(500));
    assert!(window.is_empty());
}

#[test]
fn late_double_and_foreign_ids_are_told_apart() {
    let mut window = AckWindow::new(4);
    assert_eq!(window.done(7), Settled::Unknown);
    for id in [7, 9, 12] {
        window.push(id, mark()).unwrap();
    }
    assert_eq!(window.done(9), Settled::Waits);
    assert_eq!(window.done(9), Settled::Again);
    assert_eq!(window.done(8), Settled::Unknown);
    assert_eq!(window.done(13), Settled::Unknown);
    assert_eq!(window.done(6), Settled::Unknown);
    assert_eq!(window.done(7), Settled::Prefix(9));
    assert_eq!(window.done(7), Settled::Again);
    window.clear();
    assert_eq!(window.done(12), Settled::Unknown);
    assert_eq!(window.push(1, mark()), Ok(()));
}

#[test]
fn a_stuck_event_fills_the_window_and_its_age_shows_it() {
    let manual = ManualClock::new(Timestamp::EPOCH);
    let clock = Clock::from(manual.clone());
    let mut window = AckWindow::new(2);
    assert_eq!(window.age(&clock), None);
    window.push(1, clock.mark()).unwrap();
    manual.advance(Duration::from_secs(5));
    window.push(2, clock.mark()).unwrap();
    assert_eq!(window.done(2), Settled::Waits);
    assert_eq!((window.len(), window.in_flight()), (2, 1));
    assert_eq!(window.push(3, clock.mark()), Err(WindowRefusal::Full));
    manual.advance(Duration::from_secs(1));
    assert_eq!(window.age(&clock), Some(Duration::from_secs(6)));
    assert_eq!(window.done(1), Settled::Prefix(2));
    assert_eq!(window.age(&clock), None);
    assert_eq!(Error::from(WindowRefusal::Full).kind(), ErrorKind::Backpressure);
}
