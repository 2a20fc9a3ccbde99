//! X16: requests in flight when the way to the broker breaks, or whoever answers them dies.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use pubsub_client::EventRpc;
use pubsub_core::{ErrorKind, Event, driver::Feature, rpc::CallError};
use tokio::{
    task::JoinHandle,
    time::{Instant, sleep},
};

use super::tools::ALL;
use crate::{
    conformance::{Add, Failure, Verdict, ensure, same},
    faults::{Action, Answering, FaultCase, Flaw, Role, Stage, Tally, Work},
};

pub(super) const CASES: &[FaultCase] = &[
    FaultCase {
        id: "X16",
        title: "a request in flight when all connections break ends by its deadline, leaves nothing, and the next one works",
        needs: &[Feature::Inbox, Feature::DurableGroup],
        on: ALL,
        bites: &[Flaw::NeverRecovers],
        run: |stage| Box::pin(in_flight(stage, Action::Refuse, Action::Heal)),
    },
    FaultCase {
        id: "X16-kill",
        title: "a request in flight when the broker is killed ends by its deadline, leaves nothing, and the next one works",
        needs: &[Feature::Inbox, Feature::DurableGroup],
        on: ALL,
        bites: &[Flaw::NeverRecovers],
        run: |stage| Box::pin(in_flight(stage, Action::Kill, Action::Start)),
    },
    FaultCase {
        id: "X16-responder",
        title: "a responder's process is killed in the middle: a call ends by its deadline, or is answered by another member",
        needs: &[Feature::Inbox, Feature::DurableGroup],
        on: ALL,
        bites: &[Flaw::KeepsDead],
        run: |stage| Box::pin(responder_killed(stage)),
    },
];

/// The sum that is never answered.
const STUCK: u64 = 0;

/// How a call ended, and after how long.
type Ended = (Result<u64, CallError>, Duration);

/// A call in a task of its own.
fn ask(rpc: &EventRpc, left: u64, timeout: Duration) -> JoinHandle<Ended> {
    let rpc = rpc.clone();
    tokio::spawn(async move {
        let asked = Instant::now();
        (rpc.request(&Add { left, right: 1 }).timeout(timeout).await, asked.elapsed())
    })
}

async fn ended(call: JoinHandle<Ended>) -> Verdict<Ended> {
    call.await.map_err(|error| Failure::new("a call that ends well", error))
}

async fn in_flight(stage: Stage, away: Action, back: Action) -> Verdict {
    let (deadline, bounds) = (Duration::from_secs(2), stage.bounds());
    let (callers, responders) = (stage.bus(0).await?, stage.bus(0).await?);
    let begun = Arc::new(AtomicUsize::new(0));
    let counted = begun.clone();
    let add = move |asked: Add| {
        counted.fetch_add(1, Ordering::Relaxed);
        async move {
            if asked.left == STUCK {
                std::future::pending::<()>().await;
            }
            Ok(asked.left + asked.right)
        }
    };
    let _responder = EventRpc::new(&responders).respond::<Add, _, _>("adding", add).await?;
    let rpc = EventRpc::new(&callers);
    same("a sum", rpc.request(&Add { left: 1, right: 1 }).timeout(bounds.recover).await?, 2)?;
    let ask = |left| ask(&rpc, left, deadline);
    let stuck = ask(STUCK);
    let limit = Instant::now() + deadline;
    while begun.load(Ordering::Relaxed) < 2 && Instant::now() < limit {
        sleep(Duration::from_millis(5)).await;
    }
    ensure(begun.load(Ordering::Relaxed) >= 2, "the request to be at work", begun.load(Ordering::Relaxed))?;
    stage.act(away).await?;
    // One that was underway, and one that cannot even be sent.
    for call in [stuck, ask(2)] {
        let (outcome, elapsed) = ended(call).await?;
        ensure(outcome.is_err(), "an error, as nothing passes", format!("{outcome:?}"))?;
        ensure(elapsed < deadline + bounds.slack, "an end by the deadline", format!("{elapsed:?}"))?;
    }
    same("waiters", rpc.stats().pending, 0)?;
    stage.act(back).await?;
    stage.until_ready(&callers, true, bounds.recover).await?;
    stage.until_ready(&responders, true, bounds.recover).await?;
    // A request may be lost with the last of the old connections; whoever asks again gets the answer.
    let limit = Instant::now() + bounds.recover + bounds.takeover;
    loop {
        let outcome = rpc.request(&Add { left: 3, right: 1 }).timeout(deadline).await;
        match outcome {
            Ok(sum) => break same("a sum", sum, 4)?,
            Err(error) if Instant::now() >= limit => return Err(error.into()),
            Err(_) => sleep(Duration::from_millis(50)).await,
        }
    }
    for left in 10..30 {
        same("a sum", rpc.request(&Add { left, right: 1 }).timeout(bounds.recover).await?, left + 1)?;
    }
    let stats = rpc.stats();
    stage.say(format!("{stats:?}"));
    same("waiters and foreign replies", (stats.pending, stats.foreign), (0, 0))
}

async fn responder_killed(stage: Stage) -> Verdict {
    let (deadline, bounds) = (Duration::from_secs(3), stage.bounds());
    let mut crew = stage.crew(Tally::new())?;
    let answering = |stuck_below| Work {
        channel: Add::CHANNEL.to_owned(),
        shards: 0,
        role: Role::Answer(Answering { group: "adding".to_owned(), lease: bounds.lease, stuck_below }),
    };
    let victim = crew.fork(&answering(10)).await?;
    crew.ready(&[victim]).await?;
    let rpc = EventRpc::new(&stage.bus(0).await?);
    same("a sum", rpc.request(&Add { left: 10, right: 1 }).timeout(bounds.recover).await?, 11)?;
    let (impatient, patient) = (ask(&rpc, 1, deadline), ask(&rpc, 2, bounds.takeover + bounds.recover));
    crew.until("both requests to be at work", deadline, |tally| tally.standing(victim).seen == 3).await?;
    crew.kill(victim).await?;

    let (outcome, elapsed) = ended(impatient).await?;
    let error = outcome.err();
    let told = error.as_ref().map(|error| (error.bus_kind(), error.maybe_applied()));
    same("how the call ended, and whether it may have been executed", told, Some((Some(ErrorKind::Timeout), true)))?;
    ensure(elapsed < deadline + bounds.slack, "an end by the deadline", format!("{elapsed:?}"))?;
    same("waiters", rpc.stats().pending, 1)?;
    let peer = crew.fork(&answering(0)).await?;
    let (outcome, elapsed) = ended(patient).await?;
    same("the sum of another member", outcome?, 3)?;
    stage.say(format_args!("answered by another member after {:.1} s", elapsed.as_secs_f64()));
    for left in 11..30 {
        same("a sum", rpc.request(&Add { left, right: 1 }).timeout(bounds.recover).await?, left + 1)?;
    }
    crew.dismiss(peer).await?;
    ensure(!crew.tally().is_done(1), "a request that is not executed after its deadline", "its execution")?;
    let stats = rpc.stats();
    stage.say(format!("{stats:?}"));
    same("waiters, timeouts and foreign replies", (stats.pending, stats.timeouts, stats.foreign), (0, 1, 0))
}
