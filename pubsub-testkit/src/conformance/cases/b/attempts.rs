//! B17: attempts are counted, and the last one makes a dead letter.

use std::time::Duration;

use pubsub_core::{
    StartPosition,
    driver::{Feature, RetryPolicy},
};

use super::nack::eager;
use crate::{
    conformance::{
        Case, Ctx, Ledger, Numbered, Verdict, dead_letters, ensure, next, numbered, publish_numbered, quiet, read_all,
        same, within,
    },
    faulty::Fault,
};

const GROUP: &[Feature] = &[Feature::DurableGroup, Feature::Nack, Feature::DeliveryCount, Feature::DeadLetter];

pub(super) const CASES: &[Case] = &[
    Case {
        id: "B17",
        title: "a cap of n gives n attempts, then one dead letter with its cause, in the failing group only",
        needs: GROUP,
        bites: &[Fault::AttemptStuck, Fault::IgnoreNack, Fault::Duplicate, Fault::RejectRequeues],
        run: |ctx| Box::pin(capped(ctx)),
    },
    Case {
        id: "B17-dropped",
        title: "a delivery that is dropped unsettled uses up an attempt, also the last one",
        needs: GROUP,
        bites: &[Fault::DropAcks, Fault::AttemptStuck],
        run: |ctx| Box::pin(dropped(ctx)),
    },
    Case {
        id: "B17-worn",
        title: "deliveries whose consumer went away without a word use up no attempts",
        needs: &[
            Feature::DurableGroup,
            Feature::Nack,
            Feature::DeliveryCount,
            Feature::DeadLetter,
            Feature::ManualLease,
            Feature::LeaseExtension,
        ],
        bites: &[Fault::LeaseNeverEnds, Fault::LoseMessage],
        run: |ctx| Box::pin(worn(ctx)),
    },
    Case {
        id: "B17-uncapped",
        title: "without a cap the count goes on, and no dead letter is written",
        needs: GROUP,
        bites: &[Fault::AttemptStuck, Fault::IgnoreNack],
        run: |ctx| Box::pin(uncapped(ctx)),
    },
    Case {
        id: "B17-replay",
        title: "after a replay the count starts anew",
        needs: &[Feature::DurableGroup, Feature::Nack, Feature::DeliveryCount, Feature::Seek],
        bites: &[Fault::AttemptStuck, Fault::WrongPosition],
        run: |ctx| Box::pin(replayed(ctx)),
    },
];

async fn capped(ctx: Ctx) -> Verdict {
    let (bus, channel) = (ctx.bus().await?, ctx.channel("b17")?);
    let retry = RetryPolicy::default().attempts(4).delays(Duration::from_millis(1), Duration::from_millis(5));
    let mut failing = bus.subscribe_channel(channel.as_str()).group("failing").retry(retry).await?;
    let mut sound = bus.subscribe_channel(channel.as_str()).group("sound").await?;
    let sent = numbered(&channel, 7)?;
    bus.publish_envelope(sent.clone()).await?;
    for attempt in 1..=4 {
        let event = next(&ctx, &mut failing).await?;
        same("the attempt", event.attempt(), attempt)?;
        event.fail(format!("failure {attempt}"))?;
    }
    let found = dead_letters(&ctx, &bus, &channel, "failing", 1).await?;
    quiet(&ctx, &mut failing).await.map_err(|failure| failure.during("after the last attempt"))?;
    read_all(&ctx, &mut sound, &mut Ledger::expecting([7]))
        .await
        .map_err(|failure| failure.during("the other group"))?;

    same("the number of dead letters", dead_letters(&ctx, &bus, &channel, "failing", 1).await?.len(), 1)?;
    same("dead letters of the other group", dead_letters(&ctx, &bus, &channel, "sound", 0).await?.len(), 0)?;
    let Some(copy) = found.first().map(|stored| stored.message.clone()) else { return Ok(()) };
    same("the copy's id", copy.id(), &sent.id)?;
    same("the copy's name", copy.name(), &sent.name)?;
    same("the copy's payload", copy.payload(), &sent.payload)?;
    same("the copy's own metadata", &copy.meta().extra, &sent.meta.extra)?;
    let meta = copy.meta();
    same("dead_reason", meta.dead_reason.as_deref(), Some("failure 4"))?;
    same("dead_attempts", meta.dead_attempts, Some(4))?;
    same("dead_source", meta.dead_source.as_ref(), Some(&channel))?;
    let (first, last) = (meta.first_seen, meta.dead_time);
    ensure(first.is_some() && last >= first, "first and last time, in order", format!("{first:?}, {last:?}"))
}

