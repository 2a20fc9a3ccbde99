//! Writing to the outbox.

use std::time::Duration;

use pubsub_core::{ChannelPolicy, ContentType, ErrorKind, Payload, Timestamp, store::Outbox};
use pubsub_sql::{Connection, Database, SqlOutbox, sqlx};

use crate::{
    case,
    support::{Case, Kind, Running, Stage, drained, event, eventually, gate::Gate, run},
};

pub(crate) fn cases() -> Vec<Case> {
    vec![
        case!(an_event_exists_if_its_transaction_is_committed),
        case!(transactions_of_sqlx_are_taken),
        case!(what_is_too_large_is_refused_and_the_transaction_goes_on),
        case!(what_the_policies_refuse_is_not_written),
        case!(everything_of_an_event_survives),
        case!(an_event_for_later_waits_in_the_table),
        case!(the_backlog_tells_depth_and_age),
        case!(tables_are_made_once_by_whoever_comes_first),
    ]
}

async fn an_event_exists_if_its_transaction_is_committed(stage: Stage) {
    let gate = Gate::open();
    let outbox = SqlOutbox::new(&gate.bus(), &stage.database);
    for (n, commits) in [(1, true), (2, false), (3, true)] {
        let mut tx = stage.database.begin().await.unwrap();
        run(tx.connection(), "INSERT INTO things VALUES (1)").await;
        outbox.publish_envelope(&mut tx, event("things", n, None)).await.unwrap();
        match commits {
            true => tx.commit().await.unwrap(),
            // Dropped, as when its future is cancelled or a `?` returns.
            false => drop(tx),
        }
    }
    let running = Running::start(outbox.relay());
    drained(&outbox).await;
    running.stop().await;
    assert_eq!(gate.numbers("things"), [1, 3]);
    assert_eq!(stage.things().await, 2);
}

async fn transactions_of_sqlx_are_taken(stage: Stage) {
    let gate = Gate::open();
    let running;
    // The relay looks by itself only when the test would have failed long before.
    let patient = |outbox: &SqlOutbox| Running::start(outbox.relay().poll(Duration::from_secs(3_600)));
    match stage.kind {
        Kind::Sqlite => {
            let pool = sqlx::SqlitePool::connect(&stage.url).await.unwrap();
            let outbox = SqlOutbox::new(&gate.bus(), &Database::from(pool.clone()));
            running = patient(&outbox);
            let mut tx = pool.begin().await.unwrap();
            sqlx::query("INSERT INTO things VALUES (1)").execute(&mut *tx).await.unwrap();
            outbox.publish_envelope(&mut *tx, event("things", 1, None)).await.unwrap();
            tx.commit().await.unwrap();
        }
        Kind::Postgres => {
            let pool = sqlx::PgPool::connect(&stage.url).await.unwrap();
            let outbox = SqlOutbox::new(&gate.bus(), &Database::from(pool.clone()));
            running = patient(&outbox);
            let mut tx = pool.begin().await.unwrap();
            sqlx::query("INSERT INTO things VALUES (1)").execute(&mut *tx).await.unwrap();
            outbox.publish_envelope(&mut *tx, event("things", 1, None)).await.unwrap();
            tx.commit().await.unwrap();
        }
    }
    eventually("the relay is woken", || async { gate.numbers("things") == [1] }).await;
    running.stop().await;
}

async fn what_is_too_large_is_refused_and_the_transaction_goes_on(stage: Stage) {
    let gate = Gate::open();
    let bus = gate.builder().policy("things", ChannelPolicy::new().max_payload(1_000)).unwrap().build();
    let outbox = SqlOutbox::new(&bus, &stage.database);
    let mut tx = stage.database.begin().await.unwrap();
    run(tx.connection(), "INSERT INTO things VALUES (1)").await;
    let mut large = event("things", 1, None);
    large.payload = Payload::json(format!("\"{}\"", "x".repeat(1_000)));
    let error = outbox.publish_envelope(&mut tx, large).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::TooLarge, "{error}");
    // The database has not noticed; an application that wants all or nothing returns here instead.
    outbox.publish_envelope(&mut tx, event("things", 2, None)).await.unwrap();
    tx.commit().await.unwrap();
    assert_eq!(stage.things().await, 1);
    assert_eq!(Outbox::backlog(&outbox).await.unwrap().depth, 1);
}

async fn what_the_policies_refuse_is_not_written(stage: Stage) {
    let gate = Gate::open();
    let bus = gate.builder().policy("strict", ChannelPolicy::new().declared_only()).unwrap();
    let bus = bus.policy("odd", ChannelPolicy::new().dedup_window(Duration::from_secs(60))).unwrap().build();
    let outbox = SqlOutbox::new(&bus, &stage.database);
    let mut tx = stage.database.begin().await.unwrap();
    let error = outbox.publish_envelope(&mut tx, event("strict", 1, None)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Rejected, "{error}");
    // No channel of such a policy can ever be made there.
    let error = outbox.publish_envelope(&mut tx, event("odd", 1, None)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unsupported, "{error}");
    let zero = bus.publish_envelope(event("things", 1, None)).ttl(Duration::ZERO).prepare().unwrap_err();
    assert_eq!(zero.kind(), ErrorKind::Invalid, "{zero}");
    tx.commit().await.unwrap();
    assert_eq!(Outbox::backlog(&outbox).await.unwrap().depth, 0);
}

