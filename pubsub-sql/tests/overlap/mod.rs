//! What only happens where several write at a time, and where the database is a process of its own.

use std::time::Duration;

use pubsub_core::ErrorKind;
use pubsub_sql::{Database, SqlOutbox};
use pubsub_testkit::postgres::{Postgres, PostgresOptions};

use crate::{
    case,
    support::{Case, Running, Stage, drained, event, eventually, gate::Gate},
};

pub(crate) fn cases() -> Vec<Case> {
    vec![
        case!(a_row_that_is_committed_late_is_not_passed_over),
        case!(a_long_transaction_elsewhere_holds_nothing_back),
        case!(a_relay_goes_on_when_the_server_is_back),
        case!(wrong_credentials_are_told),
    ]
}

async fn a_row_that_is_committed_late_is_not_passed_over(stage: Stage) {
    let gate = Gate::open();
    let outbox = SqlOutbox::new(&gate.bus(), &stage.database);
    let running = Running::start(outbox.relay());
    let mut early = stage.database.begin().await.unwrap();
    outbox.publish_envelope(&mut early, event("things", 1, None)).await.unwrap();
    for n in 2..50 {
        stage.put(&outbox, event("things", n, None)).await;
    }
    eventually("the later rows are sent", || async { gate.numbers("things").len() == 48 }).await;
    // Its number is smaller than all that were sent.
    early.commit().await.unwrap();
    eventually("the earlier row is sent", || async { gate.numbers("things").last() == Some(&1) }).await;
    drained(&outbox).await;
    running.stop().await;
    assert_eq!(gate.numbers("things").len(), 49);
}

async fn a_long_transaction_elsewhere_holds_nothing_back(stage: Stage) {
    let gate = Gate::open();
    let outbox = SqlOutbox::new(&gate.bus(), &stage.database);
    let mut long = stage.database.begin().await.unwrap();
    crate::support::run(long.connection(), "INSERT INTO things VALUES (1)").await;
    let running = Running::start(outbox.relay());
    stage.put(&outbox, event("things", 1, None)).await;
    drained(&outbox).await;
    assert_eq!(gate.numbers("things"), [1]);
    long.rollback().await.unwrap();
    running.stop().await;
}

async fn a_relay_goes_on_when_the_server_is_back(_: Stage) {
    let mut server = tokio::task::spawn_blocking(|| Postgres::start(&PostgresOptions::new()).unwrap()).await.unwrap();
    let database = Database::connect(&server.url("postgres")).await.unwrap();
    database.migrate().await.unwrap();
    let gate = Gate::open();
    let outbox = SqlOutbox::new(&gate.bus(), &database);
    let running = Running::start(outbox.relay().poll(Duration::from_millis(100)).lease(Duration::from_secs(1)));
    let put = async |n| {
        let mut tx = database.begin().await?;
        outbox.publish_envelope(&mut tx, event("things", n, None)).await?;
        tx.commit().await
    };
    put(1).await.unwrap();
    eventually("the first row is sent", || async { gate.numbers("things") == [1] }).await;
    server.kill();
    let watch = running.watch.clone();
    let noticed = || watch.stats().last_error.is_some_and(|error| error.is_retryable());
    eventually("the relay notices", || async { noticed() }).await;
    let server = tokio::task::spawn_blocking(move || server.restart().map(|()| server).unwrap()).await.unwrap();
    // Connections that were open when the server died fail once.
    eventually("the application writes again", || async { put(2).await.is_ok() }).await;
    eventually("the second row is sent", || async { gate.numbers("things").contains(&2) }).await;
    running.stop().await;
    drop(server);
}

async fn wrong_credentials_are_told(stage: Stage) {
    let url = stage.url.replacen("postgres://postgres@", "postgres://nobody@", 1);
    let error = Database::connect(&url).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Auth, "{error}");
    let error = Database::connect("postgres://postgres@127.0.0.1:1/none").await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
    for url in ["mysql://localhost/x", "sqlite::memory:", "nothing"] {
        assert_eq!(Database::connect(url).await.unwrap_err().kind(), ErrorKind::Invalid, "{url}");
    }
}
