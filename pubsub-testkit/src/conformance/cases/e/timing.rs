//! E16, E17: events that live only so long, and events for later.

use std::time::Duration;

use pubsub_core::{ChannelPolicy, ErrorKind, Timestamp, driver::Feature};
use tokio::time::sleep;

use crate::{
    conformance::{
        Case, Ctx, Ledger, Mode, Numbered, Verdict, cases::crowd::publish, ensure, next, numbered, quiet, read_all,
        refused,
    },
    faulty::Fault,
};

pub(super) const CASES: &[Case] = &[
    Case {
        id: "E16",
        title: "an event expires by its own time to live, else by its channel's; without either it lives",
        needs: &[Feature::DurableGroup, Feature::Ttl],
        bites: &[Fault::TtlIgnored],
        run: |ctx| Box::pin(expiry(ctx)),
    },
    Case {
        id: "E17",
        title: "scheduled events arrive not early, and not later than the bound",
        needs: &[Feature::DurableGroup, Feature::ScheduledPublish],
        bites: &[Fault::EarlyDelivery, Fault::LoseMessage],
        run: |ctx| Box::pin(scheduled(ctx)),
    },
    Case {
        id: "E17-limit",
        title: "a delay beyond the adapter's limit is refused, and nothing is sent",
        needs: &[Feature::DurableGroup, Feature::ScheduledPublish],
        bites: &[Fault::EarlyDelivery],
        run: |ctx| Box::pin(beyond_limit(ctx)),
    },
];

async fn expiry(ctx: Ctx) -> Verdict {
    let (short, long) = (Duration::from_millis(200), Duration::from_secs(60));
    // Channel's value, the event's own, whether it is still there.
    let table = [
        (None, None, true),
        (None, Some(short), false),
        (None, Some(long), true),
        (Some(short), None, false),
        (Some(short), Some(long), true),
        (Some(long), None, true),
        (Some(long), Some(short), false),
    ];
    let mut readers = Vec::new();
    for (channel_ttl, own, lives) in table {
        let policy = channel_ttl.map_or_else(ChannelPolicy::new, |ttl| ChannelPolicy::new().ttl(ttl));
        let (bus, channel) = (ctx.bus_of(policy).await?, ctx.channel("e16")?);
        // The group is there, nobody reads.
        drop(ctx.reader(&bus, &channel, Mode::Durable, "late").await?);
        let publish = bus.publish_envelope(numbered(&channel, 0)?);
        match own {
            Some(ttl) => publish.ttl(ttl).await?,
            None => publish.await?,
        };
        readers.push((format!("channel {channel_ttl:?}, event {own:?}"), bus, channel, lives));
    }
    sleep(short + ctx.bounds().quiet.max(short)).await;
    for (what, bus, channel, lives) in readers {
        let mut events = ctx.reader(&bus, &channel, Mode::Durable, "late").await?;
        let mut ledger = Ledger::expecting(if lives { 0..1 } else { 0..0 });
        read_all(&ctx, &mut events, &mut ledger).await.map_err(|failure| failure.during(&what))?;
    }
    Ok(())
}

async fn scheduled(ctx: Ctx) -> Verdict {
    let count = ctx.count(3, 30);
    let (bus, channel) = (ctx.bus().await?, ctx.channel("e17")?);
    let limits = bus.capabilities().limits;
    let late = ctx.bounds().redelivery + limits.delay_granularity.unwrap_or_default();
    let mut events = ctx.reader(&bus, &channel, Mode::Durable, "later").await?;
    // The first ones published are due last, and the very last at once.
    let (mut due, mut tickets) = (Vec::new(), Vec::new());
    for serial in 0..count {
        let at = Timestamp::now().saturating_add(Duration::from_millis(300 + 100 * (count - serial) as u64));
        tickets.push(bus.publish_envelope(numbered(&channel, serial)?).deliver_at(at).enqueue().await?);
        due.push(at);
    }
    due.push(Timestamp::now());
    publish(&bus, &channel, count..count + 1).await?;
    for ticket in tickets {
        ticket.await?;
    }
    let mut ledger = Ledger::expecting(0..=count);
    while !ledger.is_complete() {
        let event = next(&ctx, &mut events).await?;
        let (serial, now) = (event.serial()?, Timestamp::now());
        let Some(at) = due.get(serial) else { continue };
        ensure(now >= *at, format!("{serial} not before {at}"), now)?;
        ensure(now.since(*at) <= late, format!("{serial} within {late:?} of {at}"), now)?;
        ledger.saw(serial);
        event.ack();
    }
    quiet(&ctx, &mut events).await?;
    ledger.verdict(&ctx.bounds())
}

async fn beyond_limit(ctx: Ctx) -> Verdict {
    let (bus, channel) = (ctx.bus().await?, ctx.channel("e17")?);
    let Some(limit) = bus.capabilities().limits.max_delay else { return Ok(()) }; // it has none
    let mut events = ctx.reader(&bus, &channel, Mode::Durable, "never").await?;
    let beyond = bus.publish_envelope(numbered(&channel, 0)?).delay(limit + Duration::from_secs(60)).await;
    refused("a delay beyond the limit", beyond, ErrorKind::Invalid)?;
    let within = limit.saturating_sub(Duration::from_secs(60));
    bus.publish_envelope(numbered(&channel, 1)?).delay(within).await?;
    quiet(&ctx, &mut events).await
}