async fn everything_of_an_event_survives(stage: Stage) {
    let gate = Gate::open();
    let outbox = SqlOutbox::new(&gate.bus(), &stage.database);
    let mut events = Vec::new();
    let payloads = [
        Payload::json("{\"a\": [1, 2.50, \"ü\\u0000\"]}"),
        Payload::bytes(&b"\x00\xff\xfe binary"[..]),
        Payload::Data { bytes: "plain".into(), content_type: ContentType::parse("text/plain").unwrap() },
        Payload::json(""),
        Payload::Tombstone,
    ];
    for (n, payload) in (0_u32..).zip(payloads) {
        let mut envelope = event("things", n, Some("key/ü"));
        envelope.payload = payload;
        envelope.version = n + 1;
        envelope.timestamp = Timestamp::from_millis(1_234_567_890_123).unwrap();
        envelope.meta.correlation_id = Some("c-1".into());
        envelope.meta.user_id = Some("u '); DROP TABLE things; --".into());
        stage.put(&outbox, envelope.clone()).await;
        events.push(envelope);
    }
    let running = Running::start(outbox.relay());
    drained(&outbox).await;
    running.stop().await;
    let seen: Vec<_> = gate.seen().iter().map(|message| message.envelope().clone()).collect();
    for (written, read) in events.iter().zip(&seen) {
        assert_eq!(written, read);
    }
    assert_eq!(seen.len(), events.len());
}

async fn an_event_for_later_waits_in_the_table(stage: Stage) {
    let gate = Gate::open();
    let bus = gate.bus();
    let outbox = SqlOutbox::new(&bus, &stage.database);
    let later = bus.publish_envelope(event("things", 1, None)).delay(Duration::from_millis(1_500)).prepare().unwrap();
    let due = later.deliver_at.unwrap();
    let mut tx = stage.database.begin().await.unwrap();
    outbox.store(&mut tx, later).await.unwrap();
    outbox.publish_envelope(&mut tx, event("things", 2, None)).await.unwrap();
    tx.commit().await.unwrap();
    // Nobody wakes it, and it looks by itself only when the row is due.
    let running = Running::start(outbox.relay().poll(Duration::from_secs(3_600)));
    eventually("the one for now is sent", || async { gate.numbers("things") == [2] }).await;
    let backlog = async || Outbox::backlog(&outbox).await.unwrap();
    eventually("that is noted", || async { backlog().await.depth == 1 }).await;
    assert_eq!(backlog().await.oldest_age, Duration::ZERO, "what is not due has not waited");
    eventually("the one for later is sent", || async { gate.numbers("things") == [2, 1] }).await;
    assert!(Timestamp::now() >= due);
    running.stop().await;
}

async fn the_backlog_tells_depth_and_age(stage: Stage) {
    let gate = Gate::new(|_| Some(ErrorKind::Timeout));
    let outbox = SqlOutbox::new(&gate.bus(), &stage.database);
    for n in 0..3 {
        stage.put(&outbox, event("things", n, None)).await;
    }
    eventually("the rows grow old", || async {
        Outbox::backlog(&outbox).await.unwrap().oldest_age > Duration::from_millis(50)
    })
    .await;
    assert_eq!(Outbox::backlog(&outbox).await.unwrap().depth, 3);
    // A row that fails is still waiting, and grows older.
    let running = Running::start(outbox.relay());
    eventually("all have failed", || async { running.watch.stats().failed >= 3 }).await;
    running.stop().await;
    let backlog = Outbox::backlog(&outbox).await.unwrap();
    assert_eq!((backlog.depth, backlog.parked), (3, 0));
    assert!(backlog.oldest_age > Duration::from_millis(50), "{backlog:?}");
}

async fn tables_are_made_once_by_whoever_comes_first(stage: Stage) {
    stage.run("DROP TABLE pubsub_schema").await;
    for table in ["DROP TABLE pubsub_outbox", "DROP TABLE pubsub_lease", "DROP TABLE pubsub_inbox"] {
        stage.run(table).await;
    }
    let gate = Gate::open();
    let outbox = SqlOutbox::new(&gate.bus(), &stage.database);
    let error = Outbox::backlog(&outbox).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound, "{error}");
    assert!(error.message().contains("Database::migrate"), "{error}");
    // A relay does not wait for what does not come by itself.
    let error = Running::start(outbox.relay()).end().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound, "{error}");

    stage.run("DROP TABLE pubsub_action").await;
    let migrations = (0..8).map(|_| {
        let database = stage.database.clone();
        tokio::spawn(async move { database.migrate().await })
    });
    for migration in migrations.collect::<Vec<_>>() {
        migration.await.unwrap().unwrap();
    }
    assert_eq!(stage.number("SELECT COUNT(*) FROM pubsub_schema").await, 1);
    stage.run("INSERT INTO pubsub_schema VALUES (99, 0)").await;
    let error = stage.database.migrate().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::TopologyMismatch, "{error}");
    let mut tx = stage.database.begin().await.unwrap();
    assert_eq!(matches!(tx.connection(), Connection::Sqlite(_)), stage.kind == Kind::Sqlite);
}
