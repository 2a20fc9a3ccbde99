//! S1–S4: members of an ordered group come, go, die and stand still under load.

use std::time::Duration;

use pubsub_core::driver::Feature;
use tokio::time::sleep;

use super::tools::ALL;
use crate::{
    conformance::Verdict,
    faults::{Consuming, Crew, FaultCase, Flaw, Publishing, Role, Stage, Tally, Work},
    faulty::Fault,
};

pub(super) const CASES: &[FaultCase] = &[
    FaultCase {
        id: "S1",
        title: "members join an ordered group under load, from one to four: order per key is kept, nothing is lost",
        needs: &[Feature::DurableGroup, Feature::KeyOrder],
        on: ALL,
        bites: &[Flaw::Reorders, Flaw::Always(Fault::OrderForgotten)],
        run: |stage| Box::pin(changing(stage, Change::Join)),
    },
    FaultCase {
        id: "S2",
        title: "members leave an ordered group under load, from four to two: order per key is kept, nothing is lost",
        needs: &[Feature::DurableGroup, Feature::KeyOrder],
        on: ALL,
        bites: &[Flaw::Reorders, Flaw::Always(Fault::OrderForgotten)],
        run: |stage| Box::pin(changing(stage, Change::Leave)),
    },
    FaultCase {
        id: "S3",
        title: "members of an ordered group are killed under load, from four to two: order per key is kept, nothing is lost",
        needs: &[Feature::DurableGroup, Feature::KeyOrder],
        on: ALL,
        bites: &[Flaw::Reorders, Flaw::KeepsDead],
        run: |stage| Box::pin(changing(stage, Change::Die)),
    },
    FaultCase {
        id: "S4",
        title: "a member of an ordered group stands still beyond its lease, again and again: order per key is kept",
        needs: &[Feature::DurableGroup, Feature::KeyOrder],
        on: ALL,
        bites: &[Flaw::Reorders],
        run: |stage| Box::pin(standing_still(stage)),
    },
];

#[derive(Clone, Copy, PartialEq, Eq)]
enum Change {
    Join,
    Leave,
    Die,
}

const SHARDS: u16 = 4;
const IN_FLIGHT: usize = 32;

async fn changing(stage: Stage, change: Change) -> Verdict {
    let (keys, total) = (stage.count(64, 1_000), stage.count(2_000, 50_000));
    let (channel, bounds) = (stage.channel("s")?, stage.bounds());
    let mut crew = stage.crew(Tally::ordered(keys))?;
    let consuming = Consuming {
        in_flight: IN_FLIGHT,
        lease: Some(bounds.lease),
        work: Duration::from_millis(1),
        // One key fails meanwhile, again and again.
        failing: Some(3),
        ..Consuming::default()
    };
    let consume = Work { channel: channel.clone(), shards: SHARDS, role: Role::Consume(consuming) };
    let mut members = Vec::new();
    for _ in 0..if change == Change::Join { 1 } else { 4 } {
        members.push(add(&mut crew, &consume, change).await?);
    }
    crew.ready(&members).await?;
    let lanes = stage.count(64, 50);
    // Those who die have their hands full.
    let rate = if change == Change::Die { 4_000 } else { stage.count(600, 2_000) };
    let publishing = Publishing { count: total, lanes, keys, rate, ..Publishing::default() };
    crew.add(&Work { channel, shards: SHARDS, role: Role::Publish(publishing) }).await?;

    let parts = if change == Change::Join { 3 } else { 2 };
    for part in 1..=parts {
        let enough = total * part / (parts + 1);
        let confirmed = |tally: &Tally| tally.confirmed() >= enough;
        crew.until(&format!("{enough} events confirmed"), stage.patience(total), confirmed).await?;
        match change {
            Change::Join => members.push(add(&mut crew, &consume, change).await?),
            Change::Leave => crew.dismiss(members.remove(0)).await?,
            Change::Die => crew.kill(members.remove(0)).await?,
        }
    }
    let confirmed = |tally: &Tally| tally.confirmed() == total;
    crew.until(&format!("all {total} events confirmed"), stage.patience(total), confirmed).await?;
    // Each event of the failing key comes three times.
    let repeats = crew.repeats(parts, 4, IN_FLIGHT) + 2 * total.div_ceil(keys);
    crew.finish(repeats).await.map(drop)
}

async fn add(crew: &mut Crew, consume: &Work, change: Change) -> Verdict<u32> {
    if change == Change::Die { crew.fork(consume).await } else { crew.add(consume).await }
}

async fn standing_still(stage: Stage) -> Verdict {
    // Few keys, so that a member has several events of each when it stops.
    const KEYS: usize = 4;
    let (channel, bounds, rounds) = (stage.channel("s4")?, stage.bounds(), stage.count(4, 20));
    let mut crew = stage.crew(Tally::ordered(KEYS))?;
    let work = Duration::from_millis(5);
    let consuming = Consuming { in_flight: IN_FLIGHT, lease: Some(bounds.lease), work, ..Consuming::default() };
    let consume = Work { channel: channel.clone(), shards: SHARDS, role: Role::Consume(consuming) };
    let members = [crew.fork(&consume).await?, crew.fork(&consume).await?];
    crew.ready(&members).await?;
    let publishing = Publishing { lanes: KEYS, keys: KEYS, rate: 250, ..Publishing::default() };
    crew.add(&Work { channel, shards: SHARDS, role: Role::Publish(publishing) }).await?;
    for round in 0..rounds {
        let enough = crew.tally().done() + 200;
        crew.until("events to flow", stage.patience(200), |tally| tally.done() >= enough).await?;
        let member = crew.member(members[round % members.len()])?;
        member.pause(true)?;
        // Its leases run out, and hardly anybody can have taken its place yet.
        sleep(bounds.lease + Duration::from_millis(600)).await;
        member.pause(false)?;
    }
    let repeats = crew.repeats(rounds, members.len(), IN_FLIGHT);
    crew.finish(repeats).await.map(drop)
}
