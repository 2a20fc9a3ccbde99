//! Several relays on one outbox.

use std::{collections::HashMap, time::Duration};

use pubsub_core::ChannelPolicy;
use pubsub_sql::SqlOutbox;

use crate::{
    case,
    support::{Case, Running, Stage, drained, event, eventually, gate::Gate, number_of},
};

pub(crate) fn cases() -> Vec<Case> {
    vec![
        case!(one_of_several_relays_works),
        case!(another_takes_over_when_one_resigns),
        case!(order_per_key_is_kept_while_relays_die_and_writers_write),
        case!(a_relay_without_its_lease_sends_nothing),
    ]
}

async fn one_of_several_relays_works(stage: Stage) {
    let gate = Gate::open();
    let mut running = Vec::new();
    for _ in 0..3 {
        let outbox = SqlOutbox::new(&gate.bus(), &stage.replica().await);
        running.push(Running::start(outbox.relay()));
    }
    let outbox = SqlOutbox::new(&gate.bus(), &stage.database);
    for n in 0..300 {
        stage.put(&outbox, event("things", n, None)).await;
    }
    drained(&outbox).await;
    let leaders = running.iter().filter(|relay| relay.watch.stats().leads).count();
    assert_eq!(leaders, 1);
    for relay in running {
        relay.stop().await;
    }
    let mut seen = gate.numbers("things");
    seen.sort_unstable();
    assert_eq!(seen, (0..300).collect::<Vec<_>>(), "each once");
}

async fn another_takes_over_when_one_resigns(stage: Stage) {
    let gate = Gate::open();
    let outbox = SqlOutbox::new(&gate.bus(), &stage.database);
    // With such a lease nobody would take over in time from one that died.
    let relay = || outbox.relay().lease(Duration::from_secs(600)).poll(Duration::from_millis(50));
    let first = Running::start(relay());
    eventually("the first leads", || async { first.watch.stats().leads }).await;
    let second = Running::start(relay());
    stage.put(&outbox, event("things", 1, None)).await;
    drained(&outbox).await;
    assert!(!second.watch.stats().leads);
    first.stop().await;
    stage.put(&outbox, event("things", 2, None)).await;
    drained(&outbox).await;
    assert!(second.watch.stats().leads);
    second.stop().await;
    assert_eq!(gate.numbers("things"), [1, 2]);
}

async fn order_per_key_is_kept_while_relays_die_and_writers_write(stage: Stage) {
    const KEYS: u32 = 5;
    const EACH: u32 = 60;
    let gate = Gate::open();
    let bus = gate.builder().policy("things", ChannelPolicy::new().ordered_per_key(4)).unwrap().build();
    let outbox = SqlOutbox::new(&bus, &stage.database);
    let relay = || {
        let relay = outbox.relay().lease(Duration::from_millis(200)).poll(Duration::from_millis(50)).window(16);
        Running::start(relay)
    };
    let mut running = vec![relay(), relay()];
    let writers = (0..KEYS).map(|writer| {
        let (outbox, database) = (outbox.clone(), stage.database.clone());
        tokio::spawn(async move {
            for n in 0..EACH {
                let mut tx = database.begin().await.unwrap();
                let key = writer.to_string();
                outbox.publish_envelope(&mut tx, event("things", n, Some(&key))).await.unwrap();
                tx.commit().await.unwrap();
            }
        })
    });
    for (n, writer) in writers.collect::<Vec<_>>().into_iter().enumerate() {
        writer.await.unwrap();
        // The one that leads, where there is one at the moment.
        let leader = running.iter().position(|relay| relay.watch.stats().leads).unwrap_or(n % 2);
        running.swap_remove(leader).kill().await;
        running.push(relay());
    }
    drained(&outbox).await;
    for relay in running {
        relay.stop().await;
    }
    let mut newest = HashMap::<String, u32>::new();
    let mut copies = 0;
    for message in gate.seen() {
        let (key, n) = (message.key().unwrap().as_str().to_owned(), number_of(message.payload()));
        let next = newest.entry(key).or_default();
        // A copy of what was sent before; the first copy of each comes in order.
        copies += u32::from(n < *next);
        assert!(n <= *next, "{n} came when {next} was still missing");
        *next = (*next).max(n + 1);
    }
    assert_eq!(newest.len() as u32, KEYS);
    assert!(newest.values().all(|next| *next == EACH), "{newest:?}, {copies} copies");
}

async fn a_relay_without_its_lease_sends_nothing(stage: Stage) {
    let gate = Gate::open();
    let outbox = SqlOutbox::new(&gate.bus(), &stage.database);
    // Somebody else has it, and will for long.
    stage.run("INSERT INTO pubsub_lease VALUES ('relay', 'other', 9000000000000)").await;
    let running = Running::start(outbox.relay().lease(Duration::from_millis(200)).poll(Duration::from_millis(20)));
    for n in 0..20 {
        stage.put(&outbox, event("things", n, None)).await;
    }
    // Long enough for it to have asked many times.
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert!(gate.seen().is_empty() && !running.watch.stats().leads);
    stage.run("UPDATE pubsub_lease SET expires = 0").await;
    drained(&outbox).await;
    // It is taken away in the middle of the work.
    stage.run("UPDATE pubsub_lease SET owner = 'other', expires = 9000000000000").await;
    eventually("it notices", || async { !running.watch.stats().leads }).await;
    let before = gate.seen().len();
    stage.put(&outbox, event("things", 99, None)).await;
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert_eq!(gate.seen().len(), before);
    running.stop().await;
    assert_eq!(stage.number("SELECT COUNT(*) FROM pubsub_lease").await, 1, "the other's lease is left alone");
}
