//! X5, R8: leases that end, and leases that are kept.

use pubsub_core::{
    ErrorKind,
    driver::{Feature, Lease},
};
use tokio::time::sleep;

use super::tools::{ALL, consumer, next, publish};
use crate::{
    conformance::{Verdict, ensure, refused, same},
    faults::{Consuming, FaultCase, Flaw, Stage, Tally, work::serial},
    faulty::Fault,
};

pub(super) const CASES: &[FaultCase] = &[
    FaultCase {
        id: "X5",
        title: "a consumer is stalled beyond its lease: a peer takes over, the stale acknowledgement is refused",
        needs: &[Feature::DurableGroup, Feature::ManualLease],
        on: ALL,
        bites: &[Flaw::Always(Fault::LeaseNeverEnds), Flaw::StaleAccepted],
        run: |stage| Box::pin(stalled(stage)),
    },
    FaultCase {
        id: "R8",
        title: "a handler that takes three times its lease: the lease is renewed, and nothing comes twice",
        needs: &[Feature::DurableGroup],
        on: ALL,
        bites: &[Flaw::LeaseNotRenewed, Flaw::Always(Fault::Duplicate)],
        run: |stage| Box::pin(renewed(stage)),
    },
];

async fn stalled(stage: Stage) -> Verdict {
    let (channel, bounds) = (stage.channel("x5")?, stage.bounds());
    const HELD: usize = 6;
    let mut crew = stage.crew(Tally::new())?;
    let (idle, peer) = (stage.bus(0).await?, stage.bus(0).await?);
    let subscribe = idle.subscribe_channel(&channel).group("workers").max_in_flight(HELD);
    let mut stalled = subscribe.manual_lease(bounds.lease).await?;
    publish(&mut crew, &stage, &channel, 0, HELD).await?;
    let mut held = Vec::new();
    for _ in 0..HELD {
        held.push(next(&mut stalled, bounds.recover, "an event").await?);
    }
    let subscribe = peer.subscribe_channel(&channel).group("workers").max_in_flight(HELD);
    let mut events = subscribe.manual_lease(bounds.lease * 20).await?;
    let mut taken = Vec::new();
    for _ in 0..HELD {
        taken.push(next(&mut events, bounds.lease + bounds.takeover, "a stalled event at a peer").await?);
    }
    ensure(held.iter().all(|event| !event.is_live()), "dead leases of the stalled consumer", "a live one")?;
    // One is settled without asking: that must not settle the peer's delivery.
    let unasked = held.remove(0);
    let watched = serial(unasked.message())?;
    unasked.ack();
    for event in held {
        refused("a stale acknowledgement", event.ack_confirmed().await, ErrorKind::Conflict)?;
    }
    same("the settlements counted as refused", stalled.stats().refused, HELD as u64)?;
    for event in taken {
        if serial(event.message())? == watched {
            event.nack()?;
        } else {
            event.ack_confirmed().await?;
        }
    }
    // The peer's nack counts, so the stale acknowledgement did not.
    let mut rest = next(&mut events, bounds.takeover, "the event whose stale acknowledgement was ignored").await;
    if rest.is_err() {
        rest = next(&mut stalled, bounds.takeover, "the event whose stale acknowledgement was ignored").await;
    }
    let again = rest?;
    ensure(serial(again.message())? == watched, "the nacked event", "another one")?;
    again.ack_confirmed().await?;
    Ok(())
}

async fn renewed(stage: Stage) -> Verdict {
    let (channel, bounds) = (stage.channel("r8")?, stage.bounds());
    const HELD: usize = 8;
    let mut crew = stage.crew(Tally::new())?;
    let lease = stage.lease();
    let slow = Consuming { in_flight: HELD, hold: HELD, lease, ..Consuming::default() };
    let slow = crew.hire(&consumer(&channel, slow)).await?;
    crew.ready(&[slow]).await?;
    publish(&mut crew, &stage, &channel, 0, HELD).await?;
    crew.until("deliveries in the slow one's hands", bounds.recover, |tally| tally.standing(slow).seen == HELD).await?;
    let peer = crew.hire(&consumer(&channel, Consuming { lease, ..Consuming::default() })).await?;
    crew.ready(&[peer]).await?;
    sleep(lease.unwrap_or(Lease::default().duration) * 3).await;
    crew.settle(slow)?;
    let answered = |tally: &Tally| tally.settlements().0 + tally.settlements().1 == HELD;
    crew.until("an answer to each settlement", bounds.recover, answered).await?;
    let (_, stale) = crew.tally().settlements();
    ensure(stale == 0, "live leases after three times their duration", format!("{stale} were gone"))?;
    crew.finish(0).await.map(drop)
}
