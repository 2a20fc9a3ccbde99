//! S1, S3, S4: members of an ordered group come, go, die and stand still under load.

use std::time::Duration;

use pubsub_core::driver::Feature;
use tokio::time::sleep;

use super::tools::ALL;
use crate::{
    conformance::Verdict,
    faults::{Consuming, Crew, FaultCase, Flaw, Keys, Publishing, Role, Stage, Tally, Work},
    faulty::Fault,
};

pub(super) const CASES: &[FaultCase] = &[
    FaultCase {
        id: "S1",
        title: "an ordered group grows under load from one member to four, and shrinks to two: order per key is kept, nothing is lost",
        needs: &[Feature::DurableGroup, Feature::KeyOrder],
        on: ALL,
        bites: &[Flaw::Reorders, Flaw::Always(Fault::OrderForgotten)],
        run: |stage| Box::pin(changing(stage, GROWS_AND_SHRINKS)),
    },
    FaultCase {
        id: "S3",
        title: "members of an ordered group are killed under load, from four to two: order per key is kept, nothing is lost",
        needs: &[Feature::DurableGroup, Feature::KeyOrder],
        on: ALL,
        bites: &[Flaw::Reorders, Flaw::KeepsDead],
        run: |stage| Box::pin(changing(stage, &[Change::Die, Change::Die])),
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

const GROWS_AND_SHRINKS: &[Change] = &[Change::Join, Change::Join, Change::Join, Change::Leave, Change::Leave];
/// Keys that have many events underway, the failing one among them.
const HOT: usize = 60;
const SHARDS: u16 = 4;
const IN_FLIGHT: usize = 32;

async fn changing(stage: Stage, changes: &[Change]) -> Verdict {
    let (keys, total) = (Keys::over(1_000).hot(HOT), stage.count(5_000, 50_000));
    let (channel, bounds) = (stage.channel("s")?, stage.bounds());
    let dying = changes.contains(&Change::Die);
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
    for _ in 0..if dying { 4 } else { 1 } {
        members.push(add(&mut crew, &consume, dying).await?);
    }
    crew.ready(&members).await?;
    // Those who die have their hands full.
    let rate = if dying { 4_000 } else { stage.count(800, 2_000) };
    let publishing = Publishing { count: total, lanes: 40, keys, rate, ..Publishing::default() };
    crew.add(&Work { channel, shards: SHARDS, role: Role::Publish(publishing) }).await?;

    for (done, change) in (1..).zip(changes) {
        let enough = total * done / (changes.len() + 1);
        let confirmed = |tally: &Tally| tally.confirmed() >= enough;
        crew.until(&format!("{enough} events confirmed"), stage.patience(total), confirmed).await?;
        match change {
            Change::Join => members.push(add(&mut crew, &consume, dying).await?),
            Change::Leave => crew.dismiss(members.remove(0)).await?,
            Change::Die => crew.kill(members.remove(0)).await?,
        }
    }
    let confirmed = |tally: &Tally| tally.confirmed() == total;
    crew.until(&format!("all {total} events confirmed"), stage.patience(total), confirmed).await?;
    // A change takes events out of the hands of one; each event of the failing key comes three times.
    let repeats = crew.repeats(changes.len(), 1, IN_FLIGHT) + 2 * total.div_ceil(2 * HOT);
    crew.finish(repeats).await.map(drop)
}

/// One that may be killed is a process of its own.
async fn add(crew: &mut Crew, consume: &Work, dying: bool) -> Verdict<u32> {
    if dying { crew.fork(consume).await } else { crew.add(consume).await }
}

async fn standing_still(stage: Stage) -> Verdict {
    // Few keys, so that a member has several events of each when it stops.
    const KEYS: usize = 4;
    let (channel, bounds, rounds) = (stage.channel("s4")?, stage.bounds(), stage.count(4, 20));
    let mut crew = stage.crew(Tally::ordered(Keys::over(KEYS)))?;
    let work = Duration::from_millis(5);
    let consuming = Consuming { in_flight: IN_FLIGHT, lease: Some(bounds.lease), work, ..Consuming::default() };
    let consume = Work { channel: channel.clone(), shards: SHARDS, role: Role::Consume(consuming) };
    let members = [crew.fork(&consume).await?, crew.fork(&consume).await?];
    crew.ready(&members).await?;
    let publishing = Publishing { lanes: KEYS, keys: Keys::over(KEYS), rate: 250, ..Publishing::default() };
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
    let repeats = crew.repeats(rounds, 1, IN_FLIGHT);
    crew.finish(repeats).await.map(drop)
}
