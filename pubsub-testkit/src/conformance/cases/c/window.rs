//! C10, C11: how much a reader gets at a time, and from where.

use std::{collections::BTreeSet, time::Duration};

use pubsub_core::{ChannelName, PubSub, driver::Feature};
use tokio::time::{Instant, sleep};

use crate::{
    conformance::{
        Case, Ctx, Failure, Ledger, Mode, Numbered, Verdict, cases::crowd::publish, failed, next, next_n, numbered,
        quiet, read_all,
    },
    faulty::Fault,
};

pub(super) const CASES: &[Case] = &[
    Case {
        id: "C10",
        title: "no more events are handed out than may be unsettled, and each settlement lets one more through",
        needs: &[Feature::DurableGroup],
        bites: &[Fault::IgnorePrefetch, Fault::DropAck],
        run: |ctx| Box::pin(prefetch(ctx)),
    },
    Case {
        id: "C11",
        title: "a busy channel does not starve the quiet ones of the same subscription",
        needs: &[Feature::DurableGroup],
        bites: &[Fault::QuietStarves],
        run: |ctx| Box::pin(quiet_channels(ctx, Mode::Durable)),
    },
    Case {
        id: "C11-ephemeral",
        title: "a busy ephemeral channel does not starve the quiet ones of the same broadcast",
        needs: &[Feature::EphemeralBroadcast],
        bites: &[Fault::QuietStarves],
        run: |ctx| Box::pin(quiet_channels(ctx, Mode::Ephemeral)),
    },
];

async fn prefetch(ctx: Ctx) -> Verdict {
    let (window, count) = (3, 10);
    let (bus, channel) = (ctx.bus().await?, ctx.channel("c10")?);
    let mut events = ctx.reader(&bus, &channel, Mode::Durable, "windowed").max_in_flight(window).await?;
    publish(&bus, &channel, 0..count).await?;
    let mut ledger = Ledger::expecting(0..count);
    let mut held = next_n(&ctx, &mut events, window).await?;
    for _ in window..count {
        quiet(&ctx, &mut events).await.map_err(|failure| failure.during(format!("{window} unsettled")))?;
        let event = held.remove(0);
        ledger.saw(event.serial()?);
        event.ack_confirmed().await?;
        held.push(next(&ctx, &mut events).await?);
    }
    for event in held {
        ledger.saw(event.serial()?);
        event.ack();
    }
    read_all(&ctx, &mut events, &mut ledger).await
}

async fn quiet_channels(ctx: Ctx, mode: Mode) -> Verdict {
    let (bus, busy) = (ctx.bus_in(mode).await?, ctx.channel("c11-busy")?);
    let quiet: Vec<_> = (0..4).map(|_| ctx.channel("c11-quiet")).collect::<Verdict<_>>()?;
    let mut subscribe = mode.in_flight(ctx.reader(&bus, &busy, mode, "mixed"), 16);
    for channel in &quiet {
        subscribe = subscribe.channel(channel.as_str());
    }
    let mut events = subscribe.await?;
    let mut flood = tokio::task::JoinSet::new(); // ends with the case
    for _ in 0..2 {
        flood.spawn(publish_on_and_on(ctx.bus_in(mode).await?, busy.clone()));
    }
    for _ in 0..50 {
        next(&ctx, &mut events).await?.ack();
    }
    flood.spawn(whisper(bus.clone(), quiet.clone()));
    let (limit, started) = (ctx.bounds().receive, Instant::now());
    let mut missing: BTreeSet<_> = quiet.iter().collect();
    let mut others = 0;
    while !missing.is_empty() {
        if started.elapsed() > limit {
            let seen = format!("{} missing after {others} events of the busy one", missing.len());
            return Err(Failure::new(format!("an event of each quiet channel within {limit:?}"), seen));
        }
        let event = next(&ctx, &mut events).await?;
        event.serial()?;
        match quiet.iter().find(|channel| *channel == event.channel()) {
            Some(channel) => drop(missing.remove(channel)),
            None => others += 1,
        }
        event.ack();
    }
    match flood.try_join_next() {
        None => Ok(()),
        Some(ended) => failed("the flood to go on", format!("{ended:?}")),
    }
}

/// Again and again, because a broadcast that drops its oldest may drop these.
async fn whisper(bus: PubSub, channels: Vec<ChannelName>) -> Verdict {
    loop {
        for channel in &channels {
            bus.publish_envelope(numbered(channel, 0)?).await?;
        }
        sleep(Duration::from_millis(20)).await;
    }
}

async fn publish_on_and_on(bus: PubSub, channel: ChannelName) -> Verdict {
    loop {
        publish(&bus, &channel, 0..64).await?;
    }
}
