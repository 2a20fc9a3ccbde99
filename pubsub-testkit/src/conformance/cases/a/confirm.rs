//! What a confirmation says beyond "the broker has it".

use std::time::Duration;

use pubsub_core::{
    ChannelPolicy,
    driver::{Confirm, Feature},
};
use tokio::time::timeout;

use crate::{
    conformance::{Case, Ctx, Failure, Mode, Numbered, Verdict, ensure, next, numbered, quiet, same},
    faulty::Fault,
};

pub(super) const CASES: &[Case] = &[
    Case {
        id: "A-dedup",
        title: "an event published again with its id is delivered once, and its receipt says so",
        needs: &[Feature::DurableGroup, Feature::PublishDedup],
        bites: &[Fault::DedupIgnored, Fault::Duplicate, Fault::LoseMessage],
        run: |ctx| Box::pin(deduplicated(ctx)),
    },
    Case {
        id: "A-settled",
        title: "a confirmation by settlement comes when every group has settled the event, and not before",
        needs: &[Feature::DurableGroup, Feature::SettledConfirm],
        bites: &[Fault::PublishUnconfirmedSuccess, Fault::DropAck],
        run: |ctx| Box::pin(settled(ctx)),
    },
];

async fn deduplicated(ctx: Ctx) -> Verdict {
    let policy = ChannelPolicy::new().dedup_window(Duration::from_secs(60));
    let (bus, channel) = (ctx.bus_of(policy.clone()).await?, ctx.channel("a-dedup")?);
    let mut events = ctx.reader(&bus, &channel, Mode::Durable, "readers").await?;
    let first = numbered(&channel, 0)?;
    let receipt = bus.publish_envelope(first.clone()).await?;
    ensure(!receipt.duplicate, "a first event that is none", "a duplicate")?;
    // Another process sends it again, as an outbox does that was not told of the first confirmation.
    let other = ctx.bus_of(policy).await?;
    for sender in [&bus, &other] {
        let receipt = sender.publish_envelope(first.clone()).await?;
        ensure(receipt.duplicate, "the receipt of a duplicate", "that of a first event")?;
    }
    bus.publish_envelope(numbered(&channel, 1)?).await?;
    for serial in 0..2 {
        let event = next(&ctx, &mut events).await?;
        same("the next event", event.serial()?, serial)?;
        event.ack();
    }
    quiet(&ctx, &mut events).await
}

async fn settled(ctx: Ctx) -> Verdict {
    let (bus, channel) = (ctx.bus().await?, ctx.channel("a-settled")?);
    let mut groups = Vec::new();
    for group in ["first", "second"] {
        groups.push(ctx.reader(&bus, &channel, Mode::Durable, group).await?);
    }
    let ticket = bus.publish_envelope(numbered(&channel, 0)?).confirm(Confirm::Settled).enqueue().await?;
    let mut ticket = std::pin::pin!(ticket);
    for events in &mut groups {
        let early = timeout(ctx.bounds().quiet, &mut ticket).await;
        ensure(early.is_err(), "no confirmation while a group has the event in hand", "one")?;
        next(&ctx, events).await?.ack();
    }
    let limit = ctx.bounds().receive;
    let late = |_| Failure::new(format!("a confirmation within {limit:?} of the last settlement"), "none");
    timeout(limit, ticket).await.map_err(late)??;
    Ok(())
}
