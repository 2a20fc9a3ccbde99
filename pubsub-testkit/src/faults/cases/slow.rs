//! X7: a consumer that is far slower than its publishers.

use std::time::Duration;

use pubsub_core::driver::Feature;

use super::tools::{ALL, consumer, publisher};
use crate::{
    conformance::{Failure, Verdict, ensure},
    faults::{Consuming, FaultCase, Flaw, Publishing, Stage, Tally},
};

pub(super) const CASES: &[FaultCase] = &[FaultCase {
    id: "X7",
    title: "a consumer a hundred times slower than its publishers does not grow, and nobody waits for it",
    needs: &[Feature::DurableGroup],
    on: ALL,
    bites: &[Flaw::BuffersAll],
    run: |stage| Box::pin(slow(stage)),
}];

async fn slow(stage: Stage) -> Verdict {
    let (channel, bounds, total) = (stage.channel("x7")?, stage.bounds(), stage.count(8_000, 50_000));
    const SIZE: usize = 8 << 10;
    let mut crew = stage.crew(Tally::new())?;
    let work = Duration::from_millis(50);
    let slow = crew.fork(&consumer(&channel, Consuming { work, in_flight: 32, ..Consuming::default() })).await?;
    crew.ready(&[slow]).await?;
    let unknown = || Failure::new("a process whose memory can be measured", "none");
    let before = crew.member(slow)?.memory().ok_or_else(unknown)?;
    let how =
        Publishing { count: total, lanes: 64, size: SIZE, timeout: Duration::from_secs(10), ..Publishing::default() };
    crew.add(&publisher(&channel, how)).await?;
    let confirmed = |tally: &Tally| tally.confirmed() == total;
    crew.until("everything published while one is slow", stage.patience(total), confirmed).await?;
    crew.until("the slow one at work", bounds.recover, |tally| tally.standing(slow).seen >= 20).await?;
    let grown = crew.member(slow)?.memory().ok_or_else(unknown)?.saturating_sub(before);
    stage.say(format_args!("it grew by {} KiB before {} KiB of events", grown >> 10, (total * SIZE) >> 10));
    ensure(
        grown <= bounds.memory,
        format!("at most {} KiB more", bounds.memory >> 10),
        format!("{} KiB", grown >> 10),
    )?;

    let fast = crew.hire(&consumer(&channel, Consuming { in_flight: 256, ..Consuming::default() })).await?;
    crew.ready(&[fast]).await?;
    crew.dismiss(slow).await?;
    let repeats = crew.repeats(1, 1, 32);
    crew.finish(repeats).await.map(drop)
}
