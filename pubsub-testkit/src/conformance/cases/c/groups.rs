//! C4, C5, C9: groups beside each other, and across restarts.

use std::time::Duration;

use pubsub_core::{ErrorKind, driver::Feature};
use tokio::time::{Instant, sleep};

use crate::{
    conformance::{
        Case, Ctx, Ledger, Mode, Numbered, Verdict,
        cases::crowd::{Crowd, publish},
        next, next_n, quiet, read_all, refused, same,
    },
    faulty::Fault,
};

pub(super) const CASES: &[Case] = &[
    Case {
        id: "C4",
        title: "two groups read everything each, while both are open",
        needs: &[Feature::DurableGroup],
        bites: &[Fault::LoseMessage, Fault::Duplicate, Fault::GroupsMerged],
        run: |ctx| Box::pin(two_open(ctx, Mode::Durable)),
    },
    Case {
        id: "C4-ephemeral",
        title: "two broadcasts read everything each",
        needs: &[Feature::EphemeralBroadcast],
        bites: &[Fault::LoseMessage, Fault::Duplicate],
        run: |ctx| Box::pin(two_open(ctx, Mode::Ephemeral)),
    },
    Case {
        id: "C4-absent",
        title: "two groups whose members were gone during the publishing read everything each",
        needs: &[Feature::DurableGroup],
        bites: &[Fault::LoseMessage, Fault::GroupsMerged],
        run: |ctx| Box::pin(two_absent(ctx)),
    },
    Case {
        id: "C5",
        title: "the members of a group share its events, whatever another group leaves unsettled",
        needs: &[Feature::DurableGroup],
        bites: &[Fault::LoseMessage, Fault::GroupIsBroadcast, Fault::GroupsMerged],
        run: |ctx| Box::pin(pending_apart(ctx)),
    },
    Case {
        id: "C9",
        title: "after a restart a group goes on: what was acknowledged stays away, what was not comes again",
        needs: &[Feature::DurableGroup],
        bites: &[Fault::DropAck, Fault::CumulativeAck, Fault::CloseLosesBuffer],
        run: |ctx| Box::pin(resumes(ctx, false)),
    },
    Case {
        id: "C9-confirmed",
        title: "as C9, with acknowledgements that wait for the broker",
        needs: &[Feature::DurableGroup],
        bites: &[Fault::DropAck, Fault::CumulativeAck],
        run: |ctx| Box::pin(resumes(ctx, true)),
    },
    Case {
        id: "C9-deleted",
        title: "a group without members can be deleted, and its name begins a new one; with members it stays",
        needs: &[Feature::DurableGroup],
        bites: &[Fault::GroupKept, Fault::GroupReturns, Fault::LoseMessage],
        run: |ctx| Box::pin(deleted(ctx)),
    },
];

async fn two_open(ctx: Ctx, mode: Mode) -> Verdict {
    let count = ctx.count(50, 50);
    let (bus, channel) = (ctx.bus_in(mode).await?, ctx.channel("c4")?);
    let mut first = ctx.reader(&bus, &channel, mode, "first").await?;
    let mut second = ctx.reader(&bus, &channel, mode, "second").await?;
    publish(&bus, &channel, 0..count).await?;
    for events in [&mut first, &mut second] {
        let mut ledger = Ledger::expecting(0..count);
        read_all(&ctx, events, &mut ledger).await?;
    }
    Ok(())
}

async fn two_absent(ctx: Ctx) -> Verdict {
    let count = ctx.count(50, 50);
    let (bus, channel) = (ctx.bus().await?, ctx.channel("c4")?);
    for group in ["first", "second"] {
        drop(ctx.reader(&bus, &channel, Mode::Durable, group).from_latest().await?);
    }
    publish(&bus, &channel, 0..count).await?;
    for group in ["first", "second"] {
        let mut ledger = Ledger::expecting(0..count);
        // The groups exist, so that the start is theirs and not this one.
        let mut events = ctx.reader(&bus, &channel, Mode::Durable, group).from_latest().await?;
        read_all(&ctx, &mut events, &mut ledger).await?;
    }
    Ok(())
}

