//! What one relay does with rows.

use std::time::Duration;

use pubsub_core::{ChannelPolicy, ErrorKind, store::Outbox};
use pubsub_sql::{Retention, SqlOutbox};

use crate::{
    case,
    support::{Case, Running, Stage, drained, event, eventually, gate::Gate, memory},
};

pub(crate) fn cases() -> Vec<Case> {
    vec![
        case!(a_bad_row_is_set_aside_and_its_neighbours_are_sent_once),
        case!(a_row_that_cannot_be_read_is_set_aside),
        case!(a_row_that_fails_holds_back_only_its_own_lane),
        case!(a_slow_lane_does_not_fill_the_window),
        case!(an_outage_of_the_broker_is_waited_out),
        case!(a_channel_that_is_away_does_not_hold_back_the_others),
        case!(memory_rows_are_marked_when_the_groups_have_settled),
        case!(a_closed_bus_ends_the_relay),
        case!(what_is_done_is_swept_away),
        case!(sent_rows_need_not_be_kept),
    ]
}

async fn a_bad_row_is_set_aside_and_its_neighbours_are_sent_once(stage: Stage) {
    let gate = Gate::open();
    let lenient = SqlOutbox::new(&gate.bus(), &stage.database);
    for n in 0..20 {
        let mut envelope = event("things", n, None);
        if n == 7 {
            envelope.meta.user_id = Some("x".repeat(2_000));
        }
        stage.put(&lenient, envelope).await;
    }
    // The process that relays has a stricter policy than the one that wrote.
    let bus = gate.builder().policy("things", ChannelPolicy::new().max_payload(1_000)).unwrap().build();
    let outbox = SqlOutbox::new(&bus, &stage.database);
    let running = Running::start(outbox.relay());
    drained(&outbox).await;
    let good: Vec<u32> = (0..20).filter(|n| *n != 7).collect();
    assert_eq!(gate.numbers("things"), good);
    let parked = Outbox::parked(&outbox, None, 10).await.unwrap();
    assert_eq!(parked.len(), 1);
    assert!(parked[0].error.starts_with("too_large"), "{}", parked[0].error);
    assert_eq!(running.watch.stats().parked, 1);
    assert_eq!(Outbox::backlog(&outbox).await.unwrap().parked, 1);

    // Sent after all by a relay that may, and then nothing is left to list.
    assert_eq!(outbox.redrive(&[parked[0].id]).await.unwrap(), 1);
    eventually("it is set aside again", || async { running.watch.stats().parked == 2 }).await;
    eventually("that is noted", || async { Outbox::backlog(&outbox).await.unwrap().parked == 1 }).await;
    running.stop().await;
    let running = Running::start(lenient.relay());
    assert_eq!(lenient.redrive(&[parked[0].id]).await.unwrap(), 1);
    drained(&lenient).await;
    running.stop().await;
    assert_eq!(gate.numbers("things").len(), 20);
    assert!(Outbox::parked(&outbox, None, 10).await.unwrap().is_empty());
    assert_eq!(outbox.discard(&[parked[0].id]).await.unwrap(), 0, "what was sent is not discarded");
}

async fn a_row_that_cannot_be_read_is_set_aside(stage: Stage) {
    let gate = Gate::open();
    let outbox = SqlOutbox::new(&gate.bus(), &stage.database);
    for n in 0..3 {
        stage.put(&outbox, event("things", n, None)).await;
    }
    stage.run("UPDATE pubsub_outbox SET envelope = '{\"id\": 1' WHERE seq = 2").await;
    let running = Running::start(outbox.relay());
    drained(&outbox).await;
    running.stop().await;
    assert_eq!(gate.numbers("things"), [0, 2]);
    let parked = Outbox::parked(&outbox, None, 10).await.unwrap();
    assert!(parked[0].error.starts_with("codec"), "{}", parked[0].error);
    assert_eq!(outbox.discard(&[parked[0].id]).await.unwrap(), 1);
    assert!(Outbox::parked(&outbox, None, 10).await.unwrap().is_empty());
}

