//! Actions that are done once.

use std::time::Duration;

use bytes::Bytes;
use pubsub_core::{
    Error, ErrorKind, EventId, EventName, Result,
    store::{ActionId, Claim, Idempotency, Once},
};
use pubsub_sql::{Database, SqlIdempotency};

use crate::{
    case,
    support::{Case, Stage, eventually, run},
};

pub(crate) fn cases() -> Vec<Case> {
    vec![
        case!(in_a_transaction_one_effect_and_one_answer),
        case!(over_the_store_one_effect_and_one_answer),
        case!(another_input_under_the_same_id_is_a_conflict),
        case!(a_failure_is_not_remembered),
        case!(a_claim_whose_owner_died_is_given_to_another),
        case!(a_claim_is_kept_while_the_action_runs),
    ]
}

fn action(scope: &str, id: &str) -> ActionId {
    ActionId::new(scope, EventName::parse("order:create").unwrap(), EventId::parse(id).unwrap()).unwrap()
}

/// As a handler with a transaction does it; the answer tells which of the calls had the effect.
async fn act(database: &Database, action: &ActionId, input: &[u8], n: usize) -> Result<Bytes> {
    let actions = SqlIdempotency::new(database);
    let mut tx = database.begin().await?;
    match actions.claim_in(&mut tx, action, input).await? {
        Claim::Granted(permit) => {
            run(tx.connection(), "INSERT INTO things VALUES (1)").await;
            let answer = Bytes::from(n.to_string());
            actions.complete_in(&mut tx, &permit, &answer).await?;
            tx.commit().await?;
            Ok(answer)
        }
        Claim::Answered(answer) => Ok(answer),
        other => panic!("{other:?}"),
    }
}

async fn in_a_transaction_one_effect_and_one_answer(stage: Stage) {
    let replicas = [stage.database.clone(), stage.replica().await];
    let tasks = (0..30).map(|n: usize| {
        let database = replicas[n % 2].clone();
        tokio::spawn(async move { act(&database, &action("u", "1"), b"input", n).await })
    });
    let mut answers = Vec::new();
    for task in tasks.collect::<Vec<_>>() {
        answers.push(task.await.unwrap().unwrap());
    }
    // After a restart.
    answers.push(act(&stage.replica().await, &action("u", "1"), b"input", 99).await.unwrap());
    assert!(answers.iter().all(|answer| *answer == answers[0]), "{answers:?}");
    assert_eq!(stage.things().await, 1);
    // Other callers and other ids are other actions.
    act(&stage.database, &action("v", "1"), b"input", 1).await.unwrap();
    act(&stage.database, &action("u", "2"), b"input", 1).await.unwrap();
    assert_eq!(stage.things().await, 3);
}

async fn over_the_store_one_effect_and_one_answer(stage: Stage) {
    let replicas = [stage.database.clone(), stage.replica().await];
    let tasks = (0..30).map(|n: usize| {
        let (database, effects) = (replicas[n % 2].clone(), stage.database.clone());
        tokio::spawn(async move {
            let actions = SqlIdempotency::new(&database);
            let work = async {
                let mut tx = effects.begin().await?;
                run(tx.connection(), "INSERT INTO things VALUES (1)").await;
                tx.commit().await?;
                tokio::time::sleep(Duration::from_millis(50)).await;
                Ok(Bytes::from(n.to_string()))
            };
            Box::pin(Once::new(&actions).run(&action("u", "1"), b"input", work)).await
        })
    });
    let mut outcomes = Vec::new();
    for task in tasks.collect::<Vec<_>>() {
        outcomes.push(task.await.unwrap().unwrap());
    }
    assert!(outcomes.iter().all(|outcome| outcome.answer == outcomes[0].answer), "{outcomes:?}");
    assert_eq!(outcomes.iter().filter(|outcome| !outcome.duplicate).count(), 1);
    assert_eq!(stage.things().await, 1);
}

