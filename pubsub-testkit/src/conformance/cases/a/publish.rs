//! A1–A4: what is published arrives, once and whole.

use pubsub_core::driver::Feature;

use crate::{
    conformance::{
        Case, Ctx, Ledger, Mode, Numbered, Verdict, ended, ensure, next, next_n, numbered, publish_numbered, quiet,
        read_all, same,
    },
    faulty::Fault,
};

pub(super) const CASES: &[Case] = &[
    Case {
        id: "A1",
        title: "what was published before a fresh group subscribed arrives once, and closing ends the stream",
        needs: &[Feature::DurableGroup, Feature::Backlog],
        bites: &[Fault::LoseMessage, Fault::NoBacklog, Fault::PublishUnconfirmedSuccess, Fault::HangsOnClose],
        run: |ctx| Box::pin(backlog(ctx)),
    },
    Case {
        id: "A2",
        title: "what is published after a group subscribed arrives once, payload and header equal",
        needs: &[Feature::DurableGroup],
        bites: &[Fault::LoseMessage, Fault::Duplicate, Fault::DropHeaders],
        run: |ctx| Box::pin(subscribe_first(ctx, Mode::Durable)),
    },
    Case {
        id: "A2-ephemeral",
        title: "what is published after a broadcast subscribed arrives once, payload and header equal",
        needs: &[Feature::EphemeralBroadcast],
        bites: &[Fault::LoseMessage, Fault::Duplicate, Fault::DropHeaders],
        run: |ctx| Box::pin(subscribe_first(ctx, Mode::Ephemeral)),
    },
    Case {
        id: "A3",
        title: "a group from the earliest event gets what was published before it, then what comes after",
        needs: &[Feature::DurableGroup, Feature::Backlog],
        bites: &[Fault::NoBacklog, Fault::WrongPosition],
        run: |ctx| Box::pin(old_first(ctx)),
    },
    Case {
        id: "A3-latest",
        title: "a broadcast from the latest event never gets what was published before it",
        needs: &[Feature::LosslessBroadcast],
        bites: &[Fault::ReplaysOld, Fault::WrongPosition],
        run: |ctx| Box::pin(old_never(ctx, Mode::Durable)),
    },
    Case {
        id: "A3-ephemeral",
        title: "an ephemeral broadcast never gets what was published before it",
        needs: &[Feature::EphemeralBroadcast],
        bites: &[Fault::ReplaysOld, Fault::LoseMessage],
        run: |ctx| Box::pin(old_never(ctx, Mode::Ephemeral)),
    },
    Case {
        id: "A4",
        title: "three events with their own body and header arrive as a set, each with the id it was given",
        needs: &[Feature::DurableGroup],
        bites: &[Fault::CorruptPayload, Fault::DropHeaders],
        run: |ctx| Box::pin(three(ctx, Mode::Durable)),
    },
    Case {
        id: "A4-ephemeral",
        title: "three events with their own body and header arrive at a broadcast as a set, with their ids",
        needs: &[Feature::EphemeralBroadcast],
        bites: &[Fault::CorruptPayload, Fault::DropHeaders],
        run: |ctx| Box::pin(three(ctx, Mode::Ephemeral)),
    },
];

async fn backlog(ctx: Ctx) -> Verdict {
    let (bus, channel, mut ledger) = (ctx.bus().await?, ctx.channel("a1")?, Ledger::new());
    publish_numbered(&bus, &channel, 0..ctx.count(100, 100), &mut ledger).await?;
    let mut events = bus.subscribe_channel(channel.as_str()).group("readers").await?;
    read_all(&ctx, &mut events, &mut ledger).await?;
    ctx.close_bus(&bus).await?;
    ended(&ctx, &mut events).await
}

async fn subscribe_first(ctx: Ctx, mode: Mode) -> Verdict {
    let (bus, channel, mut ledger) = (ctx.bus_in(mode).await?, ctx.channel("a2")?, Ledger::new());
    let mut events = ctx.reader(&bus, &channel, mode, "readers").await?;
    publish_numbered(&bus, &channel, 0..ctx.count(100, 100), &mut ledger).await?;
    read_all(&ctx, &mut events, &mut ledger).await
}

async fn old_first(ctx: Ctx) -> Verdict {
    let (bus, channel, mut ledger) = (ctx.bus().await?, ctx.channel("a3")?, Ledger::new());
    publish_numbered(&bus, &channel, 0..5, &mut ledger).await?;
    let mut events = bus.subscribe_channel(channel.as_str()).group("readers").from_earliest().await?;
    read_all(&ctx, &mut events, &mut ledger).await.map_err(|failure| failure.during("the events of before"))?;
    publish_numbered(&bus, &channel, 5..10, &mut ledger).await?;
    read_all(&ctx, &mut events, &mut ledger).await
}

async fn old_never(ctx: Ctx, mode: Mode) -> Verdict {
    let (bus, channel) = (ctx.bus_in(mode).await?, ctx.channel("a3")?);
    publish_numbered(&bus, &channel, 0..5, &mut Ledger::new()).await?;
    let mut events = bus.subscribe_channel(channel.as_str()).from_latest().await?;
    quiet(&ctx, &mut events).await?;
    let mut ledger = Ledger::new();
    publish_numbered(&bus, &channel, 5..10, &mut ledger).await?;
    read_all(&ctx, &mut events, &mut ledger).await
}

async fn three(ctx: Ctx, mode: Mode) -> Verdict {
    let (bus, channel) = (ctx.bus_in(mode).await?, ctx.channel("a4")?);
    let mut events = ctx.reader(&bus, &channel, mode, "readers").await?;
    let mut sent = std::collections::BTreeMap::new();
    for serial in 0..3 {
        let event = numbered(&channel, serial)?;
        sent.insert(event.id.to_string(), serial);
        bus.publish_envelope(event).await?;
    }
    let mut seen = std::collections::BTreeMap::new();
    for event in next_n(&ctx, &mut events, 3).await? {
        ensure(!event.id().to_string().is_empty(), "an id that can be logged", "an empty one")?;
        seen.insert(event.id().to_string(), event.serial()?);
        event.ack();
    }
    same("the events by id", seen, sent)?;
    bus.publish_envelope(numbered(&channel, 3)?).await?;
    same("the serial of a fourth event", next(&ctx, &mut events).await?.serial()?, 3)
}
