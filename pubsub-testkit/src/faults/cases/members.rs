//! X4, X5-session, R7, R11: consumers whose process is killed or stopped.

use std::time::Duration;

use pubsub_core::driver::Feature;
use tokio::time::{Instant, sleep};

use super::tools::{ALL, consumer, publish};
use crate::{
    broker::BrokerKind,
    conformance::{Verdict, ensure},
    faults::{Consuming, FaultCase, Flaw, Stage, Tally},
    faulty::Fault,
};

pub(super) const CASES: &[FaultCase] = &[
    FaultCase {
        id: "X4",
        title: "a consumer's process is killed between delivery and acknowledgement: a peer gets its events",
        needs: &[Feature::DurableGroup],
        on: ALL,
        bites: &[Flaw::KeepsDead],
        run: |stage| Box::pin(killed(stage)),
    },
    FaultCase {
        id: "X5-session",
        title: "a consumer's process stands still beyond its lease: a peer takes over, its late settlements are refused",
        needs: &[Feature::DurableGroup],
        on: &[BrokerKind::Redis, BrokerKind::Nats, BrokerKind::Kafka],
        bites: &[Flaw::Always(Fault::LeaseNeverEnds), Flaw::StaleAccepted],
        run: |stage| Box::pin(stood_still(stage)),
    },
    FaultCase {
        id: "R7",
        title: "a process that starts after its predecessor was killed gets what that one had not settled",
        needs: &[Feature::DurableGroup],
        on: ALL,
        bites: &[Flaw::KeepsDead],
        run: |stage| Box::pin(succeeded(stage)),
    },
    FaultCase {
        id: "R11",
        title: "every second event is acknowledged out of order and the process is killed: none of the others is skipped",
        needs: &[Feature::DurableGroup],
        on: ALL,
        bites: &[Flaw::KeepsDead, Flaw::Always(Fault::CumulativeAck)],
        run: |stage| Box::pin(out_of_order(stage)),
    },
];

async fn killed(stage: Stage) -> Verdict {
    let (channel, bounds, total) = (stage.channel("x4")?, stage.bounds(), stage.count(100, 50_000));
    const HELD: usize = 16;
    let mut crew = stage.crew(Tally::new())?;
    let lease = Some(bounds.lease);
    let holding = Consuming { in_flight: HELD, hold: HELD, lease, ..Consuming::default() };
    let victim = crew.fork(&consumer(&channel, holding)).await?;
    crew.ready(&[victim]).await?;
    publish(&mut crew, &stage, &channel, 0, total).await?;
    crew.until("deliveries in the victim's hands", bounds.recover, |tally| tally.standing(victim).seen == HELD).await?;
    let peer = crew.add(&consumer(&channel, Consuming { lease, ..Consuming::default() })).await?;
    crew.ready(&[peer]).await?;

    let begun = Instant::now();
    crew.kill(victim).await?;
    let limit = bounds.takeover + Duration::from_millis(total as u64);
    crew.until("the killed consumer's events to be done", limit, |tally| tally.done() == total).await?;
    stage.say(format_args!("taken over after {:.1} s", begun.elapsed().as_secs_f64()));
    let repeats = crew.repeats(1, 1, HELD);
    crew.finish(repeats).await.map(drop)
}

async fn stood_still(stage: Stage) -> Verdict {
    let (channel, bounds) = (stage.channel("x5")?, stage.bounds());
    const HELD: usize = 8;
    let mut crew = stage.crew(Tally::new())?;
    let lease = Some(bounds.lease);
    let holding = Consuming { in_flight: HELD, hold: HELD, lease, ..Consuming::default() };
    let victim = crew.fork(&consumer(&channel, holding)).await?;
    crew.ready(&[victim]).await?;
    publish(&mut crew, &stage, &channel, 0, 40).await?;
    crew.until("deliveries in the victim's hands", bounds.recover, |tally| tally.standing(victim).seen == HELD).await?;
    let peer = crew.add(&consumer(&channel, Consuming { lease, ..Consuming::default() })).await?;
    crew.ready(&[peer]).await?;

    let begun = Instant::now();
    crew.member(victim)?.pause(true)?;
    crew.until("the stalled consumer's events to be done", bounds.takeover, |tally| tally.done() == 40).await?;
    stage.say(format_args!("taken over after {:.1} s", begun.elapsed().as_secs_f64()));
    crew.member(victim)?.pause(false)?;
    crew.settle(victim)?;
    let answered = |tally: &Tally| tally.settlements().0 + tally.settlements().1 == HELD;
    crew.until("an answer to each late settlement", bounds.recover, answered).await?;
    let (settled, stale) = crew.tally().settlements();
    ensure(stale == HELD, format!("all {HELD} late settlements refused"), format!("{settled} accepted"))?;
    let repeats = crew.repeats(1, 1, HELD);
    crew.finish(repeats).await.map(drop)
}

async fn succeeded(stage: Stage) -> Verdict {
    let (channel, bounds) = (stage.channel("r7")?, stage.bounds());
    const HELD: usize = 8;
    let mut crew = stage.crew(Tally::new())?;
    let lease = stage.lease();
    let holding = consumer(&channel, Consuming { in_flight: HELD, hold: HELD, lease, ..Consuming::default() });
    for generation in 0..2 {
        let victim = crew.fork(&holding).await?;
        crew.ready(&[victim]).await?;
        if generation == 0 {
            publish(&mut crew, &stage, &channel, 0, HELD).await?;
        }
        let holds = |tally: &Tally| tally.standing(victim).seen >= HELD;
        crew.until("deliveries in the victim's hands", bounds.recover + stage.takeover(), holds).await?;
        crew.kill(victim).await?;
    }
    let begun = Instant::now();
    let successor = crew.fork(&consumer(&channel, Consuming { lease, ..Consuming::default() })).await?;
    crew.ready(&[successor]).await?;
    crew.until("its predecessors' events to be done", stage.takeover(), |tally| tally.done() == HELD).await?;
    stage.say(format_args!("taken over after {:.1} s", begun.elapsed().as_secs_f64()));
    let repeats = crew.repeats(2, 1, HELD);
    crew.finish(repeats).await.map(drop)
}

async fn out_of_order(stage: Stage) -> Verdict {
    let (channel, total) = (stage.channel("r11")?, stage.count(60, 600));
    let mut crew = stage.crew(Tally::new())?;
    let lease = stage.lease();
    let odd = Consuming { in_flight: 1_000, out_of_order: true, lease, ..Consuming::default() };
    let victim = crew.fork(&consumer(&channel, odd)).await?;
    crew.ready(&[victim]).await?;
    publish(&mut crew, &stage, &channel, 0, total).await?;
    crew.until("every second event done", stage.patience(total), |tally| tally.done() == total / 2).await?;
    // As long as an adapter may take to tell its broker.
    sleep(Duration::from_millis(1_500)).await;
    crew.kill(victim).await?;
    let peer = crew.add(&consumer(&channel, Consuming { lease, ..Consuming::default() })).await?;
    crew.ready(&[peer]).await?;
    crew.until("all events done", stage.takeover(), |tally| tally.done() == total).await?;
    let repeats = total / 2 + crew.repeats(1, 1, 0);
    crew.finish(repeats).await.map(drop)
}
