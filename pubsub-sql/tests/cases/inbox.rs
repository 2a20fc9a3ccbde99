//! One effect for each event.

use std::time::Duration;

use pubsub_core::Message;
use pubsub_sql::{Database, Inbox, SqlOutbox};

use crate::{
    case,
    support::{Case, Running, Stage, event, eventually, memory, run},
};

pub(crate) fn cases() -> Vec<Case> {
    vec![
        case!(an_event_has_one_effect_however_often_it_comes),
        case!(an_effect_that_is_rolled_back_may_be_had_again),
        case!(inboxes_and_channels_know_nothing_of_each_other),
        case!(from_outbox_to_inbox_each_thing_happens_once),
    ]
}

/// As a handler does it: the effect, if the event is new.
async fn handle(database: &Database, inbox: &Inbox, message: &Message) -> bool {
    let mut tx = database.begin().await.unwrap();
    let first = inbox.first(&mut tx, message).await.unwrap();
    if first {
        run(tx.connection(), "INSERT INTO things VALUES (1)").await;
    }
    tx.commit().await.unwrap();
    first
}

async fn an_event_has_one_effect_however_often_it_comes(stage: Stage) {
    let message = Message::from(event("things", 1, None));
    let replicas = [stage.database.clone(), stage.replica().await];
    let tasks = (0..40).map(|n: usize| {
        let (database, message) = (replicas[n % 2].clone(), message.clone());
        tokio::spawn(async move { handle(&database, &Inbox::new("billing").unwrap(), &message).await })
    });
    let mut firsts = 0;
    for task in tasks.collect::<Vec<_>>() {
        firsts += usize::from(task.await.unwrap());
    }
    assert_eq!((firsts, stage.things().await), (1, 1));
}

async fn an_effect_that_is_rolled_back_may_be_had_again(stage: Stage) {
    let (inbox, message) = (Inbox::new("billing").unwrap(), Message::from(event("things", 1, None)));
    let mut tx = stage.database.begin().await.unwrap();
    assert!(inbox.first(&mut tx, &message).await.unwrap());
    tx.rollback().await.unwrap();
    assert!(handle(&stage.database, &inbox, &message).await);
    assert!(!handle(&stage.database, &inbox, &message).await);
}

async fn inboxes_and_channels_know_nothing_of_each_other(stage: Stage) {
    let here = event("things", 1, None);
    let mut there = event("others", 1, None);
    there.id = here.id.clone();
    let (here, there) = (Message::from(here), Message::from(there));
    for (name, message) in [("billing", &here), ("shipping", &here), ("billing", &there)] {
        assert!(handle(&stage.database, &Inbox::new(name).unwrap(), message).await);
    }
    assert!(Inbox::new("no name").is_err());
}

async fn from_outbox_to_inbox_each_thing_happens_once(stage: Stage) {
    let bus = memory();
    let mut events = bus.subscribe_channel("things").group("billing").await.unwrap();
    let outbox = SqlOutbox::new(&bus, &stage.database);
    let running = Running::start(outbox.relay().drain(Duration::from_millis(50)));
    for n in 0..50 {
        stage.put(&outbox, event("things", n, None)).await;
    }
    let inbox = Inbox::new("billing").unwrap();
    let (mut effects, mut deliveries) = (0, 0_u32);
    while effects < 50 {
        let received = events.next().await.unwrap().unwrap();
        deliveries += 1;
        effects += u32::from(handle(&stage.database, &inbox, received.message()).await);
        // Every third acknowledgement is lost after the effect.
        if deliveries % 3 == 0 {
            drop(received);
        } else {
            received.ack();
        }
    }
    // Until everything is settled, copies come.
    let settled = || async { pubsub_core::store::Outbox::backlog(&outbox).await.unwrap().depth == 0 };
    let rest = async {
        loop {
            let received = events.next().await.unwrap().unwrap();
            assert!(!handle(&stage.database, &inbox, received.message()).await);
            received.ack();
        }
    };
    tokio::select! {
        () = eventually("everything is settled", settled) => {}
        () = rest => {}
    }
    running.stop().await;
    assert_eq!(stage.things().await, 50);
}
