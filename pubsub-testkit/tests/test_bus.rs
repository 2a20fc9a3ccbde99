//! A program's router on a `TestBus`: what is recorded, and what each fault does to it.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use std::time::Duration;

use pubsub_core::{ErrorKind, Event, Result};
use pubsub_router::{Attempt, Decision, Dedup, Emitter, HandlerError, MemoryDedup, Router, State};
use pubsub_testkit::{
    TestBus,
    conformance::{Note, Sample},
};

#[derive(Clone)]
struct Follow(bool);

fn note(topic: &str, number: u64) -> Note {
    Note { topic: topic.to_owned(), number }
}

/// What a program would run, too.
fn program() -> Router {
    let handle = |event: Note, Attempt(attempt): Attempt, State(Follow(follow)): State<Follow>, emit: Emitter| async move {
        if follow && event.topic == "parent" {
            emit.emit(&note("child", event.number))?;
        }
        match (event.topic.as_str(), attempt) {
            ("flaky", 1) => Err(HandlerError::retry_after(Duration::from_secs(60), "not yet")),
            ("bad", _) => Err(HandlerError::reject("bad")),
            _ => Ok(()),
        }
    };
    Router::new().group("g").on(handle).with_state(Follow(true))
}

/// Topic, attempt and success of every call.
fn calls(run: &pubsub_testkit::TestRun) -> Vec<(String, u32, bool)> {
    let calls = run.calls_of::<Note>().unwrap();
    calls.into_iter().map(|(note, call)| (note.topic, call.attempt, call.outcome.is_ok())).collect()
}

fn call(topic: &str, attempt: u32, success: bool) -> (String, u32, bool) {
    (topic.to_owned(), attempt, success)
}

#[tokio::test]
async fn what_is_published_and_what_handlers_did_is_on_record() -> Result<()> {
    let bus = TestBus::new()?;
    let run = bus.run(program()).await?;
    bus.publish(&note("parent", 7)).await?;
    bus.publish(&note("bad", 8)).await?;
    bus.settled().await?;
    let published: Vec<_> = bus.published_of::<Note>()?.into_iter().map(|note| note.topic).collect();
    let told = run.only_call_of::<Note>().unwrap_err();
    assert!(told.kind() == ErrorKind::Conflict && told.message().contains("was handled 3 times"), "{told}");
    assert_eq!(run.only_call_of::<Sample>().unwrap_err().kind(), ErrorKind::Conflict);
    assert!(published.contains(&"child".to_owned()) && published.len() == 3, "{published:?}");
    let mut calls = calls(&run);
    calls.sort();
    assert_eq!(calls, [call("bad", 1, false), call("child", 1, true), call("parent", 1, true)]);
    let bad = run.calls().into_iter().find(|call| call.outcome.is_err()).unwrap();
    assert_eq!(bad.outcome, Err((Decision::Reject, "bad".to_owned())));
    assert_eq!(bus.dead_letters(Note::CHANNEL, "g", pubsub_core::StartPosition::Earliest).await?.events.len(), 1);
    Ok(())
}

#[tokio::test]
async fn time_stands_still_until_it_is_moved() -> Result<()> {
    let bus = TestBus::new()?;
    let run = bus.run(program()).await?;
    bus.publish(&note("flaky", 1)).await?;
    while run.calls().is_empty() {
        tokio::task::yield_now().await;
    }
    bus.advance(Duration::from_secs(59));
    tokio::time::sleep(Duration::from_millis(20)).await;
    assert_eq!(calls(&run), [call("flaky", 1, false)]);
    bus.advance(Duration::from_secs(1));
    bus.settled().await?;
    assert_eq!(calls(&run), [call("flaky", 1, false), call("flaky", 2, true)]);
    Ok(())
}