async fn dropped(ctx: Ctx) -> Verdict {
    let (bus, channel) = (ctx.bus().await?, ctx.channel("b17")?);
    let retry = RetryPolicy::default().attempts(2).delays(Duration::from_millis(1), Duration::from_millis(5));
    let mut events = bus.subscribe_channel(channel.as_str()).group("readers").retry(retry).await?;
    publish_numbered(&bus, &channel, 0..1, &mut Ledger::new()).await?;
    for attempt in 1..=2 {
        let event = next(&ctx, &mut events).await?;
        same("the attempt", event.attempt(), attempt)?;
        drop(event);
    }
    let found = dead_letters(&ctx, &bus, &channel, "readers", 1).await?;
    quiet(&ctx, &mut events).await.map_err(|failure| failure.during("after the last attempt"))?;
    same("dead_attempts", found[0].message.meta().dead_attempts, Some(2))
}

async fn worn(ctx: Ctx) -> Verdict {
    let (bus, channel, lease) = (ctx.bus().await?, ctx.channel("b17")?, ctx.bounds().lease);
    let retry = RetryPolicy::default().attempts(1);
    let subscribe = bus.subscribe_channel(channel.as_str()).group("readers");
    let mut events = subscribe.retry(retry).manual_lease(lease).await?;
    publish_numbered(&bus, &channel, 0..1, &mut Ledger::new()).await?;
    let mut gone = vec![next(&ctx, &mut events).await?];
    for _ in 0..3 {
        let again = within(&mut events, lease + ctx.bounds().redelivery, "the event after its lease").await?;
        gone.push(again);
    }
    let Some(last) = gone.pop() else { return Ok(()) };
    drop(gone); // of no effect: their leases are over
    last.ack_confirmed().await?;
    quiet(&ctx, &mut events).await?;
    same("the number of dead letters", dead_letters(&ctx, &bus, &channel, "readers", 0).await?.len(), 0)
}

async fn uncapped(ctx: Ctx) -> Verdict {
    let (bus, channel) = (ctx.bus().await?, ctx.channel("b17")?);
    let mut events = bus.subscribe_channel(channel.as_str()).group("readers").retry(eager()).await?;
    publish_numbered(&bus, &channel, 0..1, &mut Ledger::new()).await?;
    // More often than the default policy allows.
    for attempt in 1..=12 {
        let event = next(&ctx, &mut events).await?;
        same("the attempt", event.attempt(), attempt)?;
        event.nack()?;
    }
    next(&ctx, &mut events).await?.ack_confirmed().await?;
    quiet(&ctx, &mut events).await?;
    same("the number of dead letters", dead_letters(&ctx, &bus, &channel, "readers", 0).await?.len(), 0)
}

async fn replayed(ctx: Ctx) -> Verdict {
    let (bus, channel) = (ctx.bus().await?, ctx.channel("b17")?);
    let mut events = bus.subscribe_channel(channel.as_str()).group("readers").retry(eager()).await?;
    publish_numbered(&bus, &channel, 0..1, &mut Ledger::new()).await?;
    next(&ctx, &mut events).await?.nack()?;
    let event = next(&ctx, &mut events).await?;
    same("the attempt after a nack", event.attempt(), 2)?;
    event.ack_confirmed().await?;
    events.seek(StartPosition::Earliest).await?;
    let event = next(&ctx, &mut events).await.map_err(|failure| failure.during("after the seek"))?;
    same("the event after the replay", event.serial()?, 0)?;
    same("the attempt after the replay", event.attempt(), 1)?;
    event.ack();
    quiet(&ctx, &mut events).await
}
