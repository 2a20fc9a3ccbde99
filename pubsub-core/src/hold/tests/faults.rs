//! Lost leases, seeks, extensions and confirmations.

use super::*;

#[tokio::test]
async fn confirmations_reach_the_source_and_stale_ones_conflict() {
    let mut stand = Stand::with(8, &["a", "a", "b"]);
    let mut out = stand.poll();
    pick(&mut out, 3).ack_confirmed().await.unwrap();
    assert_eq!((stand.feed.log(), stand.feed.script().confirmed.clone()), (vec![(3, Outcome::Ack)], vec![3]));
    pick(&mut out, 1).ack.confirm(Outcome::Nack(millis(5))).await.unwrap();
    let error = pick(&mut out, 2).ack_confirmed().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Conflict);
    assert_eq!(stand.gauge.stale_settles(), 1);
    stand.clock.advance(millis(5));
    out = stand.poll();
    assert_eq!(seen(&out), [(1, 2), (2, 1)]);
    stand.feed.lose(|number| number == 1, false);
    let error = pick(&mut out, 1).ack_confirmed().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Conflict);
}

#[tokio::test]
async fn extensions_reach_the_source() {
    let mut stand = Stand::with(8, &["a", "a"]);
    let mut out = stand.poll();
    out[1].extend(millis(7)).await.unwrap();
    out[1].extend(millis(8)).await.unwrap();
    assert_eq!(stand.feed.script().extended, [(2, millis(7)), (2, millis(8))]);
    nack(pick(&mut out, 1), 5);
    assert_eq!(out[0].extend(millis(9)).await.unwrap_err().kind(), ErrorKind::Conflict);
    stand.clock.advance(millis(5));
    stand.poll().into_iter().for_each(Delivery::ack);
    assert_eq!(stand.feed.log(), [(1, Outcome::Ack), (2, Outcome::Ack)]);
    stand.feed.assert_blameless();
}

#[tokio::test]
async fn an_extension_keeps_nothing_from_being_settled() {
    for ending in [true, false] {
        let mut stand = Stand::with(8, &["a", "a"]);
        let mut out = stand.poll();
        stand.feed.script().gate = true;
        let late = pick(&mut out, 2);
        let mut extension = Box::pin(late.extend(millis(7)));
        let mut cx = Context::from_waker(Waker::noop());
        assert!(extension.as_mut().poll(&mut cx).is_pending());
        if ending {
            pick(&mut out, 1).settle_as(Outcome::Release);
            let mut again = stand.poll();
            pick(&mut again, 1).ack();
            pick(&mut again, 2).ack_confirmed().await.unwrap();
        } else {
            pick(&mut out, 1).ack();
            stand.hold.as_mut().unwrap().seek(StartPosition::Stored).await.unwrap();
        }
        let expected = if ending { Outcome::Ack } else { Outcome::Release };
        assert_eq!(stand.feed.log(), [(1, Outcome::Ack), (2, expected)]);
        drop(extension);
        drop(late);
        assert_eq!(stand.feed.log().len(), 2);
        stand.feed.assert_blameless();
    }
}

#[tokio::test]
async fn a_flush_reaches_every_settler_of_the_source_and_tells_of_the_first_failure() {
    let mut stand = Stand::with(8, &["a", "b", "c"]);
    let mut out = stand.poll();
    let settler = out[0].ack.settler().cloned().unwrap();
    // Each delivery of this source has a settler of its own; the last handle takes it along.
    pick(&mut out, 1).ack();
    settler.flush().await.unwrap();
    assert_eq!(stand.feed.script().flushes, 2);
    stand.feed.script().deaf = true;
    let error = settler.flush().await.unwrap_err();
    assert_eq!((error.kind(), stand.feed.script().flushes), (ErrorKind::Unavailable, 4));
}

#[tokio::test]
async fn a_seek_takes_everything_back_in_order() {
    let mut stand = Stand::with(3, &["a", "b", "a", "c"]);
    let mut out = stand.poll();
    nack(pick(&mut out, 1), 50);
    stand.hold.as_mut().unwrap().seek(StartPosition::Stored).await.unwrap();
    assert_eq!(stand.feed.log(), [1, 2, 3, 4].map(|number| (number, Outcome::Release)));
    assert!(out.iter().all(|delivery| !delivery.is_live()));
    assert_eq!(seen(&stand.poll()), [(1, 1), (2, 1), (3, 1)]);
    stand.feed.assert_blameless();
}

