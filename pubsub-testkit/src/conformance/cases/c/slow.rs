//! C13: a slow reader, by each policy.

use std::time::Duration;

use pubsub_core::{
    ChannelName, ErrorKind, EventItem, Events, PubSub, Raw,
    driver::{Feature, GapReason, SlowConsumer},
};
use tokio::time::timeout;

use crate::{
    conformance::{
        Case, Ctx, Failure, Ledger, Mode, Numbered, Verdict,
        cases::crowd::{Crowd, publish},
        ensure, eventually, next, next_n, numbered, read_all, same,
    },
    faulty::Fault,
};

pub(super) const CASES: &[Case] = &[
    Case {
        id: "C13-group",
        title: "a group that settles nothing blocks neither another group nor the publisher",
        needs: &[Feature::DurableGroup],
        bites: &[Fault::GroupsMerged, Fault::LoseMessage],
        run: |ctx| Box::pin(stuck_group(ctx)),
    },
    Case {
        id: "C13-block",
        title: "a slow broadcast that blocks: publishing ends in backpressure, nothing confirmed is lost, then it goes on",
        needs: &[Feature::EphemeralBroadcast, Feature::SlowBlock],
        bites: &[Fault::LoseMessage, Fault::SlowIgnored],
        run: |ctx| Box::pin(blocks(ctx)),
    },
    Case {
        id: "C13-drop-oldest",
        title: "a slow broadcast that drops the oldest is told how many; its sibling and the publisher go on",
        needs: &[Feature::EphemeralBroadcast, Feature::SlowDropOldest],
        bites: &[Fault::GapsSwallowed, Fault::SlowIgnored],
        run: |ctx| Box::pin(drops_oldest(ctx)),
    },
    Case {
        id: "C13-disconnect",
        title: "a slow broadcast that is disconnected is told why; its sibling and the publisher go on",
        needs: &[Feature::EphemeralBroadcast, Feature::SlowDisconnect],
        bites: &[Fault::SlowIgnored],
        run: |ctx| Box::pin(disconnects(ctx)),
    },
];

async fn stuck_group(ctx: Ctx) -> Verdict {
    let count = ctx.count(500, 900);
    let (bus, channel) = (ctx.bus().await?, ctx.channel("c13")?);
    let mut stuck = ctx.reader(&bus, &channel, Mode::Durable, "stuck").max_in_flight(2).await?;
    let mut crowd = Crowd::expecting(0..count);
    crowd.join(ctx.reader(&bus, &channel, Mode::Durable, "quick").await?);
    publish(&bus, &channel, 0..2).await?;
    let held = next_n(&ctx, &mut stuck, 2).await?;
    publish_unhindered(&ctx, &bus, &channel, 2..count).await?;
    crowd.finish(&ctx).await?.ledger.verdict(&ctx.bounds())?;
    let mut ledger = Ledger::expecting(0..count);
    for event in held {
        ledger.saw(event.serial()?);
        event.ack();
    }
    read_all(&ctx, &mut stuck, &mut ledger).await
}

async fn publish_unhindered(
    ctx: &Ctx,
    bus: &PubSub,
    channel: &ChannelName,
    serials: std::ops::Range<usize>,
) -> Verdict {
    let limit = ctx.bounds().receive;
    let published = timeout(limit, publish(bus, channel, serials)).await;
    published.map_err(|_| Failure::new(format!("the publisher to be through within {limit:?}"), "it was held back"))?
}

async fn blocks(ctx: Ctx) -> Verdict {
    let (bus, channel) = (ctx.bus_in(Mode::Ephemeral).await?, ctx.channel("c13")?);
    let slow = bus.subscribe_channel(channel.as_str()).slow_consumer(SlowConsumer::Block);
    let mut stuck = slow.buffer(8).await?;
    let mut ledger = Ledger::new();
    for serial in 0.. {
        ensure(serial < 10_000, "backpressure in the end", "10,000 events for a reader that takes none")?;
        match bus.publish_envelope(numbered(&channel, serial)?).timeout(Duration::from_millis(200)).await {
            Ok(_) => ledger.confirm(serial),
            Err(error) => {
                same("the refusal", error.kind(), ErrorKind::Backpressure)?;
                break;
            }
        }
    }
    // The refused event was not sent: what comes is what was confirmed.
    read_all(&ctx, &mut stuck, &mut ledger).await?;
    publish(&bus, &channel, 20_000..20_001).await?;
    same("the next serial", next(&ctx, &mut stuck).await?.serial()?, 20_000)
}