#[tokio::test]
async fn each_fault_does_what_it_says() -> Result<()> {
    let bus = TestBus::new()?;
    let run = bus.run(program()).await?;
    bus.lose_next();
    bus.publish(&note("lost", 1)).await?;
    bus.double_next();
    bus.publish(&note("twice", 2)).await?;
    bus.swap_next();
    bus.publish(&note("late", 3)).await?;
    bus.publish(&note("early", 4)).await?;
    bus.refuse_next();
    let refused = bus.publish(&note("refused", 5)).await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Unavailable);
    bus.settled().await?;
    let topics: Vec<_> = calls(&run).into_iter().map(|call| call.0).collect();
    assert_eq!(topics, ["twice", "twice", "early", "late"]);
    bus.delay_next(Duration::from_secs(5));
    bus.publish(&note("delayed", 6)).await?;
    tokio::time::sleep(Duration::from_millis(20)).await;
    assert_eq!(run.calls().len(), 4);
    bus.advance(Duration::from_secs(5));
    bus.settled().await?;
    assert_eq!(run.calls().len(), 5);
    Ok(())
}

#[tokio::test]
async fn a_crash_between_handler_and_ack_brings_the_event_again_and_dedup_suppresses_the_second_effect() -> Result<()> {
    for (dedup, expected) in [(false, 2), (true, 1)] {
        let bus = TestBus::new()?;
        let (sender, mut effects) = tokio::sync::mpsc::unbounded_channel();
        let router = Router::new().group("g").on(move |event: Note| {
            let sender = sender.clone();
            async move { sender.send(event.number).map_err(|_| "nobody counts") }
        });
        let router = if dedup { router.layer(Dedup::new(MemoryDedup::new(10))) } else { router };
        let run = bus.run(router).await?;
        bus.crash_before_ack();
        bus.publish(&note("once", 1)).await?;
        bus.settled().await?;
        let attempts: Vec<_> = run.calls().iter().map(|call| call.attempt).collect();
        assert_eq!(attempts, [1, 2]);
        let mut effects_seen = 0;
        while effects.try_recv().is_ok() {
            effects_seen += 1;
        }
        assert_eq!(effects_seen, expected);
    }
    Ok(())
}

#[tokio::test]
async fn a_refused_emission_brings_the_event_again() -> Result<()> {
    let bus = TestBus::new()?;
    let run = bus.run(program()).await?;
    bus.delay_next(Duration::ZERO);
    bus.refuse_next();
    bus.publish(&note("parent", 1)).await?;
    while run.calls().is_empty() {
        tokio::task::yield_now().await;
    }
    bus.advance(Duration::from_secs(1));
    bus.settled().await?;
    let parents: Vec<_> = calls(&run).into_iter().filter(|call| call.0 == "parent").collect();
    assert_eq!(parents, [call("parent", 1, false), call("parent", 2, true)]);
    assert_eq!(bus.published().len(), 2);
    assert!(bus.published().iter().all(|event| event.name().as_str() != Sample::NAME));
    Ok(())
}

#[tokio::test]
async fn what_nobody_settles_is_a_dead_letter_after_64_deliveries_whatever_the_policy_says_of_failures() -> Result<()> {
    const LEASE: Duration = Duration::from_secs(1);
    let bus = TestBus::new()?;
    let mut events = bus.subscribe::<Note>().group("g").manual_lease(LEASE).await?;
    bus.publish(&note("deadly", 1)).await?;
    // Held, as by processes that were killed with it.
    let mut held = Vec::new();
    for delivery in 1..=64 {
        let event = events.next().await.unwrap()?;
        assert_eq!(event.attempt(), delivery);
        held.push(event);
        bus.advance(LEASE);
    }
    let none = events.next_timeout(Duration::from_millis(50)).await?;
    assert!(none.is_none(), "{none:?}");
    bus.settled().await?;
    let letters = bus.dead_letters(Note::CHANNEL, "g", pubsub_core::StartPosition::Earliest).await?.events;
    assert_eq!(letters[0].message.meta().dead_attempts, Some(64));
    Ok(())
}