async fn a_row_that_fails_holds_back_only_its_own_lane(stage: Stage) {
    let mut left = 3;
    let gate = Gate::new(move |message| {
        let fails = message.key().is_some_and(|key| key.as_str() == "a") && left > 0;
        left -= u32::from(fails);
        fails.then_some(ErrorKind::Timeout)
    });
    let bus = gate.builder().policy("things", ChannelPolicy::new().ordered_per_key(4)).unwrap().build();
    let outbox = SqlOutbox::new(&bus, &stage.database);
    for n in 0..100 {
        let key = ["a", "b", "c", "d"][n as usize % 4];
        stage.put(&outbox, event("things", n, Some(key))).await;
    }
    let relay = outbox.relay().backoff(Duration::from_millis(300), Duration::from_millis(300));
    let running = Running::start(relay);
    drained(&outbox).await;
    running.stop().await;
    let seen = gate.numbers("things");
    assert_eq!(seen.len(), 100, "each once");
    for lane in 0..4 {
        let of_lane: Vec<_> = seen.iter().copied().filter(|n| n % 4 == lane).collect();
        assert!(of_lane.is_sorted(), "{of_lane:?}");
    }
    let first_of_a = seen.iter().position(|n| n % 4 == 0).unwrap();
    assert_eq!(first_of_a, 75, "the other lanes did not wait: {seen:?}");
}

async fn a_slow_lane_does_not_fill_the_window(stage: Stage) {
    // Nobody settles, so the first event of the lane stays on its way for as long as the test likes.
    let bus = pubsub_core::PubSub::builder(memory().adapter().clone());
    let bus = bus.policy("slow", ChannelPolicy::new().ordered_per_key(1)).unwrap().build();
    let _group = bus.subscribe_channel("slow").group("g").await.unwrap();
    let mut quick = bus.subscribe_channel("quick").group("g").await.unwrap();
    let outbox = SqlOutbox::new(&bus, &stage.database);
    for n in 0..200 {
        stage.put(&outbox, event("slow", n, Some("k"))).await;
    }
    stage.put(&outbox, event("quick", 1, Some("k"))).await;
    let running = Running::start(outbox.relay().window(32).drain(Duration::from_millis(10)));
    let received = tokio::time::timeout(Duration::from_secs(10), quick.next()).await.unwrap().unwrap().unwrap();
    received.ack();
    running.stop().await;
}

async fn an_outage_of_the_broker_is_waited_out(stage: Stage) {
    let gate = Gate::new(|_| Some(ErrorKind::Unavailable));
    let outbox = SqlOutbox::new(&gate.bus(), &stage.database);
    for n in 0..500 {
        stage.put(&outbox, event("things", n, None)).await;
    }
    let running = Running::start(outbox.relay().window(64));
    // A window's rows notice it; after that one at a time asks.
    eventually("the outage is noticed", || async { running.watch.stats().failed > 64 }).await;
    let failed = running.watch.stats().failed;
    assert!(failed < 80, "{failed} attempts");
    gate.set(|_| None);
    drained(&outbox).await;
    running.stop().await;
    let mut seen = gate.numbers("things");
    seen.sort_unstable();
    assert_eq!(seen, (0..500).collect::<Vec<_>>(), "each once");
    assert_eq!(Outbox::backlog(&outbox).await.unwrap().parked, 0);
}

async fn a_channel_that_is_away_does_not_hold_back_the_others(stage: Stage) {
    let gate = Gate::new(|message| (message.channel().as_str() == "away").then_some(ErrorKind::Unavailable));
    let outbox = SqlOutbox::new(&gate.bus(), &stage.database);
    stage.put(&outbox, event("away", 0, None)).await;
    // While nothing else is there, it looks as if the broker were away.
    let running = Running::start(outbox.relay());
    eventually("it has failed some times", || async { running.watch.stats().failed >= 3 }).await;
    let begun = tokio::time::Instant::now();
    for n in 0..20 {
        stage.put(&outbox, event("things", n, None)).await;
    }
    eventually("the others are sent", || async { gate.numbers("things").len() == 20 }).await;
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
    running.stop().await;
    assert_eq!(Outbox::backlog(&outbox).await.unwrap().depth, 1);
}

