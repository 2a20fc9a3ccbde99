//! One test for each rule.

use super::*;

#[test]
fn several_events_of_a_key_are_out_at_once_and_pass_through() {
    let mut stand = Stand::with(8, &["a", "a", "b", ""]);
    let out = stand.poll();
    assert_eq!(seen(&out), [(1, 1), (2, 1), (3, 1), (4, 1)]);
    for (delivery, outcome) in out.into_iter().zip([Outcome::Ack, Outcome::Reject, Outcome::Ack, Outcome::Ack]) {
        delivery.settle_as(outcome);
    }
    let log = [(1, Outcome::Ack), (2, Outcome::Reject), (3, Outcome::Ack), (4, Outcome::Ack)];
    assert_eq!(stand.feed.log(), log);
    assert_eq!((stand.gauge.unsettled(), stand.gauge.age()), (0, None));
}

#[test]
fn a_failed_event_is_held_and_takes_back_the_later_ones_of_its_key() {
    let mut stand = Stand::with(8, &["a", "a", "b", "a"]);
    let mut out = stand.poll();
    nack(pick(&mut out, 2), 50);
    let live: Vec<bool> = out.iter().map(Delivery::is_live).collect();
    assert_eq!((seen(&out), live), (vec![(1, 1), (3, 1), (4, 1)], vec![true, true, false]));
    // What was taken back settles nothing, and is counted; releasing it takes nothing from anybody.
    pick(&mut out, 4).ack();
    assert_eq!((stand.gauge.stale_settles(), stand.gauge.held()), (1, 2));
    stand.feed.push("a");
    assert!(stand.poll().is_empty());
    assert!(!stand.was_woken());
    stand.clock.advance(millis(49));
    assert!(stand.poll().is_empty());
    stand.clock.advance(millis(1));
    assert!(stand.was_woken());
    // The failed one comes with one attempt more, the others with the attempt they had, in order.
    assert_eq!(seen(&stand.poll()), [(2, 2), (4, 1), (5, 1)]);
    stand.feed.assert_blameless();
}

#[test]
fn events_without_a_key_hold_nothing() {
    let mut stand = Stand::with(8, &["", "", ""]);
    let mut out = stand.poll();
    nack(pick(&mut out, 1), 10);
    assert!(out.iter().all(Delivery::is_live));
    stand.clock.advance(millis(10));
    assert_eq!(seen(&stand.poll()), [(1, 2)]);
}

#[test]
fn a_dropped_delivery_waits_for_the_backoff_of_the_subscription() {
    let mut stand = Stand::with(8, &["a"]);
    for (attempt, delay) in [(1, 100), (2, 200), (3, 400)] {
        let out = stand.poll();
        assert_eq!(seen(&out), [(1, attempt)]);
        drop(out);
        stand.clock.advance(millis(delay - 1));
        assert!(stand.poll().is_empty(), "attempt {attempt}");
        stand.clock.advance(millis(1));
    }
    assert_eq!(seen(&stand.poll()), [(1, 4)]);
}

#[test]
fn a_released_event_comes_again_at_once_and_counts_nothing() {
    let mut stand = Stand::with(8, &["a", "a", "a"]);
    let mut out = stand.poll();
    assert!(!stand.was_woken());
    // As a subscription gives back what it has buffered: in order, the later ones stale by then.
    out.drain(1..).for_each(|delivery| delivery.settle_as(Outcome::Release));
    assert!(stand.was_woken());
    assert_eq!(stand.gauge.stale_settles(), 0);
    assert_eq!(seen(&stand.poll()), [(2, 1), (3, 1)]);
    assert!(out[0].is_live());
}

#[test]
fn an_earlier_failure_goes_before_a_later_one_whatever_their_delays() {
    let mut stand = Stand::with(8, &["a", "a", "a"]);
    let mut out = stand.poll();
    nack(pick(&mut out, 2), 10);
    nack(pick(&mut out, 1), 50);
    stand.clock.advance(millis(20));
    assert!(stand.poll().is_empty());
    stand.clock.advance(millis(30));
    assert_eq!(seen(&stand.poll()), [(1, 2), (2, 2), (3, 1)]);
}

