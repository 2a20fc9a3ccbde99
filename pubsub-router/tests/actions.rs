//! Requests: who executes them, what the caller is told, and what is not executed.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod common;

use std::time::Duration;

use common::{Charged, Log, until};
use pubsub::{
    CallError, Dedup, Emitter, ErrorKind, EventRpc, Failure, FailureCode, HandlerError, MemoryDedup, Meta, PubSub,
    Retry, Router, Timeout, User,
};

#[pubsub::event("quotes:get", reply = Quote)]
#[derive(Clone, Debug)]
struct GetQuote {
    sku: String,
}

#[pubsub::payload]
#[derive(Clone, Debug, PartialEq)]
struct Quote {
    cents: u64,
}

fn get(sku: &str) -> GetQuote {
    GetQuote { sku: sku.to_owned() }
}

async fn bus() -> PubSub {
    pubsub::connect("memory:").await.unwrap()
}

/// One of each way to end.
async fn quote(request: GetQuote, user: Option<User>, emit: Emitter) -> Result<Quote, HandlerError> {
    emit.emit(&Charged { number: request.sku.len() as u64 })?;
    match request.sku.as_str() {
        "lamp" => Ok(Quote { cents: 1_990 }),
        "mine" => Ok(Quote { cents: user.map_or(0, |user| user.0.len() as u64) }),
        "none" => Err(Failure::not_found("there is no such thing").into()),
        "bad" => Err(HandlerError::reject("the sku is bad")),
        "secret" => Err(std::io::Error::other("connection to db-3 refused").into()),
        "panic" => panic!("at work"),
        _ => std::future::pending().await,
    }
}

