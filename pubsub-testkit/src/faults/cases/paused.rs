//! X8: a broker that says nothing, with its connections open.

use std::time::Duration;

use pubsub_core::driver::Feature;
use tokio::time::{Instant, sleep_until, timeout};

use super::tools::{ALL, all_failed, attempts, consumer, publisher};
use crate::{
    conformance::{Failure, Verdict, ensure},
    faults::{Action, Consuming, FaultCase, Flaw, Publishing, Stage, Tally},
};

pub(super) const CASES: &[FaultCase] = &[
    FaultCase {
        id: "X8",
        title: "a broker that is stopped where it is: publishing fails in time, the adapter says so, and all recovers",
        needs: &[Feature::DurableGroup],
        on: ALL,
        bites: &[Flaw::AlwaysReady, Flaw::HangsInOutage, Flaw::NeverRecovers, Flaw::ConfirmsInOutage],
        run: |stage| Box::pin(silent(stage, Action::Pause, Action::Resume)),
    },
    FaultCase {
        id: "X8-link",
        title: "a link that swallows everything: publishing fails in time, the adapter says so, and all recovers",
        needs: &[Feature::DurableGroup],
        on: ALL,
        bites: &[Flaw::AlwaysReady, Flaw::HangsInOutage, Flaw::NeverRecovers],
        run: |stage| Box::pin(silent(stage, Action::Blackhole, Action::Heal)),
    },
];

async fn silent(stage: Stage, away: Action, back: Action) -> Verdict {
    let (channel, bounds) = (stage.channel("x8")?, stage.bounds());
    let mut crew = stage.crew(Tally::new())?;
    let bus = stage.bus(0).await?;
    let consuming = Consuming { lease: Some(bounds.lease), ..Consuming::default() };
    let reader = crew.hire_with(bus.clone(), &consumer(&channel, consuming));
    crew.ready(&[reader]).await?;
    stage.until_ready(&bus, true, bounds.recover).await?;
    let how = Publishing { rate: stage.count(200, 3_000), timeout: bounds.publish, ..Publishing::default() };
    crew.add(&publisher(&channel, how)).await?;
    crew.until("events to flow", bounds.recover, |tally| tally.done() >= 50).await?;

    let begun = Instant::now();
    stage.act(away).await?;
    const PROBES: usize = 1 << 40; // beyond all that the publisher reaches
    // What was underway when the silence began may still be stored; what begins now is not.
    let probes = attempts(&crew, &stage, &bus, &channel, PROBES..PROBES + 10).await?;
    all_failed(&stage, &probes)?;
    stage.until_ready(&bus, false, bounds.notice.saturating_sub(begun.elapsed())).await?;
    stage.say(format_args!("noticed after {:.1} s", begun.elapsed().as_secs_f64()));
    match timeout(bounds.notice, bus.health()).await {
        Ok(health) => ensure(!health.is_up(), "a sign of life that fails", format!("{health:?}"))?,
        Err(_) => return Err(Failure::new("an answer to the question for health", "none")),
    }
    sleep_until(begun + Duration::from_secs(stage.count(8, 20) as u64)).await;
    stage.act(back).await?;

    stage.until_ready(&bus, true, bounds.recover).await?;
    let (done, least) = (crew.tally().done(), stage.count(100, 50_000));
    crew.until("events to flow again", stage.patience(least), |tally| tally.done() >= done + least).await?;
    let repeats = crew.repeats(1, 1, 64);
    crew.finish(repeats).await.map(drop)
}
