//! E4, E5, E8: subscriptions that end, and those beside and after them.

use std::time::Duration;

use pubsub_core::driver::{Feature, RetryPolicy};

use crate::{
    conformance::{
        Case, Ctx, Failure, Ledger, Mode, Numbered, Verdict, cases::crowd::publish, ensure, next, next_n, quiet,
        read_all,
    },
    faulty::Fault,
};

pub(super) const CASES: &[Case] = &[
    Case {
        id: "E4",
        title: "what a dropped subscription had in hand and in its buffer, a new one gets",
        needs: &[Feature::DurableGroup],
        bites: &[Fault::DropAcks, Fault::LoseMessage, Fault::ReleaseLoses],
        run: |ctx| Box::pin(dropped(ctx)),
    },
    Case {
        id: "E5",
        title: "events read in batches over many subscriptions one after the other: nothing lost, nothing twice",
        needs: &[Feature::DurableGroup],
        bites: &[Fault::LoseMessage, Fault::DropAck, Fault::ReleaseLoses],
        run: |ctx| Box::pin(cycles(ctx)),
    },
    Case {
        id: "E8",
        title: "when one of two groups stops, the other reads on; the first finds its events when it is back",
        needs: &[Feature::DurableGroup],
        bites: &[Fault::DropStopsSiblings, Fault::ReleaseLoses, Fault::GroupsMerged],
        run: |ctx| Box::pin(stop_one_group(ctx)),
    },
    Case {
        id: "E8-ephemeral",
        title: "when one of two broadcasts stops, the other reads on; the first gets what comes after its return",
        needs: &[Feature::EphemeralBroadcast],
        bites: &[Fault::DropStopsSiblings, Fault::LoseMessage],
        run: |ctx| Box::pin(stop_one_broadcast(ctx)),
    },
];

async fn dropped(ctx: Ctx) -> Verdict {
    let (bus, channel) = (ctx.bus().await?, ctx.channel("e4")?);
    let retry = RetryPolicy::default().delays(Duration::from_millis(10), Duration::from_millis(50));
    let reader = || ctx.reader(&bus, &channel, Mode::Durable, "again").lease(ctx.bounds().lease).retry(retry);
    let mut events = reader().await?;
    publish(&bus, &channel, 0..20).await?;
    let held = next_n(&ctx, &mut events, 3).await?;
    drop(events);
    drop(held);
    let (mut events, mut ledger) = (reader().await?, Ledger::expecting(0..20));
    read_all(&ctx, &mut events, &mut ledger).await
}

async fn cycles(ctx: Ctx) -> Verdict {
    let (batches, each) = (5, ctx.count(160, 1_000));
    let (bus, channel) = (ctx.bus().await?, ctx.channel("e5")?);
    let (publisher, target) = (bus.clone(), channel.clone());
    // Longer than a channel may be full: the reading goes on beside it.
    let mut publishing = tokio::task::JoinSet::new();
    publishing.spawn(async move { publish(&publisher, &target, 0..batches * each).await });
    let mut ledger = Ledger::expecting(0..batches * each);
    for _ in 0..20 {
        if ledger.is_complete() {
            break;
        }
        let mut events = ctx.reader(&bus, &channel, Mode::Durable, "cycles").max_in_flight(64).await?;
        for _ in 0..each {
            if ledger.is_complete() {
                break;
            }
            let event = next(&ctx, &mut events).await?;
            ledger.saw(event.serial()?);
            event.ack();
        }
    }
    while let Some(published) = publishing.join_next().await {
        published.map_err(|error| Failure::new("a publisher without a panic", error))??;
    }
    let mut events = ctx.reader(&bus, &channel, Mode::Durable, "cycles").await?;
    quiet(&ctx, &mut events).await?;
    ledger.verdict(&ctx.bounds())
}

async fn stop_one_group(ctx: Ctx) -> Verdict {
    let (bus, channel) = (ctx.bus().await?, ctx.channel("e8")?);
    let mut first = ctx.reader(&bus, &channel, Mode::Durable, "first").await?;
    let mut second = ctx.reader(&bus, &channel, Mode::Durable, "second").await?;
    publish(&bus, &channel, 0..10).await?;
    let mut seen_by_first = Ledger::expecting(0..20);
    let event = next(&ctx, &mut first).await?;
    seen_by_first.saw(event.serial()?);
    event.ack();
    drop(first);
    publish(&bus, &channel, 10..20).await?;
    let mut ledger = Ledger::expecting(0..20);
    read_all(&ctx, &mut second, &mut ledger).await?;
    let mut first = ctx.reader(&bus, &channel, Mode::Durable, "first").await?;
    read_all(&ctx, &mut first, &mut seen_by_first).await
}

async fn stop_one_broadcast(ctx: Ctx) -> Verdict {
    let (bus, channel) = (ctx.bus_in(Mode::Ephemeral).await?, ctx.channel("e8")?);
    let first = bus.subscribe_channel(channel.as_str()).await?;
    let mut second = bus.subscribe_channel(channel.as_str()).await?;
    publish(&bus, &channel, 0..10).await?;
    drop(first);
    publish(&bus, &channel, 10..20).await?;
    let mut ledger = Ledger::expecting(0..20);
    read_all(&ctx, &mut second, &mut ledger).await?;
    let mut first = bus.subscribe_channel(channel.as_str()).await?;
    publish(&bus, &channel, 20..30).await?;
    for events in [&mut first, &mut second] {
        let mut ledger = Ledger::expecting(20..30);
        read_all(&ctx, events, &mut ledger).await?;
    }
    ensure(first.stats().delivered == 10, "10 events for the returned one", format!("{:?}", first.stats()))
}
