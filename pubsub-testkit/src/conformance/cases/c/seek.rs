//! C8: moving an open subscription, and positions that retention has overtaken.

use std::ops::Range;

use pubsub_core::{
    ChannelPolicy, ErrorKind, EventItem, Events, Raw, Retention, StartPosition,
    driver::{Feature, GapReason, HistoryRange},
};
use tokio::time::timeout;

use crate::{
    conformance::{
        Case, Ctx, Failure, Ledger, Mode, Numbered, Verdict, cases::crowd::publish, ensure, next, next_n, read_all,
        refused, same,
    },
    faulty::Fault,
};

pub(super) const CASES: &[Case] = &[
    Case {
        id: "C8-seek",
        title: "seeking back delivers again what was acknowledged, seeking to the end passes over what was not",
        needs: &[Feature::DurableGroup, Feature::Seek, Feature::ReplayById],
        bites: &[Fault::WrongPosition, Fault::SeekIgnored],
        run: |ctx| Box::pin(seeks(ctx)),
    },
    Case {
        id: "C8-evicted",
        title: "a position whose successors are gone is refused as expired, to start from and to seek to",
        needs: &[Feature::DurableGroup, Feature::Seek, Feature::ReplayById],
        bites: &[Fault::WrongPosition],
        run: |ctx| Box::pin(evicted(ctx)),
    },
    Case {
        id: "C8-overtaken",
        title: "a group that retention overtakes is told how many events it has lost, and gets the others",
        needs: &[Feature::DurableGroup],
        bites: &[Fault::GapsSwallowed, Fault::LoseMessage],
        run: |ctx| Box::pin(overtaken(ctx)),
    },
];

async fn seeks(ctx: Ctx) -> Verdict {
    let (bus, channel) = (ctx.bus().await?, ctx.channel("c8-seek")?);
    let mut events = ctx.reader(&bus, &channel, Mode::Durable, "seeking").max_in_flight(4).await?;
    publish(&bus, &channel, 0..10).await?;
    let mut third = None;
    for event in next_n(&ctx, &mut events, 4).await? {
        if event.serial()? == 2 {
            third = event.position().cloned();
        }
        event.ack_confirmed().await?;
    }
    let third = third.ok_or_else(|| Failure::new("a position of each delivery", "none"))?;
    // One is in hand and three in the buffer: the seek takes all of them back.
    let held = next(&ctx, &mut events).await?;
    events.seek(StartPosition::After(third)).await?;
    ensure(!held.is_live(), "the lease of what was in hand to be gone", "a live one")?;
    held.ack();
    expect(&ctx, &mut events, 3..10).await?;
    events.seek(StartPosition::Earliest).await?;
    expect(&ctx, &mut events, 0..10).await?;
    publish(&bus, &channel, 10..12).await?;
    let held = next(&ctx, &mut events).await?;
    events.seek(StartPosition::Latest).await?;
    drop(held);
    publish(&bus, &channel, 12..14).await?;
    expect(&ctx, &mut events, 12..14).await
}

async fn expect(ctx: &Ctx, events: &mut Events<Raw>, serials: Range<usize>) -> Verdict {
    let mut ledger = Ledger::expecting(serials.clone());
    let read = read_all(ctx, events, &mut ledger).await;
    read.map_err(|failure| failure.during(format!("after seeking for {serials:?}")))
}

async fn evicted(ctx: Ctx) -> Verdict {
    let (kept, channel) = (5, ctx.channel("c8-evicted")?);
    let bus = ctx.bus_of(ChannelPolicy::new().retention(Retention::default().count(kept))).await?;
    let subscribed = ctx.reader(&bus, &channel, Mode::Durable, "slow").await;
    if subscribed.as_ref().is_err_and(|error| error.kind() == ErrorKind::Unsupported) {
        return Ok(()); // it keeps no counts, and says so when the channel is declared
    }
    let mut events = subscribed?;
    publish(&bus, &channel, 0..1).await?;
    let event = next(&ctx, &mut events).await?;
    let first = event.position().cloned().ok_or_else(|| Failure::new("a position of each delivery", "none"))?;
    event.ack_confirmed().await?;
    // Brokers remove in pieces and in their own time: publish until the position is gone.
    let start = StartPosition::After(first);
    let range = HistoryRange::new(channel.clone()).from(start.clone());
    for round in 1.. {
        publish(&bus, &channel, round * 100..(round + 1) * 100).await?;
        match bus.history(&range).await {
            Err(error) if error.kind() == ErrorKind::PositionExpired => break,
            Err(error) => return Err(error.into()),
            Ok(_) => ensure(round < 20, "an expired position", "history after it")?,
        }
    }
    let fresh = ctx.reader(&bus, &channel, Mode::Durable, "fresh").start(start.clone()).await;
    refused("starting after an expired position", fresh, ErrorKind::PositionExpired)?;
    refused("seeking to an expired position", events.seek(start).await, ErrorKind::PositionExpired)?;
    // The subscription goes on where it was.
    publish(&bus, &channel, 1..2).await?;
    while next(&ctx, &mut events).await?.serial()? != 1 {}
    Ok(())
}

async fn overtaken(ctx: Ctx) -> Verdict {
    let (kept, count, channel) = (20, ctx.count(500, 900), ctx.channel("c8-overtaken")?);
    let bus = ctx.bus_of(ChannelPolicy::new().retention(Retention::default().count(kept))).await?;
    let subscribed = ctx.reader(&bus, &channel, Mode::Durable, "slow").await;
    if subscribed.as_ref().is_err_and(|error| error.kind() == ErrorKind::Unsupported) {
        return Ok(()); // it keeps no counts, and says so when the channel is declared
    }
    drop(subscribed?);
    publish(&bus, &channel, 0..count).await?;
    let mut events = ctx.reader(&bus, &channel, Mode::Durable, "slow").await?;
    let (mut read, mut lost, limit) = (0, 0, ctx.bounds().receive);
    loop {
        let item = timeout(limit, events.next_item()).await;
        match item.map_err(|_| Failure::new(format!("an item within {limit:?}"), "none"))? {
            Some(Ok(EventItem::Gap(gap))) => {
                same("the gap's reason", gap.reason, GapReason::Retention)?;
                lost += gap.lost.unwrap_or(0);
            }
            Some(Ok(EventItem::Event(event))) => {
                let last = event.serial()? + 1 == count;
                event.ack();
                read += 1;
                if last {
                    break;
                }
            }
            Some(Ok(_)) => {}
            Some(Err(error)) => return Err(error.into()),
            None => return Err(Failure::new("an open subscription", "its end")),
        }
    }
    // Where removal lags behind, more than the limit may still be there, and even all.
    ensure(read >= kept, format!("at least the {kept} latest events"), read)?;
    let stats = events.stats();
    same("events read and lost", read + lost, count as u64)?;
    same("lost events in the counters", stats.lost, lost)
}
