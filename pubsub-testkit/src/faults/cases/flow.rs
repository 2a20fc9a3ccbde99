//! X1, X2, R6: what flows while the broker restarts and connections break.

use std::time::Duration;

use pubsub_core::driver::Feature;
use tokio::time::sleep;

use super::tools::{ALL, consumer, publisher};
use crate::{
    conformance::Verdict,
    faults::{Action, Consuming, FaultCase, Flaw, Publishing, Stage, Tally},
    faulty::Fault,
};

pub(super) const CASES: &[FaultCase] = &[
    FaultCase {
        id: "X1",
        title: "the broker is restarted twice during a flow: nothing confirmed is lost",
        needs: &[Feature::DurableGroup],
        on: ALL,
        bites: &[Flaw::LosesOnReturn, Flaw::NeverRecovers, Flaw::RepeatsAfterReturn, Flaw::ConfirmsInOutage],
        run: |stage| Box::pin(restarted(stage, Action::Stop)),
    },
    FaultCase {
        id: "X1-kill",
        title: "the broker is killed twice during a flow: nothing confirmed is lost",
        needs: &[Feature::DurableGroup],
        on: ALL,
        bites: &[Flaw::LosesOnReturn, Flaw::NeverRecovers, Flaw::Always(Fault::LoseMessage)],
        run: |stage| Box::pin(restarted(stage, Action::Kill)),
    },
    FaultCase {
        id: "X2",
        title: "all connections are cut every half second during a flow: nothing confirmed is lost",
        needs: &[Feature::DurableGroup],
        on: ALL,
        bites: &[Flaw::LosesOnReturn, Flaw::NeverRecovers],
        run: |stage| Box::pin(cut(stage)),
    },
    FaultCase {
        id: "R6",
        title: "default settings survive a cut, and the adapter is not ready while its subscription is down",
        needs: &[Feature::DurableGroup],
        on: ALL,
        bites: &[Flaw::AlwaysReady, Flaw::NeverRecovers],
        run: |stage| Box::pin(defaults(stage)),
    },
];

async fn restarted(stage: Stage, down: Action) -> Verdict {
    let (total, rate) = (stage.count(3_000, 50_000), stage.count(1_500, 4_000));
    let channel = stage.channel("x1")?;
    let mut crew = stage.crew(Tally::new())?;
    let consume = consumer(&channel, Consuming { lease: Some(stage.bounds().lease), ..Consuming::default() });
    let consumers = [crew.add(&consume).await?, crew.add(&consume).await?];
    crew.ready(&consumers).await?;
    crew.add(&publisher(&channel, Publishing { count: total, lanes: 100, rate, ..Publishing::default() })).await?;
    for part in [total / 3, total / 2] {
        let confirmed = |tally: &Tally| tally.confirmed() >= part;
        crew.until(&format!("{part} events confirmed"), stage.patience(part), confirmed).await?;
        stage.act(down).await?;
        sleep(Duration::from_millis(500)).await;
        stage.act(Action::Start).await?;
    }
    let confirmed = |tally: &Tally| tally.confirmed() >= total;
    crew.until(&format!("all {total} events confirmed"), stage.patience(total), confirmed).await?;
    let repeats = crew.repeats(2, 2, 64);
    crew.finish(repeats).await.map(drop)
}

async fn cut(stage: Stage) -> Verdict {
    let (cuts, rate, least) = (stage.count(10, 40), stage.count(500, 3_000), stage.count(1_000, 50_000));
    let channel = stage.channel("x2")?;
    let mut crew = stage.crew(Tally::new())?;
    let consume = consumer(&channel, Consuming { lease: Some(stage.bounds().lease), ..Consuming::default() });
    let consumers = [crew.add(&consume).await?, crew.add(&consume).await?];
    crew.ready(&consumers).await?;
    crew.add(&publisher(&channel, Publishing { rate, ..Publishing::default() })).await?;
    for _ in 0..cuts {
        sleep(Duration::from_millis(500)).await;
        stage.act(Action::Cut).await?;
    }
    let confirmed = |tally: &Tally| tally.confirmed() >= least;
    crew.until(&format!("{least} events confirmed"), stage.patience(least), confirmed).await?;
    let repeats = crew.repeats(cuts, 2, 64);
    crew.finish(repeats).await.map(drop)
}

async fn defaults(stage: Stage) -> Verdict {
    let (channel, bounds) = (stage.channel("r6")?, stage.bounds());
    let mut crew = stage.crew(Tally::new())?;
    let bus = stage.bus(0).await?;
    let consuming = Consuming { in_flight: 256, work: Duration::from_millis(1), ..Consuming::default() };
    let reader = crew.hire_with(bus.clone(), &consumer(&channel, consuming));
    crew.ready(&[reader]).await?;
    stage.until_ready(&bus, true, bounds.recover).await?;
    crew.add(&publisher(&channel, Publishing { rate: 300, ..Publishing::default() })).await?;
    crew.until("events to flow", bounds.recover, |tally| tally.done() >= 50).await?;
    stage.act(Action::Refuse).await?;
    stage.until_ready(&bus, false, bounds.notice).await?;
    sleep(Duration::from_secs(1)).await;
    stage.act(Action::Heal).await?;
    stage.until_ready(&bus, true, bounds.recover).await?;
    let done = crew.tally().done();
    crew.until("events to flow again", bounds.recover, |tally| tally.done() >= done + 100).await?;
    let repeats = crew.repeats(1, 1, 256);
    crew.finish(repeats).await.map(drop)
}
