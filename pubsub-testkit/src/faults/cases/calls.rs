//! X16: requests in flight when the way to the broker breaks.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use pubsub_client::EventRpc;
use pubsub_core::driver::Feature;
use tokio::time::{Instant, sleep};

use super::tools::ALL;
use crate::{
    conformance::{Add, Failure, Verdict, ensure, same},
    faults::{Action, FaultCase, Flaw, Stage},
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
];

/// The sum that is never answered.
const STUCK: u64 = 0;

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
    let ask = |left| {
        let rpc = rpc.clone();
        tokio::spawn(async move {
            let asked = Instant::now();
            (rpc.request(&Add { left, right: 1 }).timeout(deadline).await, asked.elapsed())
        })
    };
    let stuck = ask(STUCK);
    let limit = Instant::now() + deadline;
    while begun.load(Ordering::Relaxed) < 2 && Instant::now() < limit {
        sleep(Duration::from_millis(5)).await;
    }
    ensure(begun.load(Ordering::Relaxed) >= 2, "the request to be at work", begun.load(Ordering::Relaxed))?;
    stage.act(away).await?;
    // One that was underway, and one that cannot even be sent.
    for call in [stuck, ask(2)] {
        let (outcome, elapsed) = call.await.map_err(|error| Failure::new("a call that ends well", error))?;
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
