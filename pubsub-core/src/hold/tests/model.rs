//! Random histories against a naive model.

use proptest::{prelude::*, test_runner::TestCaseError};

use super::*;

type Check = Result<(), TestCaseError>;

#[derive(Clone, Debug)]
enum Step {
    Publish(u8),
    Poll,
    /// Settles one of the deliveries in hand.
    Settle(prop::sample::Index, Outcome),
    Advance(u64),
    LoseAll,
    LoseOne(prop::sample::Index),
    Seek,
}

fn outcome() -> impl Strategy<Value = Outcome> {
    prop_oneof![
        8 => Just(Outcome::Ack),
        4 => prop_oneof![Just(0_u64), 1..300_u64].prop_map(|delay| Outcome::Nack(millis(delay))),
        1 => Just(Outcome::Dropped),
        1 => Just(Outcome::Reject),
        1 => Just(Outcome::Release),
    ]
}

fn steps(with_losses: bool) -> impl Strategy<Value = Vec<Step>> {
    let losses = u32::from(with_losses);
    let step = prop_oneof![
        8 => (0..4_u8).prop_map(Step::Publish),
        6 => Just(Step::Poll),
        10 => (any::<prop::sample::Index>(), outcome()).prop_map(|(index, outcome)| Step::Settle(index, outcome)),
        4 => prop_oneof![1..50_u64, 50..500_u64].prop_map(Step::Advance),
        losses => Just(Step::LoseAll),
        2 * losses => any::<prop::sample::Index>().prop_map(Step::LoseOne),
        losses => Just(Step::Seek),
    ];
    prop::collection::vec(step, 1..100)
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Place {
    Source,
    /// In hand, as the n-th hand-out of all.
    Out(u64),
    /// Until this time.
    Waiting(u64),
    Done,
}

struct Event {
    key: String,
    place: Place,
    attempt: u32,
}

/// What a hold does, over a plain list in order of arrival.
struct Model {
    events: Vec<Event>,
    window: usize,
    now: u64,
    stale: u64,
    handed_out: u64,
}

impl Model {
    fn count(&self, which: impl Fn(Place) -> bool) -> usize {
        self.events.iter().filter(|event| which(event.place)).count()
    }

    fn unsettled(&self) -> usize {
        self.count(|place| matches!(place, Place::Out(_) | Place::Waiting(_)))
    }

    fn held(&self) -> usize {
        self.count(|place| matches!(place, Place::Waiting(_)))
    }

    fn same_key(&self, a: usize, b: usize) -> bool {
        a == b || (!self.events[a].key.is_empty() && self.events[a].key == self.events[b].key)
    }

    /// Whether an earlier event of the key waits.
    fn blocked(&self, index: usize) -> bool {
        (0..index).any(|i| self.same_key(i, index) && matches!(self.events[i].place, Place::Waiting(_)))
    }

    fn may_come(&self, index: usize) -> bool {
        matches!(self.events[index].place, Place::Waiting(due) if due <= self.now) && !self.blocked(index)
    }

    fn next_in_source(&self) -> Option<usize> {
        self.events.iter().position(|event| event.place == Place::Source)
    }

    /// Moves events in that cannot be handed out, up to `end`.
    fn take_in(&mut self, end: usize) -> Check {
        while let Some(index) = self.next_in_source().filter(|index| *index < end && self.unsettled() < self.window) {
            prop_assert!(self.blocked(index), "event {} should have been handed out", index + 1);
            self.events[index].place = Place::Waiting(0);
        }
        Ok(())
    }

    fn hand_out(&mut self, delivery: &Delivery) -> Check {
        let index = number(delivery) as usize - 1;
        match self.events[index].place {
            Place::Source => {
                self.take_in(index)?;
                prop_assert_eq!(self.next_in_source(), Some(index));
                prop_assert!(!self.blocked(index), "event {} overtakes", index + 1);
            }
            place => prop_assert!(self.may_come(index), "event {} came from {:?} at {}", index + 1, place, self.now),
        }
        prop_assert_eq!(delivery.attempt, self.events[index].attempt);
        prop_assert!(delivery.ack.token().index < self.window as u64, "the table grows");
        self.events[index].place = Place::Out(self.handed_out);
        self.handed_out += 1;
        prop_assert!(self.unsettled() <= self.window);
        Ok(())
    }

    /// Nothing is left that a poll should have handed out.
    fn at_rest(&mut self) -> Check {
        self.take_in(self.events.len())?;
        prop_assert!(!(0..self.events.len()).any(|index| self.may_come(index)), "something was left behind");
        Ok(())
    }

    fn has_work(&self) -> bool {
        let room = self.unsettled() < self.window;
        let fresh = self.next_in_source().is_some_and(|index| room && !self.blocked(index));
        fresh || (0..self.events.len()).any(|index| self.may_come(index))
    }

    fn is_live(&self, event: u64, hand_out: u64) -> bool {
        self.events[event as usize - 1].place == Place::Out(hand_out)
    }

    fn settle(&mut self, event: u64, hand_out: u64, outcome: Outcome) {
        let index = event as usize - 1;
        if !self.is_live(event, hand_out) {
            self.stale += u64::from(outcome != Outcome::Release);
            return;
        }
        let attempt = self.events[index].attempt;
        let (place, failed) = match outcome {
            Outcome::Ack | Outcome::Reject => (Place::Done, 0),
            Outcome::Nack(delay) => (Place::Waiting(self.now + delay.as_millis() as u64), 1),
            Outcome::Dropped => (Place::Waiting(self.now + (100 << (attempt - 1).min(20)).min(10_000)), 1),
            Outcome::Release => (Place::Waiting(0), 0),
        };
        self.events[index].place = place;
        self.events[index].attempt += failed;
        for later in index + 1..self.events.len() {
            if place != Place::Done && self.same_key(index, later) && matches!(self.events[later].place, Place::Out(_))
            {
                self.events[later].place = Place::Waiting(0);
            }
        }
    }
}

fn key_name(key: u8) -> &'static str {
    ["", "a", "b", "c"][usize::from(key)]
}

