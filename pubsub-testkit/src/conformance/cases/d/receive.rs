//! D3, D4: taking many events at once.

use std::{collections::BTreeSet, time::Duration};

use pubsub_core::driver::Feature;
use tokio::time::{Instant, sleep};

use crate::{
    conformance::{Case, Ctx, Ledger, Mode, Numbered, Verdict, cases::crowd::publish, ensure, next, quiet, same},
    faulty::Fault,
};

pub(super) const CASES: &[Case] = &[
    Case {
        id: "D3",
        title: "in chunks of at most 5 within 500 ms, two of 11 events fail: these come again, no other",
        needs: &[Feature::DurableGroup, Feature::Nack],
        bites: &[Fault::IgnoreNack, Fault::RedeliverAcked, Fault::CumulativeAck, Fault::Duplicate],
        run: |ctx| Box::pin(failures_per_entry(ctx)),
    },
    Case {
        id: "D4",
        title: "a chunk of a group ends when it is full or its time is over, late arrivals included",
        needs: &[Feature::DurableGroup],
        bites: &[Fault::LoseMessage, Fault::Duplicate],
        run: |ctx| Box::pin(receive_all(ctx, Mode::Durable)),
    },
    Case {
        id: "D4-ephemeral",
        title: "a chunk of a broadcast ends when it is full or its time is over, late arrivals included",
        needs: &[Feature::EphemeralBroadcast],
        bites: &[Fault::LoseMessage, Fault::Duplicate],
        run: |ctx| Box::pin(receive_all(ctx, Mode::Ephemeral)),
    },
];

async fn failures_per_entry(ctx: Ctx) -> Verdict {
    let (size, wait) = (5, Duration::from_millis(500));
    let (bus, channel) = (ctx.bus().await?, ctx.channel("d3")?);
    let mut events = ctx.reader(&bus, &channel, Mode::Durable, "bulk").await?;
    publish(&bus, &channel, 0..11).await?;
    let mut ledger = Ledger::expecting(0..11);
    let (mut held, mut failing) = (Vec::new(), BTreeSet::from([3, 7]));
    while held.len() < 11 {
        let chunk = events.next_chunk(size, wait).await?;
        ensure((1..=size).contains(&chunk.len()), "chunks of 1 to 5 events", chunk.len())?;
        held.extend(chunk);
    }
    let mut failed = Vec::new();
    for event in held {
        let serial = event.serial()?;
        ledger.saw(serial);
        if failing.contains(&serial) { failed.push(event) } else { event.ack() }
    }
    // Last, so that what was acknowledged around them is no help.
    failed.into_iter().try_for_each(|event| event.nack())?;
    while !failing.is_empty() {
        let event = next(&ctx, &mut events).await?;
        let serial = event.serial()?;
        ledger.saw(serial);
        ensure(failing.remove(&serial), "only events that failed", serial)?;
        event.ack();
    }
    quiet(&ctx, &mut events).await?;
    ledger.verdict_allowing(2)
}

async fn receive_all(ctx: Ctx, mode: Mode) -> Verdict {
    let (bus, channel) = (ctx.bus_in(mode).await?, ctx.channel("d4")?);
    let mut events = ctx.reader(&bus, &channel, mode, "chunks").await?;
    // More than enough for events that are on their way.
    let (short, long) = (ctx.bounds().quiet * 5, ctx.bounds().receive);
    let mut ledger = Ledger::expecting(0..20);
    let mut take = async |max, wait, expected| {
        let started = Instant::now();
        let chunk = events.next_chunk(max, wait).await?;
        for event in &chunk {
            ledger.saw(event.serial()?);
        }
        same("size of the chunk", chunk.len(), expected)?;
        chunk.into_iter().for_each(|event| event.ack());
        Verdict::Ok(started.elapsed())
    };
    publish(&bus, &channel, 0..3).await?;
    let partial = take(5, short, 3).await?;
    ensure(partial >= short, format!("a partial chunk after {short:?}"), format!("{partial:?}"))?;
    publish(&bus, &channel, 3..8).await?;
    let full = take(5, long, 5).await?;
    ensure(full < long, format!("a full chunk before {long:?}"), format!("{full:?}"))?;
    publish(&bus, &channel, 8..15).await?;
    take(5, long, 5).await?;
    take(5, short, 2).await?;
    // One is there, four come while the chunk waits.
    publish(&bus, &channel, 15..16).await?;
    let late = async {
        sleep(short / 5).await;
        publish(&bus, &channel, 16..20).await
    };
    let (taken, published) = tokio::join!(take(5, long, 5), late);
    published.and(taken)?;
    quiet(&ctx, &mut events).await?;
    ledger.verdict(&ctx.bounds())
}
