//! E2: futures that are dropped.

use std::time::Duration;

use futures_util::FutureExt;
use pubsub_core::driver::Feature;
use tokio::time::{Instant, timeout};

use crate::{
    conformance::{
        Case, Ctx, Failure, Ledger, Mode, Numbered, Verdict, cases::crowd::publish, ensure, next, next_n, numbered,
        quiet, read_all,
    },
    faulty::Fault,
};

pub(super) const CASES: &[Case] = &[
    Case {
        id: "E2",
        title: "receives that are given up lose no event",
        needs: &[Feature::DurableGroup],
        bites: &[Fault::LoseMessage, Fault::DropAck, Fault::CancelLoses],
        run: |ctx| Box::pin(receives(ctx, Mode::Durable)),
    },
    Case {
        id: "E2-ephemeral",
        title: "receives of a broadcast that are given up lose no event",
        needs: &[Feature::EphemeralBroadcast],
        bites: &[Fault::LoseMessage, Fault::CancelLoses],
        run: |ctx| Box::pin(receives(ctx, Mode::Ephemeral)),
    },
    Case {
        id: "E2-publish",
        title: "a publish given up before its first poll sends nothing, one given up later sends at most one event",
        needs: &[Feature::DurableGroup],
        bites: &[Fault::Duplicate, Fault::PublishUnconfirmedSuccess],
        run: |ctx| Box::pin(sends(ctx, Mode::Durable)),
    },
    Case {
        id: "E2-publish-ephemeral",
        title: "as E2-publish, on an ephemeral channel",
        needs: &[Feature::EphemeralBroadcast],
        bites: &[Fault::Duplicate, Fault::PublishUnconfirmedSuccess],
        run: |ctx| Box::pin(sends(ctx, Mode::Ephemeral)),
    },
    Case {
        id: "E2-subscribe",
        title: "a subscribe that is given up leaves no member that takes events",
        needs: &[Feature::DurableGroup],
        bites: &[Fault::LoseMessage, Fault::CancelLeavesMember],
        run: |ctx| Box::pin(subscribes(ctx)),
    },
];

async fn receives(ctx: Ctx, mode: Mode) -> Verdict {
    let count = ctx.count(300, 3_000);
    let (bus, channel) = (ctx.bus_in(mode).await?, ctx.channel("e2")?);
    let mut events = mode.in_flight(ctx.reader(&bus, &channel, mode, "impatient"), 16).await?;
    let brief = Duration::from_millis(1);
    let (mut given_up, mut ledger) = (0, Ledger::expecting(0..count));
    let reading = async {
        let mut latest = Instant::now();
        while !ledger.is_complete() && latest.elapsed() < ctx.bounds().receive {
            // Given up after its first poll, and after some time.
            let event = match events.next().now_or_never() {
                Some(event) => Some(event),
                None => timeout(brief, events.next()).await.ok(),
            };
            let Some(event) = event else {
                given_up += 1;
                continue;
            };
            latest = Instant::now();
            let event = event.ok_or_else(|| Failure::new("an open subscription", "its end"))??;
            ledger.saw(event.serial()?);
            event.ack();
        }
        Verdict::Ok(())
    };
    let publishing = async {
        for serial in 0..count {
            if serial % 10 == 0 {
                tokio::time::sleep(brief * 2).await;
            }
            publish(&bus, &channel, serial..serial + 1).await?;
        }
        Verdict::Ok(())
    };
    let (read, published) = tokio::join!(reading, publishing);
    published.and(read)?;
    quiet(&ctx, &mut events).await?;
    ensure(given_up > 0, "some receives that were given up", "none")?;
    ledger.verdict(&ctx.bounds())
}

async fn sends(ctx: Ctx, mode: Mode) -> Verdict {
    let (bus, channel) = (ctx.bus_in(mode).await?, ctx.channel("e2")?);
    let mut events = ctx.reader(&bus, &channel, mode, "readers").await?;
    publish(&bus, &channel, 0..1).await?;
    drop(bus.publish_envelope(numbered(&channel, 1)?));
    drop(bus.publish_envelope(numbered(&channel, 2)?).enqueue());
    for serial in 3..10 {
        let _ = bus.publish_envelope(numbered(&channel, serial)?).now_or_never();
    }
    publish(&bus, &channel, 10..11).await?;
    let mut ledger = Ledger::expecting([0, 10]);
    let mut perhaps = std::collections::BTreeSet::from_iter(3..10);
    while !ledger.is_complete() {
        let event = next(&ctx, &mut events).await?;
        match event.serial()? {
            serial if perhaps.remove(&serial) => {}
            serial => drop(ledger.saw(serial)),
        }
        event.ack();
    }
    // The last one may be overtaken by those before it where no order is promised.
    while let Some(event) = events.next_timeout(ctx.bounds().quiet).await? {
        let serial = event.serial()?;
        ensure(perhaps.remove(&serial), "events that were given up, once", serial)?;
        event.ack();
    }
    ledger.verdict(&ctx.bounds())
}

async fn subscribes(ctx: Ctx) -> Verdict {
    let (bus, channel) = (ctx.bus().await?, ctx.channel("e2")?);
    let mut events = ctx.reader(&bus, &channel, Mode::Durable, "members").max_in_flight(5).await?;
    for micros in [0, 0, 50, 500] {
        let other = ctx.bus().await?;
        let opening = ctx.reader(&other, &channel, Mode::Durable, "members").into_future();
        drop(timeout(Duration::from_micros(micros), opening).await);
    }
    let mut ledger = Ledger::expecting(0..20);
    publish(&bus, &channel, 0..20).await?;
    // While this one may take no more, a member left behind would.
    let held = next_n(&ctx, &mut events, 5).await?;
    quiet(&ctx, &mut events).await?;
    for event in held {
        ledger.saw(event.serial()?);
        event.ack();
    }
    read_all(&ctx, &mut events, &mut ledger).await
}