async fn another_input_under_the_same_id_is_a_conflict(stage: Stage) {
    act(&stage.database, &action("u", "1"), b"input", 1).await.unwrap();
    let error = act(&stage.database, &action("u", "1"), b"other", 2).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Conflict, "{error}");
    let actions = SqlIdempotency::new(&stage.database);
    // Also while the first is running.
    let running = actions.claim(&action("u", "2"), b"input", Duration::from_secs(60)).await.unwrap();
    assert!(matches!(running, Claim::Granted(_)));
    let error = actions.claim(&action("u", "2"), b"other", Duration::from_secs(60)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Conflict, "{error}");
    assert_eq!(actions.claim(&action("u", "2"), b"input", Duration::from_secs(60)).await.unwrap(), Claim::Running);
    assert_eq!(stage.things().await, 1);
}

async fn a_failure_is_not_remembered(stage: Stage) {
    let actions = SqlIdempotency::new(&stage.database);
    let failing = async { Err(Error::new(ErrorKind::Backend, "create order", "out of stock")) };
    let error = Once::new(&actions).run(&action("u", "1"), b"", failing).await.unwrap_err();
    assert_eq!(error.message(), "out of stock");
    let outcome = Once::new(&actions).run(&action("u", "1"), b"", async { Ok("done".into()) }).await.unwrap();
    assert_eq!((outcome.answer, outcome.duplicate), ("done".into(), false));
    // In a transaction the claim goes back with everything else.
    let mut tx = stage.database.begin().await.unwrap();
    assert!(matches!(actions.claim_in(&mut tx, &action("u", "2"), b"").await.unwrap(), Claim::Granted(_)));
    tx.rollback().await.unwrap();
    act(&stage.database, &action("u", "2"), b"", 1).await.unwrap();
    assert_eq!(stage.things().await, 1);
}

async fn a_claim_whose_owner_died_is_given_to_another(stage: Stage) {
    let actions = SqlIdempotency::new(&stage.database);
    let dead = match actions.claim(&action("u", "1"), b"", Duration::from_millis(100)).await.unwrap() {
        Claim::Granted(permit) => permit,
        other => panic!("{other:?}"),
    };
    let outcome = Once::new(&actions).run(&action("u", "1"), b"", async { Ok("second".into()) }).await.unwrap();
    assert_eq!(outcome.answer, "second");
    // It was only slow; its answer comes too late, and what counts stays.
    for error in [
        actions.complete(&dead, "first".into()).await.unwrap_err(),
        actions.renew(&dead, Duration::from_secs(1)).await.unwrap_err(),
    ] {
        assert_eq!(error.kind(), ErrorKind::Conflict, "{error}");
    }
    actions.abandon(&dead).await.unwrap();
    let known = actions.claim(&action("u", "1"), b"", Duration::from_secs(1)).await.unwrap();
    assert_eq!(known, Claim::Answered("second".into()));
}

async fn a_claim_is_kept_while_the_action_runs(stage: Stage) {
    let (database, lease) = (stage.database.clone(), Duration::from_millis(300));
    let long = tokio::spawn(async move {
        let actions = SqlIdempotency::new(&database);
        let work = async {
            tokio::time::sleep(Duration::from_millis(1_500)).await;
            Ok("long".into())
        };
        Once::new(&actions).lease(lease).run(&action("u", "1"), b"", work).await
    });
    let claims = || stage.number("SELECT COUNT(*) FROM pubsub_action");
    eventually("the action runs", || async { claims().await == 1 }).await;
    let actions = SqlIdempotency::new(&stage.database);
    let impatient = Once::new(&actions).wait(Duration::from_millis(600));
    let error = impatient.run(&action("u", "1"), b"", async { Ok("mine".into()) }).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Timeout, "{error}");
    let patient = Once::new(&actions).run(&action("u", "1"), b"", async { Ok("mine".into()) }).await.unwrap();
    assert_eq!((patient.answer, patient.duplicate), ("long".into(), true));
    assert!(!long.await.unwrap().unwrap().duplicate);
}