fn refused(outcome: Result<Quote, CallError>) -> Failure {
    match outcome {
        Err(CallError::Failed(failure)) => failure,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn an_action_answers_and_its_failures_are_typed() {
    let (bus, log) = (bus().await, Log::default());
    let seen = log.clone();
    let charged = Router::new().group("books").on(move |charged: Charged| {
        seen.add(charged.number);
        async {}
    });
    let router: Router = Router::new().group("quoting").concurrency(4).action(quote).merge(charged);
    let running = router.start(&bus).await.unwrap();
    let rpc = EventRpc::new(&bus);
    assert_eq!(rpc.request(&get("lamp")).await.unwrap(), Quote { cents: 1_990 });
    let failure = refused(rpc.request(&get("none")).await);
    assert_eq!((failure.code, failure.message.as_str()), (FailureCode::NotFound, "there is no such thing"));
    let failure = refused(rpc.request(&get("bad")).await);
    assert_eq!((failure.code, failure.message.as_str()), (FailureCode::BadRequest, "the sku is bad"));
    for sku in ["secret", "panic"] {
        let failure = refused(rpc.request(&get(sku)).await);
        assert_eq!((failure.code, failure.retryable), (FailureCode::InternalServerError, true));
        assert_eq!(failure.message, "the action failed", "no more is told of what is inside");
    }
    assert_eq!(log.reach(1).await, [4], "only what a success emitted went out");
    until("settled", || running.stats("quoting", "quotes").unwrap().outstanding == 0).await;
    let handled = running.handled("quoting", "quotes").unwrap();
    assert_eq!((handled.succeeded, handled.failed, handled.undelivered), (1, 4, 0));
    assert_eq!(
        running.stats("quoting", "quotes").unwrap().dead_lettered,
        0,
        "a failure that is told is no dead letter"
    );
}

#[tokio::test]
async fn what_is_late_or_wants_no_reply_is_not_executed() {
    let (bus, log) = (bus().await, Log::default());
    let (seen, plain) = (log.clone(), log.clone());
    let action = move |request: GetQuote| {
        seen.add(format!("action {}", request.sku));
        async {
            tokio::time::sleep(Duration::from_secs(60)).await;
            Ok(Quote { cents: 1 })
        }
    };
    let handler = move |request: GetQuote| {
        plain.add(format!("event {}", request.sku));
        async {}
    };
    let both = Router::new().group("both").action(action).on(handler);
    let router: Router = both;
    let running = router.start(&bus).await.unwrap();
    bus.publish(&get("plain")).await.unwrap();
    assert_eq!(log.reach(1).await, ["event plain"]);
    let past = pubsub::Timestamp::from_millis(1).unwrap();
    let late = |meta: &mut Meta| (meta.reply_to, meta.deadline) = (Some("answers".to_owned()), Some(past));
    bus.publish(&get("late")).meta(late).await.unwrap();
    until("expired", || running.handled("both", "quotes").unwrap().expired == 1).await;
    // One that is at work at its deadline is dropped.
    let soon = bus.clock().now().saturating_add(Duration::from_millis(300));
    bus.publish(&get("slow"))
        .meta(|meta| (meta.reply_to, meta.deadline) = (Some("answers".into()), Some(soon)))
        .await
        .unwrap();
    until("cut off", || running.handled("both", "quotes").unwrap().expired == 2).await;
    assert_eq!(log.all(), ["event plain", "action slow"]);
    until("settled", || running.stats("both", "quotes").unwrap().outstanding == 0).await;
}

#[tokio::test]
async fn a_plain_event_is_not_for_an_action_and_a_malformed_request_is_a_dead_letter() {
    let bus = bus().await;
    let router: Router = Router::new().group("quoting").action(quote);
    let running = router.start(&bus).await.unwrap();
    bus.publish(&get("lamp")).await.unwrap();
    until("unserved", || running.handled("quoting", "quotes").unwrap().unserved == 1).await;
    bus.publish(&get("lamp")).meta(|meta| meta.reply_to = Some("_dlq.a.b".to_owned())).await.unwrap();
    let letters = common::letters(&bus, "quotes", "quoting", 1).await;
    assert!(letters[0].message.meta().dead_reason.as_deref().unwrap().contains("replyTo"));
}

#[tokio::test]
async fn two_actions_of_one_request_are_refused() {
    let bus = bus().await;
    let action = || |_: GetQuote| async { Ok(Quote { cents: 1 }) };
    let router: Router =
        Router::new().merge(Router::new().group("a").action(action())).merge(Router::new().group("b").action(action()));
    let error = router.start(&bus).await.map(drop).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Conflict);
    assert!(error.message().contains("two actions claim the request `quotes:get`"), "{error}");
}

#[tokio::test]
async fn a_second_action_of_a_request_cannot_be_added() {
    let bus = bus().await;
    let router =
        |group: &str, cents| Router::new().group(group).action(move |_: GetQuote| async move { Ok(Quote { cents }) });
    let running = router("a", 1).start(&bus).await.unwrap();
    let error = running.add(router("b", 2)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Conflict, "{error}");
    assert!(error.message().contains("`quotes:get`"), "{error}");
    assert_eq!(running.status().len(), 1, "nothing was added");
    // Its place is free once the first one is stopped.
    running.stop("a", "quotes", Duration::from_secs(5)).await.unwrap();
    running.add(router("b", 2)).await.unwrap();
}

#[tokio::test]
async fn layers_are_around_actions_too() {
    let (bus, log) = (bus().await, Log::default());
    let seen = log.clone();
    let flaky = move |request: GetQuote| {
        seen.add(request.sku.clone());
        let tries = seen.len() as u64;
        async move {
            match (request.sku.as_str(), tries) {
                ("slow", _) => std::future::pending().await,
                (_, 1) => Err(HandlerError::retry("not yet")),
                _ => Ok(Quote { cents: tries }),
            }
        }
    };
    let router: Router = Router::new()
        .group("quoting")
        .action(flaky)
        .layer(Retry::inline(3).delays(Duration::ZERO, Duration::ZERO))
        .layer(Timeout::after(Duration::from_millis(50)))
        .layer(Dedup::new(MemoryDedup::new(100)));
    let _running = router.start(&bus).await.unwrap();
    let rpc = EventRpc::new(&bus);
    assert_eq!(rpc.request(&get("lamp")).await.unwrap(), Quote { cents: 2 });
    assert_eq!(refused(rpc.request(&get("slow")).await).code, FailureCode::GatewayTimeout);
}

#[tokio::test]
async fn a_request_may_come_by_another_way_than_the_broker() {
    let bus = bus().await;
    let router: Router = Router::new().group("quoting").action(quote);
    let running = router.start(&bus).await.unwrap();
    let request = |sku: &str| {
        let mut envelope = bus.envelope(&get(sku)).unwrap();
        envelope.meta.user_id = Some("u-12".to_owned());
        envelope
    };
    let reply = running.act(request("mine")).await.unwrap().unwrap();
    assert_eq!(reply.data().unwrap(), b"{\"cents\":4}".as_slice());
    let failure = running.act(request("none")).await.unwrap().unwrap_err();
    assert_eq!(failure.code, FailureCode::NotFound);
    let mut bad = request("mine");
    bad.payload = pubsub::Payload::json("{}");
    let failure = running.act(bad).await.unwrap().unwrap_err();
    assert_eq!(failure.code, FailureCode::BadRequest);
    assert!(running.act(bus.envelope(&Charged { number: 1 }).unwrap()).await.is_none());
}

#[tokio::test]
async fn who_publishes_by_itself_gets_what_an_action_emits() {
    let (bus, log) = (bus().await, Log::default());
    let seen = log.clone();
    let charged = Router::new().group("books").on(move |charged: Charged| {
        seen.add(charged.number);
        async {}
    });
    let router: Router = Router::new().group("quoting").action(quote).merge(charged);
    let running = router.start(&bus).await.unwrap();
    let request = |sku: &str| bus.envelope(&get(sku)).unwrap();
    let performed = running.perform(request("lamp"), None).await.unwrap().unwrap();
    assert_eq!(performed.reply.data().unwrap(), b"{\"cents\":1990}".as_slice());
    let names: Vec<_> = performed.emitted.iter().map(|event| event.name.as_str()).collect();
    assert_eq!(names, [<Charged as pubsub::Event>::NAME]);
    let failure = running.perform(request("none"), None).await.unwrap().unwrap_err();
    assert_eq!(failure.code, FailureCode::NotFound);
    assert!(running.perform(bus.envelope(&Charged { number: 1 }).unwrap(), None).await.is_none());
    // Nothing went out by itself: the first that arrives is what is published now.
    bus.publish(&Charged { number: 7 }).await.unwrap();
    assert_eq!(log.reach(1).await, [7]);
}
