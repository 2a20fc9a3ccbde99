use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    task::{Context, Wake, Waker},
    time::Duration,
};

use futures_util::FutureExt;
use pubsub_core::ErrorKind;

use super::*;

#[derive(Default)]
struct Wakes(AtomicU64);

impl Wake for Wakes {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

struct Event(EventId, u32);

impl Held for Event {
    fn id(&self) -> &EventId {
        &self.0
    }

    fn attempt(&self) -> u32 {
        self.1
    }
}

fn desk() -> Desk<Event> {
    Desk::new(RetryPolicy::default(), Drain::new())
}

#[test]
fn a_token_settles_once_and_slots_are_used_again() {
    let desk = desk();
    let first = desk.hand_out(Event(EventId::random(), 1));
    assert!(desk.is_live(first));
    assert!(desk.settle(first, Outcome::Ack));
    assert!(!desk.settle(first, Outcome::Ack), "a token settles once");
    assert!(!desk.is_live(first));
    assert_eq!((desk.len(), desk.take_batch().len()), (0, 1));
    let second = desk.hand_out(Event(EventId::random(), 1));
    assert_eq!(second.index, first.index);
    assert!(desk.is_live(second) && !desk.is_live(first));
}

#[test]
fn what_does_not_hold_is_not_settled() {
    let desk = desk();
    let token = desk.hand_out(Event(EventId::random(), 1));
    assert_eq!(desk.settle_if(token, Outcome::Ack, |event| event.1 > 1), Some(false));
    assert!(desk.is_live(token) && desk.take_batch().is_empty());
    assert_eq!(desk.settle_if(token, Outcome::Ack, |event| event.1 == 1), Some(true));
    assert_eq!(desk.settle_if(token, Outcome::Ack, |_| true), None);
    assert_eq!(desk.take_batch().len(), 1);
}

#[test]
fn what_is_dropped_backs_off_and_is_released_while_draining() {
    let drain = Drain::new();
    let desk = Desk::new(RetryPolicy::default(), drain.clone());
    let token = desk.hand_out(Event(EventId::random(), 3));
    desk.settle(token, Outcome::Dropped);
    assert!(matches!(desk.take_batch()[..], [(_, Outcome::Nack(delay))] if delay > Duration::from_millis(300)));
    drain.start();
    let token = desk.hand_out(Event(EventId::random(), 3));
    desk.settle(token, Outcome::Dropped);
    assert!(matches!(desk.take_batch()[..], [(_, Outcome::Release)]));
}

#[tokio::test]
async fn a_flush_waits_for_the_broker_and_tells_its_refusal() {
    let desk = desk();
    let token = desk.hand_out(Event(EventId::random(), 1));
    let confirm = desk.confirm(token, Outcome::Ack);
    tokio::pin!(confirm);
    assert!(confirm.as_mut().now_or_never().is_none());
    let batch = desk.next_batch().await;
    desk.told(batch.len(), Err(Error::new(ErrorKind::Unavailable, "settle", "gone")));
    assert_eq!(confirm.await.unwrap_err().kind(), ErrorKind::Unavailable);
    assert!(desk.flush().now_or_never().unwrap().is_ok());
    assert_eq!(desk.confirm(token, Outcome::Ack).await.unwrap_err().kind(), ErrorKind::Conflict);
}

#[tokio::test]
async fn room_comes_back_with_settlements() {
    let desk = desk();
    let token = desk.hand_out(Event(EventId::random(), 1));
    let room = desk.room(1);
    tokio::pin!(room);
    assert!(room.as_mut().now_or_never().is_none());
    desk.settle(token, Outcome::Reject);
    assert_eq!(room.await, 1);
}

#[tokio::test]
async fn who_waits_for_much_room_is_woken_once_and_others_at_their_own_time() {
    let desk = desk();
    let tokens: Vec<_> = (0..4).map(|_| desk.hand_out(Event(EventId::random(), 1))).collect();
    let wakes = Arc::new(Wakes::default());
    let waker = Waker::from(wakes.clone());
    let much = desk.room_for(4, 3);
    let little = desk.room(4);
    tokio::pin!(much, little);
    assert!(much.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
    assert!(little.as_mut().now_or_never().is_none());
    desk.settle(tokens[0], Outcome::Ack);
    assert_eq!(little.await, 1);
    assert!(much.as_mut().poll(&mut Context::from_waker(&waker)).is_pending(), "one place is not three");
    let before = wakes.0.load(Ordering::Relaxed);
    desk.settle(tokens[1], Outcome::Ack);
    assert_eq!(wakes.0.load(Ordering::Relaxed), before, "two places are not three");
    desk.settle(tokens[2], Outcome::Ack);
    assert_eq!(wakes.0.load(Ordering::Relaxed), before + 1);
    assert_eq!(much.await, 3);
}

#[tokio::test]
async fn a_batch_wakes_its_taker_once_and_loses_nothing() {
    let desk = desk();
    for round in 1..=3 {
        for _ in 0..round {
            desk.push(Event(EventId::random(), 1), Outcome::Ack);
        }
        assert_eq!(desk.next_batch().now_or_never().map(|batch| batch.len()), Some(round));
        assert!(desk.next_batch().now_or_never().is_none());
    }
    let next = desk.next_batch();
    tokio::pin!(next);
    assert!(next.as_mut().now_or_never().is_none());
    desk.push(Event(EventId::random(), 1), Outcome::Ack);
    assert_eq!(next.now_or_never().map(|batch| batch.len()), Some(1));
}

#[tokio::test]
async fn a_bundle_is_taken_once_it_is_full() {
    let desk = desk();
    let bundle = desk.next_bundle();
    tokio::pin!(bundle);
    for _ in 1..BUNDLE {
        desk.push(Event(EventId::random(), 1), Outcome::Ack);
        assert!(bundle.as_mut().now_or_never().is_none());
    }
    desk.push(Event(EventId::random(), 1), Outcome::Ack);
    assert_eq!(bundle.now_or_never().map(|batch| batch.len()), Some(BUNDLE));
    desk.push(Event(EventId::random(), 1), Outcome::Ack);
    assert_eq!(desk.next_batch().now_or_never().map(|batch| batch.len()), Some(1), "the rest needs no bundle");
}
