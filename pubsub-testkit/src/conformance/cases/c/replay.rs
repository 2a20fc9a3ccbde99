//! C7, C8: where a fresh reader starts.

use std::time::Duration;

use pubsub_core::{
    Clock, Position, StartPosition, Timestamp,
    driver::{Feature, Support},
};

use crate::{
    conformance::{
        Case, Ctx, Failure, Ledger, Mode, Numbered, Verdict, cases::crowd::publish, ensure, next, quiet, read_all, same,
    },
    faulty::Fault,
};

pub(super) const CASES: &[Case] = &[
    Case {
        id: "C7",
        title: "in rounds of publishing, a new group reads all history, the older ones only what is new",
        needs: &[Feature::DurableGroup, Feature::Backlog],
        bites: &[Fault::NoBacklog, Fault::LoseMessage, Fault::RedeliverAcked],
        run: |ctx| Box::pin(newcomers(ctx, Mode::Durable)),
    },
    Case {
        id: "C7-broadcast",
        title: "in rounds of publishing, a new broadcast reads all history, the older ones only what is new",
        needs: &[Feature::LosslessBroadcast, Feature::Backlog],
        bites: &[Fault::NoBacklog, Fault::LoseMessage],
        run: |ctx| Box::pin(newcomers(ctx, Mode::Ephemeral)),
    },
    Case {
        id: "C8-latest",
        title: "a group that starts at the end gets nothing of before",
        needs: &[Feature::DurableGroup],
        bites: &[Fault::WrongPosition],
        run: |ctx| Box::pin(from_latest(ctx)),
    },
    Case {
        id: "C8-position",
        title: "a reader that starts after a position gets the next event first, and none twice",
        needs: &[Feature::DurableGroup, Feature::Backlog, Feature::ReplayById],
        bites: &[Fault::WrongPosition],
        run: |ctx| Box::pin(from_position(ctx)),
    },
    Case {
        id: "C8-time",
        title: "a reader that starts at a time gets what arrived then or later",
        needs: &[Feature::DurableGroup, Feature::ReplayByTime],
        bites: &[Fault::WrongPosition],
        run: |ctx| Box::pin(from_time(ctx)),
    },
];

/// Both modes read a durable channel: by groups, or by broadcasts.
async fn newcomers(ctx: Ctx, mode: Mode) -> Verdict {
    let each = ctx.count(20, 100);
    let (bus, channel) = (ctx.bus().await?, ctx.channel("c7")?);
    let mut readers = Vec::new();
    for round in 0..3 {
        publish(&bus, &channel, round * each..(round + 1) * each).await?;
        let group = ctx.group("newcomer");
        let newcomer = ctx.reader(&bus, &channel, mode, &group).from_earliest().await?;
        readers.push(newcomer);
        for (age, events) in readers.iter_mut().rev().enumerate() {
            let start = if age == 0 { 0 } else { round * each };
            let mut ledger = Ledger::expecting(start..(round + 1) * each);
            let read = read_all(&ctx, events, &mut ledger).await;
            read.map_err(|failure| failure.during(format!("round {round}, reader {age}")))?;
        }
    }
    Ok(())
}

async fn from_latest(ctx: Ctx) -> Verdict {
    let (bus, channel) = (ctx.bus().await?, ctx.channel("c8")?);
    publish(&bus, &channel, 0..5).await?;
    let mut events = ctx.reader(&bus, &channel, Mode::Durable, "late").from_latest().await?;
    publish(&bus, &channel, 5..10).await?;
    let mut ledger = Ledger::expecting(5..10);
    read_all(&ctx, &mut events, &mut ledger).await
}

async fn from_position(ctx: Ctx) -> Verdict {
    let (bus, channel) = (ctx.bus().await?, ctx.channel("c8")?);
    publish(&bus, &channel, 0..10).await?;
    let mut scout = ctx.reader(&bus, &channel, Mode::Durable, "scouts").from_earliest().await?;
    let mut fifth: Option<Position> = None;
    for serial in 0..10 {
        let event = next(&ctx, &mut scout).await?;
        same("the next serial", event.serial()?, serial)?;
        if serial == 4 {
            fifth = event.position().cloned();
        }
        event.ack();
    }
    let fifth = fifth.ok_or_else(|| Failure::new("a position of each delivery", "none"))?;
    // As a client would keep it.
    let fifth: Position = fifth.to_string().parse()?;
    let start = StartPosition::After(fifth);
    for mode in [Mode::Durable, Mode::Ephemeral] {
        if mode == Mode::Ephemeral && !bus.capabilities().has(Feature::LosslessBroadcast) {
            continue;
        }
        let mut events = ctx.reader(&bus, &channel, mode, "after").start(start.clone()).await?;
        let mut ledger = Ledger::expecting(5..10);
        read_all(&ctx, &mut events, &mut ledger).await?;
    }
    Ok(())
}

async fn from_time(ctx: Ctx) -> Verdict {
    // The broker stamps by its own clock, in milliseconds: the time in between must be clear of both sides.
    let apart = Duration::from_millis(50);
    let (bus, channel) = (ctx.bus().await?, ctx.channel("c8")?);
    publish(&bus, &channel, 0..5).await?;
    let clock = Clock::system();
    clock.sleep(apart).await;
    let between: Timestamp = clock.now();
    clock.sleep(apart).await;
    publish(&bus, &channel, 5..10).await?;
    let weak = bus.capabilities().support(Feature::ReplayByTime) == Support::Weak;
    let mut events = ctx.reader(&bus, &channel, Mode::Durable, "then").from_time(between).await?;
    let mut ledger = Ledger::expecting(5..10);
    while !ledger.is_complete() {
        let event = next(&ctx, &mut events).await?;
        let serial = event.serial()?;
        event.ack();
        // A weak promise may start with earlier events, but misses none.
        ensure(weak || serial >= 5, "nothing from before that time", serial)?;
        if serial >= 5 {
            ledger.saw(serial);
        }
    }
    quiet(&ctx, &mut events).await?;
    ledger.verdict(&ctx.bounds())
}
