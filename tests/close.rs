//! Closing: no more in, everything underway out, the rest unsettled.
#![allow(clippy::unwrap_used)]

use std::time::Duration;

use pubsub::{
    ErrorKind, PubSub, SlowConsumer,
    memory::{Memory, MemoryOptions},
};

#[pubsub::event("orders:created")]
struct Created {
    number: u32,
}

fn bus(name: &str) -> PubSub {
    PubSub::new(Memory::open(MemoryOptions::new().name(name)).unwrap())
}

#[tokio::test]
async fn closing_waits_for_what_is_in_hand_and_ends_the_streams() {
    let bus = bus("close-waits");
    let mut orders = bus.subscribe::<Created>().group("g").await.unwrap();
    for number in 0..10 {
        bus.publish(&Created { number }).await.unwrap();
    }
    let in_hand = orders.next().await.unwrap().unwrap();
    let closing = tokio::spawn({
        let bus = bus.clone();
        async move { bus.close(Duration::from_secs(5)).await }
    });
    // The closing task runs up to its wait before this one goes on.
    tokio::task::yield_now().await;
    assert!(orders.next().await.is_none());
    assert!(!closing.is_finished());
    in_hand.ack();
    closing.await.unwrap().unwrap();
    assert_eq!(bus.publish(&Created { number: 0 }).await.unwrap_err().kind(), ErrorKind::Closed);
    assert_eq!(bus.subscribe::<Created>().await.unwrap_err().kind(), ErrorKind::Closed);
    bus.close(Duration::from_secs(1)).await.unwrap();
}

#[tokio::test]
async fn what_is_not_settled_in_time_comes_again_with_nothing_counted() {
    let one = bus("close-unsettled");
    let two = bus("close-unsettled");
    let mut orders = one.subscribe::<Created>().group("g").await.unwrap();
    one.publish(&Created { number: 7 }).await.unwrap();
    let stuck = orders.next().await.unwrap().unwrap();
    let error = one.close(Duration::from_millis(50)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Timeout);
    drop(stuck);
    drop(orders);
    let mut orders = two.subscribe::<Created>().group("g").await.unwrap();
    let again = orders.next().await.unwrap().unwrap();
    assert_eq!((again.number, again.attempt()), (7, 1));
    again.ack();
    two.close(Duration::from_secs(1)).await.unwrap();
}

#[tokio::test]
async fn a_subscription_can_be_paused_from_elsewhere() {
    let bus = bus("pause");
    let mut orders = bus.subscribe::<Created>().group("g").await.unwrap();
    let control = orders.control();
    control.pause();
    bus.publish(&Created { number: 1 }).await.unwrap();
    assert!(orders.next_timeout(Duration::from_millis(30)).await.unwrap().is_none());
    let waiting = tokio::spawn(async move { orders.next().await.unwrap().unwrap().number });
    control.resume();
    assert_eq!(waiting.await.unwrap(), 1);
}

#[tokio::test]
async fn what_a_stuck_task_holds_after_closing_is_another_ones() {
    let (one, two) = (bus("close-stuck"), bus("close-stuck"));
    let mut orders = one.subscribe::<Created>().group("g").await.unwrap();
    let mut others = two.subscribe::<Created>().group("g").await.unwrap();
    let watching = one.subscribe::<Created>().slow_consumer(SlowConsumer::Block).buffer(1).await.unwrap();
    one.publish(&Created { number: 1 }).await.unwrap();
    let stuck = orders.next().await.unwrap().unwrap();
    // Also when the subscription is gone and the task has only the event.
    drop(orders);
    assert_eq!(one.close(Duration::ZERO).await.unwrap_err().kind(), ErrorKind::Timeout);
    assert!(!stuck.is_live());
    let again = others.next().await.unwrap().unwrap();
    assert_eq!((again.number, again.attempt()), (1, 1));
    assert_eq!(stuck.ack_confirmed().await.unwrap_err().kind(), ErrorKind::Conflict);
    assert!(again.is_live());
    again.ack_confirmed().await.unwrap();
    // Nor does a reader of the closed handle hold publishers back.
    for number in 2..5 {
        two.publish(&Created { number }).timeout(Duration::ZERO).await.unwrap();
    }
    drop(watching);
}

#[tokio::test]
async fn a_closed_handle_that_is_still_held_is_no_member() {
    let (one, two) = (bus("close-member"), bus("close-member"));
    let orders = one.subscribe::<Created>().group("g").await.unwrap();
    let all = one.subscribe_channel("*").group("wild").await.unwrap();
    two.publish(&Created { number: 1 }).await.unwrap();
    assert_eq!(two.delete_group("orders", "g").await.unwrap_err().kind(), ErrorKind::Conflict);
    one.close(Duration::from_secs(1)).await.unwrap();
    two.delete_group("orders", "g").await.unwrap();
    two.subscribe::<Created>().group("wild").await.unwrap();
    drop((orders, all));
}

#[tokio::test]
async fn times_without_end_are_taken_as_very_long_ones() {
    let bus = bus("endless");
    let mut orders = bus.subscribe::<Created>().group("g").await.unwrap();
    bus.publish(&Created { number: 1 }).timeout(Duration::MAX).await.unwrap();
    orders.next().await.unwrap().unwrap().ack();
    bus.close(Duration::MAX).await.unwrap();
}
