//! The relay over an outbox that does as it is told, in time that passes by itself.

mod fake;

use std::time::Duration;

use pubsub_core::{ChannelPolicy, Error, ErrorKind, PubSub, store::RowOutcome};
use tokio::time::sleep;

use self::fake::{Fake, bus, numbers};
use super::{
    Relay,
    flight::{Blame, blame},
};

fn relay(bus: &PubSub, outbox: &Fake) -> Relay {
    Relay::new(bus, outbox.clone())
}

/// Runs it for so long, and tells what it ended with.
async fn run_for(relay: Relay, time: Duration) -> pubsub_core::Result<()> {
    relay.run(sleep(time)).await
}

#[test]
fn only_what_is_wrong_with_the_row_itself_is_blamed_on_it() {
    let blamed = |kind| blame(&Error::new(kind, "publish", "why"));
    for kind in [ErrorKind::Invalid, ErrorKind::TooLarge, ErrorKind::Rejected, ErrorKind::Codec] {
        assert_eq!(blamed(kind), Blame::Row, "{kind}");
    }
    // An operator can mend these, and the event is still the same.
    for kind in [ErrorKind::NotFound, ErrorKind::Unroutable, ErrorKind::TopologyMismatch, ErrorKind::Backpressure] {
        assert_eq!(blamed(kind), Blame::Circumstances, "{kind}");
    }
    assert_eq!((blamed(ErrorKind::Auth), blamed(ErrorKind::Unavailable)), (Blame::Broker, Blame::Broker));
    assert_eq!(blamed(ErrorKind::Closed), Blame::Bus);
}

#[tokio::test(start_paused = true)]
async fn a_row_whose_mark_fails_is_marked_later_and_not_sent_again() {
    let (bus, outbox) = (bus(ChannelPolicy::new()), Fake::new(5, None));
    outbox.fail_settlements(3);
    let relay = relay(&bus, &outbox);
    let watch = relay.watch();
    run_for(relay, Duration::from_secs(30)).await.unwrap();
    assert_eq!(numbers(&bus).await, [0, 1, 2, 3, 4]);
    assert!(outbox.outcomes().iter().all(|(_, outcome)| *outcome == RowOutcome::Sent));
    assert_eq!((outbox.outcomes().len(), watch.stats().sent), (5, 5));
    assert_eq!(watch.stats().last_error.unwrap().kind(), ErrorKind::Unavailable);
}

#[tokio::test(start_paused = true)]
async fn a_database_that_does_not_answer_does_not_hold_up_the_end() {
    let (bus, outbox) = (bus(ChannelPolicy::new()), Fake::new(2, None));
    let (begun, hanging) = (tokio::time::Instant::now(), outbox.clone());
    let shutdown = async move {
        sleep(Duration::from_secs(5)).await;
        hanging.hang();
        sleep(Duration::from_secs(20)).await;
    };
    let error = relay(&bus, &outbox).drain(Duration::from_secs(3)).run(shutdown).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Timeout, "{error}");
    assert!(begun.elapsed() < Duration::from_secs(29), "{:?}", begun.elapsed());
}

#[tokio::test(start_paused = true)]
async fn what_does_not_heal_by_itself_ends_the_relay() {
    let (bus, outbox) = (bus(ChannelPolicy::new()), Fake::new(1, None));
    outbox.fail_for_good();
    let error = run_for(relay(&bus, &outbox), Duration::from_secs(30)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Auth);
}

#[tokio::test(start_paused = true)]
async fn without_the_lease_nothing_is_sent_and_nothing_more_of_a_lane() {
    let (bus, outbox) = (bus(ChannelPolicy::new().ordered_per_key(1)), Fake::new(10, Some("lane")));
    outbox.lead(false);
    run_for(relay(&bus, &outbox), Duration::from_secs(30)).await.unwrap();
    assert!(numbers(&bus).await.is_empty());
    // It is asked again while it waits, and works once it may.
    outbox.lead(true);
    run_for(relay(&bus, &outbox), Duration::from_secs(30)).await.unwrap();
    assert_eq!(numbers(&bus).await, (0..10).collect::<Vec<_>>());
    assert!(outbox.resigned());
}

#[tokio::test(start_paused = true)]
async fn a_lane_has_one_row_on_its_way_and_few_behind() {
    let outbox = Fake::new(100, Some("lane"));
    let bus = bus(ChannelPolicy::new().ordered_per_key(1));
    // Nobody settles, so the first one stays on its way.
    let _group = bus.subscribe_channel("things").group("g").await.unwrap();
    let relay = relay(&bus, &outbox).window(64).drain(Duration::ZERO);
    let watch = relay.watch();
    let running = tokio::spawn(run_for(relay, Duration::from_secs(30)));
    sleep(Duration::from_secs(20)).await;
    assert_eq!(watch.stats().in_flight, 1);
    let most = 1 + 64 / 16;
    assert!(outbox.most_in_hand() <= most, "{} rows in hand", outbox.most_in_hand());
    running.await.unwrap().unwrap();
    assert!(outbox.outcomes().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_lane_goes_on_at_once_however_long_it_is() {
    let (bus, outbox) = (bus(ChannelPolicy::new().ordered_per_key(1)), Fake::new(500, Some("lane")));
    let relay = relay(&bus, &outbox).poll(Duration::from_secs(3_600)).lease(Duration::from_secs(36_000));
    run_for(relay, Duration::from_secs(1)).await.unwrap();
    assert_eq!(numbers(&bus).await, (0..500).collect::<Vec<_>>());
}

#[tokio::test(start_paused = true)]
async fn rows_that_are_stuck_leave_the_rest_of_the_window_to_others() {
    let outbox = Fake::new(60, None);
    let bus = bus(ChannelPolicy::new());
    let mut group = bus.subscribe_channel("things").group("g").max_in_flight(64).await.unwrap();
    let relay = relay(&bus, &outbox).window(64).drain(Duration::ZERO);
    let running = tokio::spawn(run_for(relay, Duration::from_secs(30)));
    let mut held = Vec::new();
    for _ in 0..60 {
        held.push(group.next().await.unwrap().unwrap());
    }
    // Less than a quarter of the window is left.
    outbox.add(100);
    group.next().await.unwrap().unwrap().ack();
    drop(held);
    running.abort();
}

#[tokio::test(start_paused = true)]
async fn settings_of_zero_are_named() {
    let (bus, outbox) = (bus(ChannelPolicy::new()), Fake::new(0, None));
    let zero = Duration::ZERO;
    for (relay, field) in [
        (relay(&bus, &outbox).window(0), "window"),
        (relay(&bus, &outbox).poll(zero), "poll"),
        (relay(&bus, &outbox).lease(zero), "lease"),
        (relay(&bus, &outbox).timeout(zero), "timeout"),
    ] {
        let error = run_for(relay, zero).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Invalid);
        assert!(error.message().contains(field), "{error}");
    }
    let absurd = relay(&bus, &outbox).backoff(Duration::from_secs(2), Duration::from_secs(1));
    assert_eq!(run_for(absurd, zero).await.unwrap_err().kind(), ErrorKind::Invalid);
}