async fn memory_rows_are_marked_when_the_groups_have_settled(stage: Stage) {
    let bus = memory();
    let mut one = bus.subscribe_channel("things").group("one").await.unwrap();
    let mut two = bus.subscribe_channel("things").group("two").await.unwrap();
    let outbox = SqlOutbox::new(&bus, &stage.database);
    let running = Running::start(outbox.relay().lease(Duration::from_millis(200)));
    stage.put(&outbox, event("things", 1, None)).await;
    one.next().await.unwrap().unwrap().ack_confirmed().await.unwrap();
    let held = two.next().await.unwrap().unwrap();
    assert_eq!(running.watch.stats().sent, 0);
    // The process goes away before the second group has settled: the row is still there.
    running.kill().await;
    assert_eq!(Outbox::backlog(&outbox).await.unwrap().depth, 1);
    drop(held);

    let running = Running::start(outbox.relay().poll(Duration::from_millis(50)));
    let settle = async |events: &mut pubsub_core::Events<pubsub_core::Raw>| {
        loop {
            events.next().await.unwrap().unwrap().ack();
        }
    };
    tokio::select! {
        () = drained(&outbox) => {}
        () = settle(&mut one) => {}
        () = settle(&mut two) => {}
    }
    running.stop().await;
}

async fn a_closed_bus_ends_the_relay(stage: Stage) {
    let gate = Gate::open();
    let bus = gate.bus();
    let outbox = SqlOutbox::new(&bus, &stage.database);
    let running = Running::start(outbox.relay());
    stage.put(&outbox, event("things", 1, None)).await;
    drained(&outbox).await;
    let later = bus.publish_envelope(event("things", 2, None)).prepare().unwrap();
    bus.close(Duration::from_secs(1)).await.unwrap();
    let mut tx = stage.database.begin().await.unwrap();
    outbox.store(&mut tx, later).await.unwrap();
    tx.commit().await.unwrap();
    assert_eq!(running.end().await.unwrap_err().kind(), ErrorKind::Closed);
    // It was no fault of the row.
    assert_eq!(Outbox::backlog(&outbox).await.unwrap().depth, 1);
    assert_eq!(stage.number("SELECT COUNT(*) FROM pubsub_lease").await, 0, "others take over at once");
}

async fn what_is_done_is_swept_away(stage: Stage) {
    let gate = Gate::open();
    let outbox = SqlOutbox::new(&gate.bus(), &stage.database);
    let running = Running::start(outbox.relay());
    for n in 0..25 {
        stage.put(&outbox, event("things", n, None)).await;
    }
    drained(&outbox).await;
    running.stop().await;
    stage.put(&outbox, event("things", 99, None)).await;
    stage.run("INSERT INTO pubsub_inbox VALUES ('old', 'c', '1', 0), ('new', 'c', '1', 9000000000000)").await;
    let rows = || async { stage.number("SELECT COUNT(*) FROM pubsub_outbox").await };
    let keep = Retention::default();
    assert_eq!(keep.sweep(&stage.database, 1_000).await.unwrap(), 1, "only the old entry of the inbox");
    assert_eq!((rows().await, stage.number("SELECT COUNT(*) FROM pubsub_inbox").await), (26, 1));
    let none = Retention::default().sent(Duration::ZERO);
    for (gone, left) in [(10, 16), (10, 6), (5, 1), (0, 1)] {
        assert_eq!(none.sweep(&stage.database, 10).await.unwrap(), gone);
        assert_eq!(rows().await, left, "what is still to be sent stays");
    }
}

async fn sent_rows_need_not_be_kept(stage: Stage) {
    let gate = Gate::open();
    let outbox = SqlOutbox::new(&gate.bus(), &stage.database).retention(Retention::default().sent(Duration::ZERO));
    let running = Running::start(outbox.relay());
    for n in 0..10 {
        stage.put(&outbox, event("things", n, None)).await;
    }
    drained(&outbox).await;
    running.stop().await;
    assert_eq!(stage.number("SELECT COUNT(*) FROM pubsub_outbox").await, 0);
    assert_eq!(gate.numbers("things").len(), 10);
}