async fn pending_apart(ctx: Ctx) -> Verdict {
    let count = ctx.count(90, 900);
    let (bus, channel) = (ctx.bus().await?, ctx.channel("c5")?);
    let mut holder = ctx.reader(&bus, &channel, Mode::Durable, "holders").max_in_flight(10).await?;
    let mut crowd = Crowd::expecting(0..count);
    for _ in 0..3 {
        let bus = ctx.bus().await?;
        crowd.join(ctx.reader(&bus, &channel, Mode::Durable, "workers").max_in_flight(8).await?);
    }
    publish(&bus, &channel, 0..count).await?;
    let held = next_n(&ctx, &mut holder, 10).await?;
    crowd.finish(&ctx).await?.ledger.verdict(&ctx.bounds())?;
    let mut ledger = Ledger::expecting(0..count);
    for event in held {
        ledger.saw(event.serial()?);
        event.ack_confirmed().await?;
    }
    read_all(&ctx, &mut holder, &mut ledger).await
}

async fn resumes(ctx: Ctx, confirmed: bool) -> Verdict {
    let (publisher, first, channel) = (ctx.bus().await?, ctx.bus().await?, ctx.channel("c9")?);
    let lease = ctx.bounds().lease;
    let mut events = ctx.reader(&first, &channel, Mode::Durable, "resuming").lease(lease).await?;
    publish(&publisher, &channel, 0..10).await?;
    let mut held = Vec::new();
    for event in next_n(&ctx, &mut events, 10).await? {
        match (event.serial()? % 2, confirmed) {
            (0, true) => event.ack_confirmed().await?,
            (0, false) => event.ack(),
            _ => held.push(event),
        }
    }
    refused("closing with events in hand", first.close(lease).await, ErrorKind::Timeout)?;
    drop((held, events));
    let second = ctx.bus().await?;
    let mut events = ctx.reader(&second, &channel, Mode::Durable, "resuming").lease(lease).await?;
    let mut left = Vec::new();
    for _ in 0..5 {
        let event = next(&ctx, &mut events).await?;
        left.push(event.serial()?);
        event.ack();
    }
    left.sort_unstable();
    same("what comes after the restart", left, vec![1, 3, 5, 7, 9])?;
    quiet(&ctx, &mut events).await
}

async fn deleted(ctx: Ctx) -> Verdict {
    let (bus, channel) = (ctx.bus().await?, ctx.channel("c9")?);
    let delete = || bus.delete_group(channel.as_str(), "leaving");
    refused("deleting a group of no channel", delete().await, ErrorKind::NotFound)?;
    let mut events = ctx.reader(&bus, &channel, Mode::Durable, "leaving").await?;
    publish(&bus, &channel, 0..5).await?;
    let first = next(&ctx, &mut events).await?;
    refused("deleting a group that has a member", delete().await, ErrorKind::Conflict)?;
    same("the first event", first.serial()?, 0)?;
    first.ack_confirmed().await?;
    same("the second event", next(&ctx, &mut events).await?.serial()?, 1)?;
    drop(events);
    // A broker may take a while to see that the member is gone.
    let deadline = Instant::now() + ctx.bounds().receive;
    loop {
        match delete().await {
            Err(error) if error.kind() == ErrorKind::Conflict && Instant::now() < deadline => {
                sleep(Duration::from_millis(10)).await;
            }
            outcome => break outcome?,
        }
    }
    refused("deleting it again", delete().await, ErrorKind::NotFound)?;
    let mut events = ctx.reader(&bus, &channel, Mode::Durable, "leaving").from_latest().await?;
    publish(&bus, &channel, 5..8).await?;
    read_all(&ctx, &mut events, &mut Ledger::expecting(5..8)).await
}
