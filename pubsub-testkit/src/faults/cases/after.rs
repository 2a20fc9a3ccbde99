//! X10: a subscription after its recovery is what it was before.

use std::time::Duration;

use pubsub_core::driver::Feature;
use tokio::time::sleep;

use super::tools::{ALL, any, next, publish};
use crate::{
    conformance::{Verdict, ensure, quiet_for},
    faults::{Action, FaultCase, Flaw, Stage, Tally, work::serial},
};

pub(super) const CASES: &[FaultCase] = &[FaultCase {
    id: "X10",
    title: "after recovery prefetch and group are as before, and each subscription has exactly one live consumer",
    needs: &[Feature::DurableGroup],
    on: ALL,
    bites: &[Flaw::PrefetchForgotten, Flaw::Zombie, Flaw::NeverRecovers],
    run: |stage| Box::pin(recovered(stage)),
}];

async fn recovered(stage: Stage) -> Verdict {
    const PREFETCH: usize = 4;
    let (channel, bounds) = (stage.channel("x10")?, stage.bounds());
    let mut crew = stage.crew(Tally::new())?;
    let bus = stage.bus(0).await?;
    let mut events = bus.subscribe_channel(&channel).group("workers").max_in_flight(PREFETCH).await?;
    publish(&mut crew, &stage, &channel, 0, 2).await?;
    for _ in 0..2 {
        next(&mut events, bounds.recover, "an event before the fault").await?.ack_confirmed().await?;
    }
    sleep(bounds.unwritten).await;
    for action in [Action::Kill, Action::Start, Action::Cut, Action::Refuse, Action::Heal] {
        stage.act(action).await?;
        // Somebody has to look at the subscription for it to heal.
        quiet(&mut events, Duration::from_millis(500)).await?;
    }
    stage.until_ready(&bus, true, bounds.recover).await?;
    publish(&mut crew, &stage, &channel, 2, 60).await?;
    let mut held = Vec::new();
    let mut seen = std::collections::BTreeSet::new();
    for _ in 0..PREFETCH {
        held.push(next(&mut events, bounds.recover, "an event after the fault").await?);
    }
    quiet_for(&mut events, Duration::from_secs(1)).await.map_err(|failure| failure.during("with a full prefetch"))?;
    for event in held {
        seen.insert(serial(event.message())?);
        event.ack_confirmed().await?;
    }
    // A second consumer that nobody reads would keep its share for as long as a lease, and that is longer.
    let limit = Duration::from_secs(10);
    while seen.len() < 60 {
        let event = next(&mut events, limit, "all events, none of them with a consumer that nobody reads").await?;
        seen.insert(serial(event.message())?);
        event.ack();
    }
    ensure(seen.iter().all(|serial| *serial >= 2), "only what was published after the fault", format!("{seen:?}"))?;
    sleep(Duration::from_millis(100)).await;
    quiet(&mut events, Duration::from_millis(300)).await
}

/// Nothing but errors that pass comes for this long.
async fn quiet(events: &mut pubsub_core::Events<pubsub_core::Raw>, silence: Duration) -> Verdict {
    match any(events, silence, "nothing").await? {
        Ok(event) => ensure(false, "no event", format!("{:?}", event.message())),
        Err(_) => Ok(()),
    }
}