#[test]
fn a_token_of_an_earlier_lease_is_stale_although_the_attempt_is_the_same() {
    let mut stand = Stand::with(8, &["a", "a"]);
    let mut first = stand.poll();
    nack(pick(&mut first, 1), 0);
    let second = stand.poll();
    assert_eq!(seen(&second), [(1, 2), (2, 1)]);
    assert!(!first[0].is_live() && second[1].is_live());
    drop(first);
    assert!(second[1].is_live());
    assert_eq!((stand.gauge.stale_settles(), stand.gauge.held()), (1, 0));
}

#[test]
fn a_key_refused_once_stays_refused_within_a_poll() {
    let mut stand = Stand::with(8, &["a"]);
    nack(pick(&mut stand.poll(), 1), 10);
    // Both come in one chunk: the second one must not pass because the first one was put aside.
    stand.feed.push_all(&["a", "b", "a"]);
    assert_eq!(seen(&stand.poll()), [(3, 1)]);
    stand.clock.advance(millis(10));
    assert_eq!(seen(&stand.poll()), [(1, 2), (2, 1), (4, 1)]);
}

#[test]
fn other_keys_flow_while_one_fails_for_ever() {
    let mut stand = Stand::with(4, &["a"]);
    stand.feed.push_all(&["b"; 200]);
    stand.feed.script().chunk = 3;
    let (mut done, mut failures) = (0, 0);
    while done < 200 {
        for delivery in stand.poll() {
            match number(&delivery) {
                1 => {
                    failures += 1;
                    nack(delivery, 0);
                }
                _ => {
                    done += 1;
                    delivery.ack();
                }
            }
        }
        assert!(failures < 1_000, "{done} done after {failures} failures");
    }
    stand.feed.assert_order();
}

#[test]
fn a_full_window_stops_the_source_until_one_is_settled() {
    let mut stand = Stand::with(3, &["a", "a", "a", "a", "b"]);
    stand.feed.script().chunk = 1;
    let mut out = stand.poll();
    nack(pick(&mut out, 1), 1_000);
    stand.clock.advance(millis(999));
    let polls = stand.feed.script().polls;
    assert!(stand.poll().is_empty());
    assert_eq!(stand.feed.script().polls, polls);
    assert!(stand.gauge.is_full());
    assert_eq!(stand.gauge.age(), Some(millis(999)));
    stand.clock.advance(millis(1));
    out = stand.poll();
    assert_eq!(seen(&out), [(1, 2), (2, 1), (3, 1)]);
    assert!(!stand.was_woken());
    pick(&mut out, 1).ack();
    assert!(stand.was_woken());
    assert_eq!(seen(&stand.poll()), [(4, 1)]);
}

#[test]
fn what_the_source_gives_beyond_the_window_waits_with_gaps_in_place() {
    let mut stand = Stand::with(2, &["a", "b"]);
    stand.feed.script().extra.push_back(a_state());
    let out = stand.poll();
    assert_eq!(stand.others, [(0, format!("{:?}", a_state()))]);
    stand.feed.push_all(&["c", "d"]);
    drop(stand.poll());
    for delivery in out {
        delivery.ack();
    }
    let out = stand.poll();
    stand.feed.script().extra.push_back(a_gap());
    stand.feed.script().errors.push_back(Error::new(ErrorKind::Unavailable, "read", "gone"));
    stand.feed.push("e");
    assert_eq!((seen(&out), seen(&stand.poll())), (vec![(3, 1), (4, 1)], vec![]));
    assert_eq!((stand.gauge.unsettled(), stand.others.len()), (2, 1));
    out.into_iter().for_each(Delivery::ack);
    assert_eq!(seen(&stand.poll()), [(5, 1)]);
    assert_eq!(stand.others[1..], [(4, "read: gone".to_owned()), (4, format!("{:?}", a_gap()))]);
}

