//! B2, B8: what is held unsettled.

use std::time::Duration;

use pubsub_core::{ChannelPolicy, Key, driver::Feature};

use super::nack::eager;
use crate::{
    conformance::{
        Case, Ctx, Ledger, Numbered, Verdict, next, next_n, numbered, publish_numbered, quiet, read_all, same, within,
    },
    faulty::Fault,
};

pub(super) const CASES: &[Case] = &[
    Case {
        id: "B2",
        title: "with one event in flight the second of a key waits until the first is settled, and comes once",
        needs: &[Feature::DurableGroup, Feature::KeyOrder],
        bites: &[Fault::IgnorePrefetch, Fault::Duplicate, Fault::LoseMessage],
        run: |ctx| Box::pin(second_waits(ctx)),
    },
    Case {
        id: "B8",
        title: "acknowledging a later event does not settle earlier ones",
        needs: &[Feature::DurableGroup],
        bites: &[Fault::CumulativeAck, Fault::DropAck],
        run: |ctx| Box::pin(later_acked(ctx)),
    },
];

async fn second_waits(ctx: Ctx) -> Verdict {
    let (bus, channel) = (ctx.bus_of(ChannelPolicy::new().ordered_per_key(4)).await?, ctx.channel("b2")?);
    let mut events = bus.subscribe_channel(channel.as_str()).group("readers").max_in_flight(1).await?;
    for serial in 0..2 {
        bus.publish_envelope(numbered(&channel, serial)?).key(Key::new("one")?).await?;
    }
    let first = next(&ctx, &mut events).await?;
    same("the first event", first.serial()?, 0)?;
    quiet(&ctx, &mut events).await.map_err(|failure| failure.during("holding the first event"))?;
    first.ack();
    let second = within(&mut events, Duration::from_secs(5), "the second event").await?;
    same("the second event", second.serial()?, 1)?;
    second.ack();
    quiet(&ctx, &mut events).await
}

async fn later_acked(ctx: Ctx) -> Verdict {
    let (bus, channel) = (ctx.bus().await?, ctx.channel("b8")?);
    let mut events = bus.subscribe_channel(channel.as_str()).group("readers").retry(eager()).await?;
    publish_numbered(&bus, &channel, 0..3, &mut Ledger::new()).await?;
    let mut held = next_n(&ctx, &mut events, 3).await?;
    let mut left: Vec<usize> = held.iter().map(|event| event.serial()).collect::<Verdict<_>>()?;
    left.pop();
    if let Some(last) = held.pop() {
        last.ack_confirmed().await?;
    }
    drop((held, events));
    ctx.close_bus(&bus).await?;
    let next_bus = ctx.bus().await?;
    let mut events = next_bus.subscribe_channel(channel.as_str()).group("readers").retry(eager()).await?;
    read_all(&ctx, &mut events, &mut Ledger::expecting(left)).await
}
