//! B11, B12: leases that run out.

use std::time::Duration;

use pubsub_core::{ErrorKind, Received, driver::Feature};
use tokio::time::{Instant, sleep, timeout_at};

use crate::{
    conformance::{
        Case, Ctx, Ledger, Numbered, Verdict, ensure, next, next_n, publish_numbered, quiet_for, refused, same,
        together, within,
    },
    faulty::Fault,
};

pub(super) const CASES: &[Case] = &[
    Case {
        id: "B11",
        title: "a lease runs from the delivery, not from the event's creation; an extension postpones its end",
        needs: &[Feature::DurableGroup, Feature::ManualLease, Feature::LeaseExtension],
        bites: &[Fault::LeaseNeverEnds, Fault::ExtendIgnored, Fault::LeaseFromCreation],
        run: |ctx| Box::pin(extended(ctx)),
    },
    Case {
        id: "B12",
        title: "many members that take over a stalled one's events get each of them once",
        needs: &[Feature::DurableGroup, Feature::Backlog, Feature::ManualLease, Feature::LeaseExtension],
        bites: &[Fault::Duplicate, Fault::LeaseNeverEnds],
        run: |ctx| Box::pin(taken_over(ctx)),
    },
];

async fn extended(ctx: Ctx) -> Verdict {
    let (bus, channel, bounds) = (ctx.bus().await?, ctx.channel("b11")?, ctx.bounds());
    let lease = bounds.lease;
    publish_numbered(&bus, &channel, 0..1, &mut Ledger::new()).await?;
    sleep(lease + lease / 4).await;
    let mut events = bus.subscribe_channel(channel.as_str()).group("readers").manual_lease(lease).await?;
    let event = next(&ctx, &mut events).await?;
    quiet_for(&mut events, lease / 2).await.map_err(|failure| failure.during("half a lease after the delivery"))?;
    ensure(event.is_live(), "a live lease after half its time", "a dead one")?;

    event.extend(lease * 2).await?;
    quiet_for(&mut events, lease + lease / 4).await.map_err(|failure| failure.during("within the extension"))?;
    ensure(event.is_live(), "a live lease within its extension", "a dead one")?;

    let again = within(&mut events, lease + bounds.redelivery, "the event after its lease").await?;
    ensure(!event.is_live(), "a dead lease once the event was delivered again", "a live one")?;
    refused("acknowledging a dead lease", event.ack_confirmed().await, ErrorKind::Conflict)?;
    same("the settlements counted as refused", events.stats().refused, 1)?;
    if let Some(limit) = bus.capabilities().limits.max_lease {
        let beyond = limit.saturating_add(Duration::from_secs(1));
        refused("an extension beyond the limit", again.extend(beyond).await, ErrorKind::Invalid)?;
    }
    again.ack_confirmed().await?;
    quiet_for(&mut events, lease * 2).await
}

async fn taken_over(ctx: Ctx) -> Verdict {
    let (bus, channel, lease) = (ctx.bus().await?, ctx.channel("b12")?, ctx.bounds().lease);
    let count = ctx.count(20, 100);
    let mut stalled = bus.subscribe_channel(channel.as_str()).group("readers").manual_lease(lease).await?;
    publish_numbered(&bus, &channel, 0..count, &mut Ledger::new()).await?;
    let held = next_n(&ctx, &mut stalled, count).await?;

    let until = Instant::now() + lease * 2 + ctx.bounds().redelivery;
    let members: Vec<_> = (0..4)
        .map(|_| {
            let (ctx, channel) = (ctx.clone(), channel.clone());
            async move {
                let bus = ctx.bus().await?;
                // Long leases: what a member takes over, it has time for.
                let subscribe = bus.subscribe_channel(channel.as_str()).group("readers");
                let mut events = subscribe.manual_lease(Duration::from_secs(20)).await?;
                let mut serials = Vec::new();
                while let Ok(Some(event)) = timeout_at(until, events.next()).await {
                    let event = event?;
                    serials.push(event.serial()?);
                    event.ack();
                }
                Verdict::Ok(serials)
            }
        })
        .collect();
    let mut ledger = Ledger::expecting(0..count);
    for serial in together(members).await?.concat() {
        ledger.saw(serial);
    }
    ledger.verdict(&ctx.bounds())?;
    same("how many of the old leases still live", held.iter().filter(|event| event.is_live()).count(), 0)?;
    held.into_iter().for_each(Received::ack);
    same("the settlements counted as refused", stalled.stats().refused, count as u64)
}
