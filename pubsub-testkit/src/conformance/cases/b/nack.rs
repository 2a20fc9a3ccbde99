//! B1, B3, B4: what is nacked comes again.

use std::time::Duration;

use pubsub_core::driver::{Feature, RetryPolicy};

use crate::{
    conformance::{Case, Ctx, Ledger, Numbered, Verdict, next, next_n, publish_numbered, quiet, read_all, same},
    faulty::Fault,
};

pub(super) const CASES: &[Case] = &[
    Case {
        id: "B1",
        title: "of 100 events the first two are nacked: all 100 are read in the end",
        needs: &[Feature::DurableGroup, Feature::Nack],
        bites: &[Fault::IgnoreNack, Fault::LoseMessage],
        run: |ctx| Box::pin(first_two_nacked(ctx)),
    },
    Case {
        id: "B3",
        title: "three consumers nack 100 deliveries each and close: the next one still reads everything",
        needs: &[Feature::DurableGroup, Feature::Nack],
        bites: &[Fault::IgnoreNack, Fault::LoseMessage],
        run: |ctx| Box::pin(after_failing_consumers(ctx)),
    },
    Case {
        id: "B4",
        title: "two events nacked after both were received come again, as their second delivery",
        needs: &[Feature::DurableGroup, Feature::Nack, Feature::DeliveryCount],
        bites: &[Fault::IgnoreNack, Fault::AttemptStuck],
        run: |ctx| Box::pin(both_again(ctx)),
    },
];

/// Short delays, and no end.
pub(super) fn eager() -> RetryPolicy {
    RetryPolicy::default().attempts(0).delays(Duration::from_millis(5), Duration::from_millis(20))
}

async fn first_two_nacked(ctx: Ctx) -> Verdict {
    let (bus, channel, count) = (ctx.bus().await?, ctx.channel("b1")?, ctx.count(100, 100));
    let mut events = bus.subscribe_channel(channel.as_str()).group("readers").retry(eager()).await?;
    let mut ledger = Ledger::new();
    publish_numbered(&bus, &channel, 0..count, &mut ledger).await?;
    for event in next_n(&ctx, &mut events, 2).await? {
        event.nack()?;
    }
    // The two failed deliveries are not in the ledger: every event must still come, once.
    read_all(&ctx, &mut events, &mut ledger).await
}

async fn after_failing_consumers(ctx: Ctx) -> Verdict {
    let (publisher, channel, mut ledger) = (ctx.bus().await?, ctx.channel("b3")?, Ledger::new());
    for consumer in 0..3 {
        let bus = ctx.bus().await?;
        let mut events = bus.subscribe_channel(channel.as_str()).group("readers").retry(eager()).await?;
        if consumer == 0 {
            publish_numbered(&publisher, &channel, 0..50, &mut ledger).await?;
        }
        for _ in 0..ctx.count(100, 100) {
            next(&ctx, &mut events).await?.nack()?;
        }
        ctx.close_bus(&bus).await?;
    }
    let last = ctx.bus().await?;
    let mut events = last.subscribe_channel(channel.as_str()).group("readers").retry(eager()).await?;
    read_all(&ctx, &mut events, &mut ledger).await
}

async fn both_again(ctx: Ctx) -> Verdict {
    let (bus, channel) = (ctx.bus().await?, ctx.channel("b4")?);
    let mut events = bus.subscribe_channel(channel.as_str()).group("readers").retry(eager()).await?;
    publish_numbered(&bus, &channel, 0..2, &mut Ledger::new()).await?;
    for event in next_n(&ctx, &mut events, 2).await? {
        event.nack()?;
    }
    let mut again = Vec::new();
    for event in next_n(&ctx, &mut events, 2).await? {
        again.push((event.serial()?, event.attempt()));
        event.ack();
    }
    again.sort_unstable();
    same("serials and attempts of the second deliveries", again, vec![(0, 2), (1, 2)])?;
    quiet(&ctx, &mut events).await
}
