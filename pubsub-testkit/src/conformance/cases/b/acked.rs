//! B6, B7: what is settled for good never returns.

use pubsub_core::{Events, PubSub, Raw, driver::Feature};

use crate::{
    conformance::{Case, Ctx, Ledger, Verdict, dead_letters, next_n, publish_numbered, quiet_for, same},
    faulty::Fault,
};

pub(super) const CASES: &[Case] = &[
    Case {
        id: "B6",
        title: "an acknowledged event never returns: not after its lease, not on a new connection",
        needs: &[Feature::DurableGroup],
        bites: &[Fault::DropAck, Fault::RedeliverAcked],
        run: |ctx| Box::pin(acked(ctx)),
    },
    Case {
        id: "B7",
        title: "a rejected event never returns, whether dead letters are kept or not",
        needs: &[Feature::DurableGroup, Feature::DeadLetter],
        bites: &[Fault::RejectRequeues],
        run: |ctx| Box::pin(rejected(ctx)),
    },
];

async fn join(ctx: &Ctx, bus: &PubSub, channel: &str, dead_letters: bool) -> Verdict<Events<Raw>> {
    let subscribe = bus.subscribe_channel(channel).group("readers").lease(ctx.bounds().lease);
    Ok(if dead_letters { subscribe.await? } else { subscribe.without_dead_letters().await? })
}

/// Nothing comes while leases would run out, neither here nor to a later member.
async fn stays_away(ctx: &Ctx, bus: &PubSub, channel: &str, mut events: Events<Raw>) -> Verdict {
    let lease = ctx.bounds().lease;
    quiet_for(&mut events, lease * 2).await.map_err(|failure| failure.during("on the same connection"))?;
    ctx.close_bus(bus).await?;
    drop(events);
    let next_bus = ctx.bus().await?;
    let mut events = join(ctx, &next_bus, channel, true).await?;
    quiet_for(&mut events, lease * 2).await.map_err(|failure| failure.during("on a new connection"))
}

async fn acked(ctx: Ctx) -> Verdict {
    let (bus, channel) = (ctx.bus().await?, ctx.channel("b6")?);
    let mut events = join(&ctx, &bus, channel.as_str(), true).await?;
    publish_numbered(&bus, &channel, 0..3, &mut Ledger::new()).await?;
    for (index, event) in next_n(&ctx, &mut events, 3).await?.into_iter().enumerate() {
        match index {
            0 => event.ack_confirmed().await?,
            _ => event.ack(),
        }
    }
    stays_away(&ctx, &bus, channel.as_str(), events).await
}

async fn rejected(ctx: Ctx) -> Verdict {
    for kept in [true, false] {
        let (bus, channel) = (ctx.bus().await?, ctx.channel("b7")?);
        let mut events = join(&ctx, &bus, channel.as_str(), kept).await?;
        publish_numbered(&bus, &channel, 0..2, &mut Ledger::new()).await?;
        for event in next_n(&ctx, &mut events, 2).await? {
            event.reject("no use")?;
        }
        let expected = if kept { 2 } else { 0 };
        let dead = dead_letters(&ctx, &bus, &channel, "readers", expected).await?;
        same("the number of dead letters", dead.len(), expected)?;
        stays_away(&ctx, &bus, channel.as_str(), events).await?;
    }
    Ok(())
}
