//! C1, C6, C12: many publishers and many readers at a time.

use std::time::Duration;

use futures_util::future::try_join_all;
use pubsub_core::driver::Feature;

use crate::{
    conformance::{
        Case, Ctx, Ledger, Mode, Numbered, Verdict,
        cases::crowd::{Crowd, publish},
        ensure, eventually, quiet, same,
    },
    faulty::Fault,
};

pub(super) const CASES: &[Case] = &[
    Case {
        id: "C1",
        title: "many publishers, many members of one group on connections of their own: each event once",
        needs: &[Feature::DurableGroup],
        bites: &[Fault::LoseMessage, Fault::Duplicate, Fault::GroupIsBroadcast],
        run: |ctx| Box::pin(concurrent(ctx)),
    },
    Case {
        id: "C6",
        title: "a member that joins and one that leaves mid-stream cost no event",
        needs: &[Feature::DurableGroup],
        bites: &[Fault::LoseMessage, Fault::GroupIsBroadcast],
        run: |ctx| Box::pin(members_change(ctx)),
    },
    Case {
        id: "C12",
        title: "receivers of one handle share a group's events; chunks grow with the backlog and shrink without one",
        needs: &[Feature::DurableGroup],
        bites: &[Fault::LoseMessage, Fault::GroupIsBroadcast],
        run: |ctx| Box::pin(receivers_and_chunks(ctx)),
    },
];

async fn concurrent(ctx: Ctx) -> Verdict {
    let (each, publishers, members) = (ctx.count(100, 100), ctx.count(5, 50), ctx.count(10, 50));
    let (channel, total) = (ctx.channel("c1")?, each * publishers);
    let mut crowd = Crowd::expecting(0..total);
    for _ in 0..members {
        let bus = ctx.bus().await?;
        crowd.join(ctx.reader(&bus, &channel, Mode::Durable, "crowd").max_in_flight(32).await?);
    }
    let bus = ctx.bus().await?;
    try_join_all((0..publishers).map(|n| publish(&bus, &channel, n * each..(n + 1) * each))).await?;
    crowd.finish(&ctx).await?.ledger.verdict(&ctx.bounds())
}

async fn members_change(ctx: Ctx) -> Verdict {
    const IN_FLIGHT: usize = 16;
    let third = ctx.count(100, 2_000);
    let (bus, channel) = (ctx.bus().await?, ctx.channel("c6")?);
    let mut crowd = Crowd::expecting(0..3 * third);
    let reader = async || {
        let bus = ctx.bus().await?;
        Verdict::Ok(ctx.reader(&bus, &channel, Mode::Durable, "team").max_in_flight(IN_FLIGHT).await?)
    };
    crowd.join(reader().await?);
    publish(&bus, &channel, 0..third).await?;
    eventually(&ctx, "the first third is read", || crowd.distinct() >= third).await?;
    // Two newcomers, one of which goes again with events in its buffer.
    crowd.join(reader().await?);
    crowd.join_with(reader().await?, third / 10, |_, _| false);
    publish(&bus, &channel, third..2 * third).await?;
    publish(&bus, &channel, 2 * third..3 * third).await?;
    let seen = crowd.finish(&ctx).await?;
    // Where events may come twice at all, the buffers of all members may when they share anew.
    match ctx.bounds().duplicates_per_mille {
        0 => seen.ledger.verdict_allowing(0),
        _ => seen.ledger.verdict_allowing(3 * IN_FLIGHT),
    }
}

async fn receivers_and_chunks(ctx: Ctx) -> Verdict {
    let count = ctx.count(400, 5_000);
    let (bus, channel) = (ctx.bus().await?, ctx.channel("c12")?);
    let mut crowd = Crowd::expecting(0..count);
    for _ in 0..4 {
        crowd.join(ctx.reader(&bus, &channel, Mode::Durable, "receivers").max_in_flight(32).await?);
    }
    publish(&bus, &channel, 0..count).await?;
    crowd.finish(&ctx).await?.ledger.verdict(&ctx.bounds())?;

    let (wait, mut ledger) = (Duration::from_millis(500), Ledger::expecting(count..count + 102));
    let mut events = ctx.reader(&bus, &channel, Mode::Durable, "receivers").max_in_flight(256).await?;
    for (publishes, expected) in [(count..count + 1, 1), (count + 1..count + 101, 100), (count + 101..count + 102, 1)] {
        publish(&bus, &channel, publishes).await?;
        let chunk = events.next_chunk(256, wait).await?;
        ensure(!chunk.is_empty(), "a chunk", "the end of the subscription")?;
        same("size of the chunk", chunk.len(), expected)?;
        for event in chunk {
            ledger.saw(event.serial()?);
            event.ack();
        }
    }
    quiet(&ctx, &mut events).await?;
    ledger.verdict(&ctx.bounds())
}