#[test]
fn a_lost_event_sends_back_the_later_ones_of_its_key() {
    let mut stand = Stand::with(8, &["a", "a", "a", "b"]);
    let out = stand.poll();
    stand.feed.lose(|number| number == 2, true);
    assert!(out[0].is_live() && out[2].is_live());
    // Noticed when somebody asks; then the later one is taken back, and the source brings both, in order.
    assert!(!out[1].is_live());
    assert_eq!(stand.feed.log(), [(3, Outcome::Release)]);
    assert!(!out[2].is_live());
    assert_eq!(seen(&stand.poll()), [(2, 1), (3, 1)]);
    assert!(out[0].is_live() && out[3].is_live());
    assert_eq!(stand.gauge.unsettled(), 4);
}

#[test]
fn a_lost_event_gives_its_place_in_the_window_back() {
    let mut stand = Stand::with(1, &["a", "b"]);
    let out = stand.poll();
    stand.feed.lose(|_| true, false);
    assert!(stand.poll().is_empty());
    assert!(!out[0].is_live());
    assert!(stand.was_woken());
    let other = stand.poll();
    assert_eq!(seen(&other), [(2, 1)]);
    // It failed after it was lost: the source has it already.
    drop(out);
    assert_eq!((stand.gauge.stale_settles(), stand.gauge.unsettled()), (1, 1));
    stand.feed.assert_blameless();
}

#[test]
fn a_held_event_that_is_lost_is_dropped_when_it_is_due() {
    let mut stand = Stand::with(8, &["a", "a", "b"]);
    let mut out = stand.poll();
    nack(pick(&mut out, 1), 10);
    stand.feed.lose(|number| number == 1, false);
    stand.clock.advance(millis(10));
    // Number 2 went back to the source, which brings it again; number 1 is somebody else's.
    assert_eq!(seen(&stand.poll()), [(2, 1)]);
    assert_eq!(stand.feed.log(), [(2, Outcome::Release)]);
}

#[test]
fn a_failure_of_a_lost_event_is_stale_and_sends_back_the_later_ones() {
    let mut stand = Stand::with(8, &["a", "a"]);
    let mut out = stand.poll();
    stand.feed.lose(|number| number == 1, true);
    nack(pick(&mut out, 1), 10);
    assert_eq!(stand.gauge.stale_settles(), 1);
    assert_eq!(seen(&stand.poll()), [(1, 1), (2, 1)]);
}

#[test]
fn a_source_that_starts_over_is_not_held_up_by_what_it_took_back() {
    let mut stand = Stand::with(8, &["a", "a", "a"]);
    let mut out = stand.poll();
    nack(pick(&mut out, 1), 10_000);
    stand.feed.lose(|_| true, true);
    assert_eq!(seen(&stand.poll()), [(1, 1), (2, 1), (3, 1)]);
    assert_eq!(stand.gauge.unsettled(), 3);
    assert!(stand.feed.log().is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn failures_in_other_tasks_wake_the_poll_under_the_systems_clock() {
    let (feed, mut options) = (Feed::default(), HoldOptions::new(16));
    options.retry = RetryPolicy::default().delays(millis(1), millis(2));
    let mut subscription = crate::driver::Subscription::new(KeyHold::new(Box::new(feed.clone()), options));
    let keys: Vec<String> = (0..5_000).map(|n| ["a", "b", "c", ""][n % 4].to_owned()).collect();
    for key in &keys {
        feed.push(key);
    }
    let (sender, mut receiver) = tokio::sync::mpsc::unbounded_channel::<Delivery>();
    let worker = tokio::spawn(async move {
        let mut seen = 0_u64;
        while let Some(delivery) = receiver.recv().await {
            seen += 1;
            if !delivery.is_live() {
                delivery.forget();
            } else if seen.is_multiple_of(9) {
                drop(delivery);
            } else {
                delivery.ack();
            }
        }
    });
    let all = async {
        loop {
            let settled = feed.script().log.len() == 5_000;
            let wait = tokio::time::timeout(millis(100), subscription.next());
            match wait.await {
                Ok(Some(Ok(Item::Delivery(delivery)))) => sender.send(delivery).unwrap(),
                Ok(other) => panic!("{other:?}"),
                Err(_) if settled => return,
                Err(_) => {}
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(60), all).await.unwrap();
    drop(sender);
    worker.await.unwrap();
    feed.assert_all_settled();
    feed.assert_order();
}
