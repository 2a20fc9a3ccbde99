//! What becomes of an event when its handler fails, panics, or publishes.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod common;

use std::{sync::Arc, time::Duration};

use common::{Charged, Log, OrderCreated, letters, order, until};
use pubsub::{
    Attempt, BoxError, ChannelName, ChannelPolicy, Emitter, Envelope, ErrorKind, EventName, HandlerError, ManualAck,
    Message, Payload, PubSub, Retry, Router, Settle,
};

/// Retries without delay, so that tests need not wait.
fn eager(attempts: u32) -> Retry {
    Retry::exponential(attempts).delays(Duration::ZERO, Duration::ZERO)
}

async fn bus() -> PubSub {
    pubsub::connect("memory:").await.unwrap()
}

/// The reason and the attempts of the one dead letter.
async fn letter(bus: &PubSub, group: &str) -> (String, u32) {
    let letters = letters(bus, "orders", group, 1).await;
    let meta = letters[0].message.meta();
    (meta.dead_reason.clone().unwrap(), meta.dead_attempts.unwrap())
}

#[tokio::test]
async fn a_plain_error_of_any_type_means_retry_and_its_text_reaches_the_dead_letter() {
    let (bus, log) = (bus().await, Log::default());
    let seen = log.clone();
    let text = Router::new().group("text").on(|_: OrderCreated| async { Err::<(), _>("no answer") });
    let chain = Router::new().group("chain").on(|_: OrderCreated| async {
        let cause = std::io::Error::other("broken pipe");
        Err::<(), _>(pubsub::Error::new(ErrorKind::Unavailable, "charge", "no answer").because(cause))
    });
    let boxed = Router::new().group("boxed").on(move |order: OrderCreated, Attempt(attempt): Attempt| {
        seen.add((order.number, attempt));
        async { Err::<(), BoxError>("boxed".into()) }
    });
    let router: Router = Router::new().merge(text).merge(chain).merge(boxed).layer(eager(3));
    let _running = router.start(&bus).await.unwrap();
    bus.publish(&order(1)).await.unwrap();
    assert_eq!(letter(&bus, "text").await, ("no answer".to_owned(), 3));
    assert_eq!(letter(&bus, "chain").await, ("charge: no answer: broken pipe".to_owned(), 3));
    assert_eq!(letter(&bus, "boxed").await, ("boxed".to_owned(), 3));
    assert_eq!(log.all(), [(1, 1), (1, 2), (1, 3)]);
}

#[tokio::test]
async fn a_failing_event_stops_at_the_default_cap_whatever_delay_it_asks_for() {
    let (bus, log) = (bus().await, Log::default());
    let seen = log.clone();
    let again = move |order: OrderCreated| {
        seen.add(order.number);
        async { Err::<(), _>(HandlerError::retry_after(Duration::ZERO, "again")) }
    };
    let router: Router = Router::new().group("g").on(again);
    let _running = router.start(&bus).await.unwrap();
    bus.publish(&order(1)).await.unwrap();
    assert_eq!(letter(&bus, "g").await, ("again".to_owned(), 8));
    assert_eq!(log.len(), 8);
}

#[tokio::test]
async fn reject_and_give_up_end_at_once_and_retry_after_waits() {
    let (bus, log) = (bus().await, Log::default());
    let seen = log.clone();
    let reject =
        Router::new().group("reject").on(|_: OrderCreated| async { Err::<(), _>(HandlerError::reject("bad")) });
    let give_up =
        Router::new().group("give-up").on(|_: OrderCreated| async { Err::<(), _>(HandlerError::give_up("over")) });
    let wait = Router::new().group("wait").on(move |_: OrderCreated, Attempt(attempt): Attempt| {
        seen.add((attempt, std::time::Instant::now()));
        async move {
            match attempt {
                1 => Err(HandlerError::retry_after(Duration::from_millis(60), "later")),
                _ => Ok(()),
            }
        }
    });
    let router: Router = Router::new().merge(reject).merge(give_up).merge(wait);
    let running = router.start(&bus).await.unwrap();
    bus.publish(&order(1)).await.unwrap();
    assert_eq!(letter(&bus, "reject").await, ("bad".to_owned(), 1));
    assert_eq!(letter(&bus, "give-up").await, ("over".to_owned(), 1));
    let seen = log.reach(2).await;
    assert_eq!((seen[0].0, seen[1].0), (1, 2));
    assert!(seen[1].1 - seen[0].1 >= Duration::from_millis(60));
    until("success", || running.handled("wait", "orders").unwrap().succeeded == 1).await;
}