/// What to settle: anything, or, to keep the order, the first delivery in hand of a key that is live.
fn choose(hand: &mut Vec<(u64, Delivery)>, index: prop::sample::Index, in_order: bool) -> Option<(u64, Delivery)> {
    if in_order {
        hand.retain_mut(|(_, delivery)| {
            let live = delivery.is_live();
            if !live {
                std::mem::replace(&mut delivery.ack, AckHandle::none()).forget();
            }
            live
        });
    }
    if hand.is_empty() {
        return None;
    }
    let mut index = index.index(hand.len());
    if let (true, Some(key)) = (in_order, hand[index].1.message.key().cloned()) {
        index = hand.iter().position(|(_, delivery)| delivery.message.key() == Some(&key))?;
    }
    Some(hand.remove(index))
}

/// Settles everything in order until nothing is left.
fn finish(stand: &mut Stand, hand: &mut Vec<(u64, Delivery)>) {
    for _ in 0..2_000 {
        hand.extend(stand.poll().into_iter().map(|delivery| (0, delivery)));
        if hand.is_empty() && stand.gauge.unsettled() == 0 && stand.feed.script().queue.is_empty() {
            return;
        }
        for (_, delivery) in hand.drain(..) {
            if delivery.is_live() { delivery.ack() } else { delivery.forget() }
        }
        stand.clock.advance(millis(20_000));
    }
    panic!("something was lost: {:?}", stand.gauge);
}

fn against_the_model(window: usize, chunk: usize, in_order: bool, steps: Vec<Step>) -> Check {
    let mut stand = Stand::new(window);
    stand.feed.script().chunk = chunk;
    let mut model = Model { events: Vec::new(), window, now: 0, stale: 0, handed_out: 0 };
    let mut hand: Vec<(u64, Delivery)> = Vec::new();
    let mut resting = false;
    for step in steps {
        match step {
            Step::Publish(key) => {
                stand.feed.push(key_name(key));
                model.events.push(Event { key: key_name(key).to_owned(), place: Place::Source, attempt: 1 });
            }
            Step::Poll => {
                for delivery in stand.poll() {
                    model.hand_out(&delivery)?;
                    hand.push((model.handed_out - 1, delivery));
                }
                model.at_rest()?;
                prop_assert_eq!((stand.gauge.unsettled(), stand.gauge.held()), (model.unsettled(), model.held()));
                resting = true;
            }
            Step::Settle(index, outcome) => {
                if let Some((hand_out, delivery)) = choose(&mut hand, index, in_order) {
                    model.settle(number(&delivery), hand_out, outcome);
                    delivery.settle_as(outcome);
                }
            }
            Step::Advance(by) => {
                stand.clock.advance(millis(by));
                model.now += by;
            }
            Step::LoseAll | Step::LoseOne(_) | Step::Seek => {}
        }
        for (hand_out, delivery) in &hand {
            prop_assert_eq!(delivery.is_live(), model.is_live(number(delivery), *hand_out));
        }
        prop_assert_eq!(stand.gauge.stale_settles(), model.stale);
        prop_assert!(stand.gauge.unsettled() <= window);
        prop_assert!(!resting || !model.has_work() || stand.was_woken(), "a poll sleeps while there is work");
        resting &= !stand.was_woken();
    }
    finish(&mut stand, &mut hand);
    stand.feed.assert_all_settled();
    if in_order {
        stand.feed.assert_order();
    }
    Ok(())
}

fn with_losses(window: usize, chunk: usize, steps: Vec<Step>) {
    let mut stand = Stand::new(window);
    stand.feed.script().chunk = chunk;
    let mut hand: Vec<(u64, Delivery)> = Vec::new();
    for step in steps {
        match step {
            Step::Publish(key) => {
                stand.feed.push(key_name(key));
            }
            Step::Poll => hand.extend(stand.poll().into_iter().map(|delivery| (0, delivery))),
            Step::Settle(index, outcome) => {
                if let Some((_, delivery)) = choose(&mut hand, index, true) {
                    delivery.settle_as(outcome);
                }
            }
            Step::Advance(by) => stand.clock.advance(millis(by)),
            Step::LoseAll => stand.feed.lose(|_| true, true),
            Step::LoseOne(index) => {
                let live: Vec<u64> = stand.feed.script().live.values().copied().collect();
                if !live.is_empty() {
                    stand.feed.lose(|number| number == *index.get(&live), true);
                }
            }
            Step::Seek => {
                let mut seek = stand.hold.as_mut().unwrap().seek(StartPosition::Stored);
                assert!(seek.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_ready());
            }
        }
        assert!(stand.gauge.unsettled() <= window);
    }
    finish(&mut stand, &mut hand);
    stand.feed.assert_all_settled();
    stand.feed.assert_order();
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, ..ProptestConfig::default() })]

    #[test]
    fn a_hold_does_what_the_model_does(window in 1..9_usize, chunk in 1..6_usize, steps in steps(false)) {
        against_the_model(window, chunk, false, steps)?;
    }

    #[test]
    fn keys_stay_in_order_where_they_are_settled_in_order(
        window in 1..9_usize, chunk in 1..6_usize, steps in steps(false)
    ) {
        against_the_model(window, chunk, true, steps)?;
    }

    #[test]
    fn keys_stay_in_order_across_lost_leases_and_seeks(
        window in 1..9_usize, chunk in 1..6_usize, steps in steps(true)
    ) {
        with_losses(window, chunk, steps);
    }
}
