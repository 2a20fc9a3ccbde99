//! C8: what retention removes, and how those learn of it who wanted it.

use std::{ops::Range, time::Duration};

use pubsub_core::{
    ChannelName, ChannelPolicy, ErrorKind, EventItem, Position, PubSub, Retention, StartPosition,
    driver::{ChannelSpec, Feature, GapReason, HistoryRange, Stored, Topology, TopologyMode},
};
use tokio::time::{Instant, sleep, timeout};

use crate::{
    conformance::{Case, Ctx, Failure, Mode, Numbered, Verdict, ensure, heavy, next, refused, same},
    faulty::Fault,
};

pub(super) const CASES: &[Case] = &[
    Case {
        id: "C8-expired",
        title: "a position whose successors are gone is refused as expired, to start from and to read from",
        needs: &[Feature::LosslessBroadcast, Feature::ReplayById],
        bites: &[Fault::WrongPosition],
        run: |ctx| Box::pin(expired(ctx)),
    },
    Case {
        id: "C8-evicted",
        title: "a position whose successors are gone is refused as expired when a group seeks to it",
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
    Case {
        id: "C8-age",
        title: "events older than the channel keeps them are removed, younger ones stay",
        needs: &[Feature::LosslessBroadcast, Feature::ReplayById],
        bites: &[Fault::RetentionIgnored],
        run: |ctx| Box::pin(aged(ctx)),
    },
    Case {
        id: "C8-bytes",
        title: "of a channel that keeps so many bytes the oldest events are removed, the latest stay",
        needs: &[Feature::LosslessBroadcast, Feature::ReplayById],
        bites: &[Fault::RetentionIgnored],
        run: |ctx| Box::pin(weighed(ctx)),
    },
];

/// The payload of one event. Brokers that remove whole segments need some weight.
const SIZE: usize = 32 << 10;
/// How much a channel keeps that keeps bytes: the smallest segment of any broker.
const BYTES: u64 = 1 << 20;
/// How many events are more than that, whatever a broker keeps beyond its limit.
const PLENTY: usize = 192;
/// How many events a channel keeps that keeps a number.
const KEPT: u64 = 20;
/// A handle whose channels keep what `retention` says, or none where the broker cannot keep it that way and says so.
async fn keeping(ctx: &Ctx, channel: &ChannelName, retention: Retention, field: &str) -> Verdict<Option<PubSub>> {
    let policy = ChannelPolicy::new().retention(retention);
    let bus = ctx.bus_of(policy.clone()).await?;
    let wanted = Topology::new(TopologyMode::Create).channel(ChannelSpec::new(channel.clone(), policy));
    match bus.ensure(&wanted).await {
        Ok(_) => Ok(Some(bus)),
        Err(error) if error.kind() == ErrorKind::Unsupported => {
            let named = error.message().contains(field);
            ensure(named, format!("a refusal that names `{field}`"), error.message())?;
            Ok(None)
        }
        Err(error) => Err(error.into()),
    }
}

/// A handle whose channels keep little: by number where the broker can, by bytes elsewhere; none where it keeps all.
async fn keeping_little(ctx: &Ctx, channel: &ChannelName) -> Verdict<Option<PubSub>> {
    if let Some(bus) = keeping(ctx, channel, Retention::default().count(KEPT), "retention.count").await? {
        return Ok(Some(bus));
    }
    keeping(ctx, channel, Retention::default().bytes(BYTES), "retention.bytes").await
}

async fn publish(bus: &PubSub, channel: &ChannelName, serials: Range<usize>) -> Verdict {
    let mut tickets = Vec::with_capacity(serials.len());
    for serial in serials {
        tickets.push(bus.publish_envelope(heavy(channel, serial, SIZE)?).enqueue().await?);
    }
    for ticket in tickets {
        ticket.await?;
    }
    Ok(())
}

/// The oldest event that is still there; none where the broker has removed them all.
async fn oldest(bus: &PubSub, channel: &ChannelName) -> Verdict<Option<Stored>> {
    let page = bus.history(&HistoryRange::new(channel.clone()).limit(1)).await?;
    Ok(page.events.into_iter().next())
}

async fn present(bus: &PubSub, channel: &ChannelName) -> Verdict<Stored> {
    oldest(bus, channel).await?.ok_or_else(|| Failure::new("the latest events in the history", "nothing"))
}

/// Waits until the broker has removed the first event, which it does in its own time, some only when something comes:
/// these serials, one by one. Returns the first of them that was not needed.
async fn until_removed(ctx: &Ctx, bus: &PubSub, channel: &ChannelName, mut more: Range<usize>) -> Verdict<usize> {
    let time = ctx.bounds().receive * 3;
    let limit = Instant::now() + time;
    while let Some(stored) = oldest(bus, channel).await?
        && stored.message.serial()? == 0
    {
        let text = format!("the first event of the channel to be gone within {time:?}");
        ensure(Instant::now() < limit, &text, "that it is still there")?;
        if let Some(serial) = more.next() {
            publish(bus, channel, serial..serial + 1).await?;
        }
        sleep(Duration::from_millis(100)).await;
    }
    Ok(more.start)
}

/// A channel whose first event retention has removed, and where that lay.
async fn overrun(ctx: &Ctx, channel: &ChannelName) -> Verdict<Option<(PubSub, Position)>> {
    let Some(bus) = keeping_little(ctx, channel).await? else { return Ok(None) };
    publish(&bus, channel, 0..1).await?;
    let first = present(&bus, channel).await?.position;
    publish(&bus, channel, 1..PLENTY).await?;
    until_removed(ctx, &bus, channel, 0..0).await?;
    Ok(Some((bus, first)))
}

async fn expired(ctx: Ctx) -> Verdict {
    let channel = ctx.channel("c8-expired")?;
    let Some((bus, first)) = overrun(&ctx, &channel).await? else { return Ok(()) };
    let read = bus.history(&HistoryRange::new(channel.clone()).from(StartPosition::After(first.clone()))).await;
    refused("reading after an expired position", read, ErrorKind::PositionExpired)?;
    let subscribed = bus.subscribe_channel(channel.as_str()).after(first).await;
    refused("starting after an expired position", subscribed, ErrorKind::PositionExpired)?;
    // Who asks for what there is gets it, up to the latest.
    let place = present(&bus, &channel).await?;
    let mut events = bus.subscribe_channel(channel.as_str()).after(place.position).await?;
    let expected = place.message.serial()? + 1;
    same("the event after the oldest", next(&ctx, &mut events).await?.serial()?, expected)
}

async fn evicted(ctx: Ctx) -> Verdict {
    let channel = ctx.channel("c8-evicted")?;
    let Some((bus, first)) = overrun(&ctx, &channel).await? else { return Ok(()) };
    let fresh = ctx.reader(&bus, &channel, Mode::Durable, "fresh").after(first.clone()).await;
    refused("a group that starts after an expired position", fresh, ErrorKind::PositionExpired)?;
    let mut events = ctx.reader(&bus, &channel, Mode::Durable, "reader").from_latest().await?;
    let sought = events.seek(StartPosition::After(first)).await;
    refused("seeking to an expired position", sought, ErrorKind::PositionExpired)?;
    // The subscription goes on where it was.
    publish(&bus, &channel, PLENTY..PLENTY + 1).await?;
    same("the event after a refused seek", next(&ctx, &mut events).await?.serial()?, PLENTY)
}

async fn overtaken(ctx: Ctx) -> Verdict {
    let channel = ctx.channel("c8-overtaken")?;
    let Some(bus) = keeping_little(&ctx, &channel).await? else { return Ok(()) };
    drop(ctx.reader(&bus, &channel, Mode::Durable, "slow").await?);
    publish(&bus, &channel, 0..PLENTY).await?;
    if bus.capabilities().has(Feature::ReplayById) {
        until_removed(&ctx, &bus, &channel, 0..0).await?;
    }
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
                let last = event.serial()? + 1 == PLENTY;
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
    // A group with a queue of its own loses nothing; one that reads the log may find more than the limit, or even all.
    ensure(read >= KEPT, format!("at least the {KEPT} latest events"), read)?;
    let stats = events.stats();
    same("events read and lost", read + lost, PLENTY as u64)?;
    same("lost events in the counters", stats.lost, lost)
}

async fn aged(ctx: Ctx) -> Verdict {
    const AGE: Duration = Duration::from_secs(2);
    let channel = ctx.channel("c8-age")?;
    // With a bound in bytes, segments are small enough for the age to show; all that is published stays below it.
    let age = Retention::default().age(AGE);
    let bus = match keeping(&ctx, &channel, age.bytes(BYTES * 8), "retention.").await? {
        Some(bus) => bus,
        None => match keeping(&ctx, &channel, age, "retention.age").await? {
            Some(bus) => bus,
            None => return Ok(()),
        },
    };
    publish(&bus, &channel, 0..64).await?;
    sleep(AGE + AGE / 4).await;
    publish(&bus, &channel, 64..128).await?;
    let last = until_removed(&ctx, &bus, &channel, 128..200).await?;
    stays(&bus, &channel, last).await
}

async fn weighed(ctx: Ctx) -> Verdict {
    let channel = ctx.channel("c8-bytes")?;
    let bytes = Retention::default().bytes(BYTES);
    let Some(bus) = keeping(&ctx, &channel, bytes, "retention.bytes").await? else { return Ok(()) };
    publish(&bus, &channel, 0..PLENTY).await?;
    let last = until_removed(&ctx, &bus, &channel, PLENTY..2 * PLENTY).await?;
    stays(&bus, &channel, last).await
}

/// The event published last is still there.
async fn stays(bus: &PubSub, channel: &ChannelName, published: usize) -> Verdict {
    publish(bus, channel, published..published + 1).await?;
    let mut range = HistoryRange::new(channel.clone()).limit(1_000);
    let mut latest = None;
    loop {
        let page = bus.history(&range).await?;
        if let Some(stored) = page.events.last() {
            latest = Some(stored.message.serial()?);
        }
        match page.next {
            Some(next) if !page.at_end => range = range.from(StartPosition::After(next)),
            _ => break,
        }
    }
    same("the latest event in the history", latest, Some(published))
}