#[tokio::test]
async fn a_panic_fails_one_event_and_nothing_else() {
    let (bus, log) = (bus().await, Log::default());
    let seen = log.clone();
    let handler = move |order: OrderCreated, Attempt(attempt): Attempt| {
        let seen = seen.clone();
        assert!(order.number != 3, "before the first await: {attempt}");
        async move {
            std::future::ready(()).await;
            assert!(order.number != 2, "number {} is not to be had", order.number);
            seen.add(order.number);
        }
    };
    let router: Router = Router::new().group("g").on(handler).layer(eager(2));
    let running = router.start(&bus).await.unwrap();
    for number in 1..=5 {
        bus.publish(&order(number)).await.unwrap();
    }
    let letters = letters(&bus, "orders", "g", 2).await;
    let reasons: Vec<_> = letters.iter().map(|letter| letter.message.meta().dead_reason.clone().unwrap()).collect();
    assert!(reasons.contains(&"the handler panicked: number 2 is not to be had".to_owned()), "{reasons:?}");
    assert!(reasons.contains(&"the handler panicked: before the first await: 2".to_owned()), "{reasons:?}");
    assert_eq!(log.reach(3).await, [1, 4, 5]);
    assert!(running.is_ready());
}

#[tokio::test]
async fn an_undecodable_payload_and_an_unknown_version_are_dead_letters_at_once() {
    let (bus, log) = (bus().await, Log::default());
    let seen = log.clone();
    let handler = move |order: OrderCreated| {
        seen.add(order.number);
        async {}
    };
    let router: Router = Router::new().group("g").on(handler).layer(eager(5));
    let running = router.start(&bus).await.unwrap();
    let raw = |payload: &'static str, version| {
        let (name, channel) = (EventName::parse("orders:created").unwrap(), ChannelName::parse("orders").unwrap());
        let mut envelope = Envelope::new(name, channel, Payload::json(payload));
        envelope.version = version;
        envelope
    };
    bus.publish_envelope(raw(r#"{"customer": "C-1", "number": "many"}"#, 1)).await.unwrap();
    bus.publish_envelope(raw(r#"{"customer": "C-1", "number": 1}"#, 9)).await.unwrap();
    bus.publish(&order(7)).await.unwrap();
    let letters = letters(&bus, "orders", "g", 2).await;
    let told: Vec<_> = letters.iter().map(|letter| letter.message.meta()).collect();
    assert!(told[0].dead_reason.as_deref().unwrap().contains("/number"), "{told:?}");
    assert!(told[1].dead_reason.as_deref().unwrap().contains("version 9"), "{told:?}");
    assert!(told.iter().all(|meta| meta.dead_attempts == Some(1)));
    assert_eq!(letters[0].message.payload().data().unwrap(), r#"{"customer": "C-1", "number": "many"}"#.as_bytes());
    assert_eq!(log.reach(1).await, [7]);
    assert_eq!(running.stats("g", "orders").unwrap().undecodable, 2);
}

#[tokio::test]
async fn what_is_emitted_goes_out_only_if_the_handler_succeeds_and_the_ack_follows() {
    let (bus, log) = (bus().await, Log::default());
    let handler = |order: OrderCreated, Attempt(attempt): Attempt, emit: Emitter| async move {
        emit.emit(&Charged { number: 10 * order.number + u64::from(attempt) })?;
        match (order.number, attempt) {
            (1, 1) => Err(HandlerError::retry("not yet")),
            (2, 1) => panic!("at work"),
            _ => Ok(()),
        }
    };
    let seen = log.clone();
    let payments = Router::new().group("books").on(move |charged: Charged| {
        seen.add(charged.number);
        async {}
    });
    let router: Router = Router::new().group("billing").on(handler).merge(payments).layer(eager(3));
    let running = router.start(&bus).await.unwrap();
    for number in 1..=3 {
        bus.publish(&order(number)).await.unwrap();
    }
    until("all", || running.handled("billing", "orders").unwrap().succeeded == 3).await;
    let mut seen = log.reach(3).await;
    seen.sort_unstable();
    assert_eq!(seen, [12, 22, 31]);
}

#[tokio::test]
async fn an_event_whose_emissions_are_refused_stays_and_is_a_dead_letter_in_the_end() {
    let builder = pubsub::builder("memory:").await.unwrap();
    let bus = builder.policy("payments", ChannelPolicy::new().max_payload(4)).unwrap().build();
    let handler = |order: OrderCreated, emit: Emitter| async move {
        emit.emit(&Charged { number: order.number })?;
        Ok::<_, HandlerError>(())
    };
    let router: Router = Router::new().group("g").on(handler).layer(eager(2));
    let _running = router.start(&bus).await.unwrap();
    bus.publish(&order(1)).await.unwrap();
    let (reason, attempts) = letter(&bus, "g").await;
    assert!(reason.contains("publish on `payments`") && attempts == 2, "{reason}");
}

#[tokio::test]
async fn an_emitter_that_outlives_its_call_is_refused_and_a_call_has_its_bound() {
    let (bus, log) = (bus().await, Log::default());
    let kept = Log::default();
    let (keep, seen) = (kept.clone(), log.clone());
    let handler = move |_: OrderCreated, emit: Emitter| {
        let (keep, seen) = (keep.clone(), seen.clone());
        async move {
            let refused = (0..2_000).filter(|number| emit.emit(&Charged { number: *number }).is_err()).count();
            seen.add(refused);
            keep.add(emit);
        }
    };
    let router: Router = Router::new().group("g").on(handler);
    let running = router.start(&bus).await.unwrap();
    bus.publish(&order(1)).await.unwrap();
    until("success", || running.handled("g", "orders").unwrap().succeeded == 1).await;
    assert_eq!(log.all(), [2_000 - 1_024]);
    let error = kept.all()[0].emit(&Charged { number: 1 }).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Closed);
}

#[tokio::test]
async fn each_policy_settles_as_it_says() {
    let cases = [
        (Settle::NackOnError, "none", 1, 0),
        (Settle::NackOnError, "plain", 2, 1),
        (Settle::NackOnError, "reject", 1, 1),
        (Settle::RejectOnError, "plain", 1, 1),
        (Settle::RejectOnError, "retry", 2, 1),
        (Settle::AckOnError, "plain", 1, 0),
        (Settle::AckOnError, "reject", 1, 1),
        (Settle::AckFirst, "plain", 1, 0),
        (Settle::AckFirst, "panic", 1, 0),
        (Settle::Manual, "none", 1, 0),
        (Settle::Manual, "reject", 1, 1),
    ];
    for (settle, says, calls, dead) in cases {
        let (bus, log) = (bus().await, Log::default());
        let seen = log.clone();
        let handler = move |message: Arc<Message>, ack: Option<ManualAck>| {
            seen.add(message.id().clone());
            async move {
                match (says, ack) {
                    (_, Some(ManualAck(ack))) if says == "none" => ack.ack(),
                    (_, Some(ManualAck(ack))) => ack.reject("by hand").unwrap(),
                    ("none", None) => {}
                    ("plain", None) => return Err(HandlerError::retry("plain")),
                    ("reject", None) => return Err(HandlerError::reject("rejected")),
                    ("retry", None) => return Err(HandlerError::retry_after(Duration::ZERO, "explicit")),
                    _ => panic!("{says}"),
                }
                Ok(())
            }
        };
        let router: Router = Router::new()
            .group("g")
            .on(move |_: OrderCreated, message: Arc<Message>, ack: Option<ManualAck>| handler(message, ack))
            .layer(if settle == Settle::NackOnError { eager(2) } else { Retry::inline(1) })
            .settle(settle);
        let running = router.start(&bus).await.unwrap();
        bus.publish(&order(1)).await.unwrap();
        let context = format!("{settle:?} {says}");
        if says == "retry" {
            log.reach(calls).await;
            continue; // its end is that of the default cap
        }
        until(&context, || {
            let stats = running.stats("g", "orders").unwrap();
            log.len() == calls && stats.outstanding == 0 && stats.dead_lettered == dead
        })
        .await;
        assert_eq!(letters(&bus, "orders", "g", usize::try_from(dead).unwrap()).await.len() as u64, dead, "{context}");
        running.drain(Duration::from_secs(5)).await.unwrap();
        let mut rest = bus.subscribe::<OrderCreated>().group("g").await.unwrap();
        assert!(rest.next_timeout(Duration::from_millis(20)).await.unwrap().is_none(), "{context}: settled");
    }
}