#[test]
fn while_draining_nothing_is_handed_out_and_failures_go_back_in_order() {
    let mut stand = Stand::with(8, &["a", "a", "b", "a", "c"]);
    let mut out = stand.poll();
    nack(pick(&mut out, 4), 10);
    nack(pick(&mut out, 5), 10);
    stand.drain.start();
    stand.clock.advance(millis(10));
    assert!(stand.poll().is_empty());
    pick(&mut out, 3).ack();
    drop(pick(&mut out, 1));
    // The later ones of the key go back behind it, the one that a consumer has included.
    let log = [(3, Outcome::Ack), (1, Outcome::Release), (2, Outcome::Release), (4, Outcome::Release)];
    assert_eq!(stand.feed.log(), log);
    assert!(!out[0].is_live());
    // The end does not wait for what is held, nor for what still came.
    stand.feed.script().ended = true;
    assert!(stand.poll().is_empty() && stand.ended);
    assert_eq!((stand.gauge.held(), stand.gauge.unsettled()), (4, 4));
    stand.hold = None;
    assert_eq!(stand.feed.log()[4..], [5, 1, 2, 4].map(|number| (number, Outcome::Release)));
    stand.feed.assert_blameless();
}

#[test]
fn dropping_the_hold_releases_what_is_held_and_leaves_the_rest_in_hand() {
    let mut stand = Stand::with(4, &["b", "a", "a", "c", "x", "y"]);
    let mut out = stand.poll();
    nack(pick(&mut out, 2), 60_000);
    stand.hold = None;
    let mut log = vec![2, 3, 5, 6].into_iter().map(|number| (number, Outcome::Release)).collect::<Vec<_>>();
    assert_eq!(stand.feed.log(), log);
    assert!(!pick(&mut out, 3).is_live());
    pick(&mut out, 1).ack();
    nack(pick(&mut out, 4), 10);
    log.extend([(1, Outcome::Ack), (4, Outcome::Release)]);
    assert_eq!(stand.feed.log(), log);
    assert_eq!(stand.gauge.unsettled(), 0);
    stand.feed.assert_blameless();
}

#[test]
fn what_is_held_outlives_the_source_and_then_the_end_comes() {
    let mut stand = Stand::with(4, &["a", "a"]);
    let mut out = stand.poll();
    nack(pick(&mut out, 1), 10);
    stand.feed.script().ended = true;
    stand.feed.wake();
    assert!(stand.poll().is_empty() && !stand.ended);
    stand.clock.advance(millis(10));
    assert!(stand.was_woken());
    out = stand.poll();
    assert_eq!(seen(&out), [(1, 2), (2, 1)]);
    assert!(stand.ended);
}

#[test]
fn delays_below_a_millisecond_and_without_end_are_kept() {
    let mut stand = Stand::with(4, &["a", "b"]);
    let mut out = stand.poll();
    pick(&mut out, 1).settle_as(Outcome::Nack(Duration::from_micros(300)));
    pick(&mut out, 2).settle_as(Outcome::Nack(Duration::MAX));
    assert!(stand.poll().is_empty());
    stand.clock.advance(millis(1));
    assert_eq!(seen(&stand.poll()), [(1, 2)]);
}

#[test]
fn in_total_order_every_failure_holds_all_that_came_later() {
    let mut stand = Stand::total(8);
    stand.feed.push_all(&["a", "", "b", ""]);
    let mut out = stand.poll();
    pick(&mut out, 1).ack();
    nack(pick(&mut out, 2), 10);
    assert!(out.iter().all(|delivery| !delivery.is_live()));
    stand.feed.push_all(&["c", ""]);
    assert!(stand.poll().is_empty());
    assert_eq!(stand.gauge.held(), 5);
    stand.clock.advance(millis(10));
    let out = stand.poll();
    assert_eq!(seen(&out), [(2, 2), (3, 1), (4, 1), (5, 1), (6, 1)]);
    out.into_iter().for_each(Delivery::ack);
    assert_eq!(stand.feed.log(), [1, 2, 3, 4, 5, 6].map(|number| (number, Outcome::Ack)));
    stand.feed.assert_all_settled();
}