async fn drops_oldest(ctx: Ctx) -> Verdict {
    let count = ctx.count(1_000, 20_000);
    let mut stuck = beside_a_reader(&ctx, SlowConsumer::DropOldest, count).await?;
    let (mut read, mut lost, mut gaps, mut last) = (0, 0, 0, None);
    while last != Some(count - 1) {
        match next_item(&ctx, &mut stuck).await? {
            EventItem::Event(event) => {
                let serial = event.serial()?;
                ensure(last < Some(serial), "rising serials", format!("{serial} after {last:?}"))?;
                (read, last) = (read + 1, Some(serial));
            }
            EventItem::Gap(gap) => {
                same("the gap's reason", gap.reason, GapReason::SlowConsumer)?;
                let known = gap.lost.ok_or_else(|| Failure::new("the number of lost events", "none"))?;
                (lost, gaps) = (lost + known, gaps + 1);
            }
            _ => {}
        }
    }
    ensure(gaps > 0, "a gap event", "none")?;
    same("events read and lost", read + lost, count as u64)?;
    let stats = stuck.stats();
    same("gaps and lost events in the counters", (stats.gaps, stats.lost), (gaps, lost))
}

async fn disconnects(ctx: Ctx) -> Verdict {
    let count = ctx.count(1_000, 20_000);
    let mut stuck = beside_a_reader(&ctx, SlowConsumer::Disconnect, count).await?;
    let limit = ctx.bounds().receive;
    for _ in 0..count {
        let event = timeout(limit, stuck.next()).await;
        match event.map_err(|_| Failure::new("an event or the end", format!("neither within {limit:?}")))? {
            Some(Ok(_)) => {}
            Some(Err(error)) => {
                same("the reason", error.kind(), ErrorKind::Backpressure)?;
                let after = timeout(limit, stuck.next()).await;
                ensure(matches!(after, Ok(None)), "the end after the reason", "more")?;
                return same("disconnections in the counters", stuck.stats().disconnected, 1);
            }
            None => return Err(Failure::new("an error before the end", "the end alone")),
        }
    }
    Err(Failure::new("a disconnection", "every event"))
}

/// A broadcast with a small buffer that nobody reads, after `count` events that a sibling has read.
async fn beside_a_reader(ctx: &Ctx, slow: SlowConsumer, count: usize) -> Verdict<Events<Raw>> {
    let (bus, channel, step) = (ctx.bus_in(Mode::Ephemeral).await?, ctx.channel("c13")?, 250);
    let stuck = bus.subscribe_channel(channel.as_str()).slow_consumer(slow).buffer(16).await?;
    let mut sibling = Crowd::expecting(0..count);
    sibling.join(bus.subscribe_channel(channel.as_str()).buffer(2 * step).await?);
    for sent in (0..count).step_by(step) {
        publish_unhindered(ctx, &bus, &channel, sent..(sent + step).min(count)).await?;
        eventually(ctx, "the sibling keeps up", || sibling.distinct() >= sent).await?;
    }
    sibling.finish(ctx).await?.ledger.verdict(&ctx.bounds())?;
    Ok(stuck)
}

async fn next_item(ctx: &Ctx, events: &mut Events<Raw>) -> Verdict<EventItem<Raw>> {
    let limit = ctx.bounds().receive;
    match timeout(limit, events.next_item()).await {
        Ok(Some(item)) => Ok(item?),
        Ok(None) => Err(Failure::new("an open subscription", "its end")),
        Err(_) => Err(Failure::new(format!("an item within {limit:?}"), "none")),
    }
}
