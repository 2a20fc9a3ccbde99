//! D1, D6: many events on their way at a time, and what their sender is told.

use futures_util::{FutureExt, future::join_all};
use pubsub_core::driver::Feature;

use crate::{
    conformance::{
        Case, Ctx, Failure, Ledger, Mode, Numbered, Verdict, cases::crowd::publish, ensure, next_n, numbered, quiet,
        read_all,
    },
    faulty::Fault,
};

pub(super) const CASES: &[Case] = &[
    Case {
        id: "D1",
        title: "concurrent sends and acknowledgements resolve when the broker has them, and a flush waits for all",
        needs: &[Feature::DurableGroup],
        bites: &[Fault::PublishUnconfirmedSuccess, Fault::LoseMessage, Fault::DropAck],
        run: |ctx| Box::pin(concurrent(ctx, Mode::Durable)),
    },
    Case {
        id: "D1-ephemeral",
        title: "concurrent sends to a broadcast resolve when the broker has them, and a flush waits for all",
        needs: &[Feature::EphemeralBroadcast],
        bites: &[Fault::PublishUnconfirmedSuccess, Fault::LoseMessage],
        run: |ctx| Box::pin(concurrent(ctx, Mode::Ephemeral)),
    },
    Case {
        id: "D6",
        title: "closing flushes what was enqueued and what was acknowledged",
        needs: &[Feature::DurableGroup],
        bites: &[Fault::PublishUnconfirmedSuccess, Fault::DropAck],
        run: |ctx| Box::pin(close_flushes(ctx, Mode::Durable)),
    },
    Case {
        id: "D6-ephemeral",
        title: "closing flushes what was enqueued for a broadcast",
        needs: &[Feature::EphemeralBroadcast],
        bites: &[Fault::PublishUnconfirmedSuccess, Fault::LoseMessage],
        run: |ctx| Box::pin(close_flushes(ctx, Mode::Ephemeral)),
    },
];

async fn concurrent(ctx: Ctx, mode: Mode) -> Verdict {
    let count = ctx.count(12, 600);
    let (bus, channel) = (ctx.bus_in(mode).await?, ctx.channel("d1")?);
    let mut events = mode.bound(ctx.reader(&bus, &channel, mode, "batch"), 2 * count).await?;
    let mut ledger = Ledger::new();
    let sends = join_all((0..count).map(|serial| publish(&bus, &channel, serial..serial + 1))).await;
    for (serial, sent) in sends.into_iter().enumerate() {
        sent?;
        ledger.confirm(serial);
    }
    let mut tickets = Vec::new();
    for serial in count..2 * count {
        tickets.push(bus.publish_envelope(numbered(&channel, serial)?).enqueue().await?);
        ledger.confirm(serial);
    }
    bus.flush().await?;
    for ticket in tickets {
        ticket.now_or_never().ok_or_else(|| Failure::new("every ticket resolved by the flush", "an open one"))??;
    }
    let held = next_n(&ctx, &mut events, 2 * count).await?;
    for event in &held {
        ledger.saw(event.serial()?);
    }
    ledger.verdict(&ctx.bounds())?;
    if mode == Mode::Ephemeral {
        return Ok(()); // nothing to settle
    }
    for settled in join_all(held.into_iter().map(|event| event.ack_confirmed())).await {
        settled?;
    }
    drop(events);
    let mut again = ctx.reader(&ctx.bus().await?, &channel, Mode::Durable, "batch").await?;
    quiet(&ctx, &mut again).await
}

async fn close_flushes(ctx: Ctx, mode: Mode) -> Verdict {
    let (closing, other, channel) = (ctx.bus_in(mode).await?, ctx.bus_in(mode).await?, ctx.channel("d6")?);
    let mut events = ctx.reader(&closing, &channel, mode, "batch").await?;
    publish(&other, &channel, 0..5).await?;
    for event in next_n(&ctx, &mut events, 5).await? {
        event.ack();
    }
    drop(events);
    let early = match mode {
        Mode::Durable => None,
        Mode::Ephemeral => Some(ctx.reader(&other, &channel, mode, "batch").await?),
    };
    let (mut tickets, count) = (Vec::new(), ctx.count(300, 300));
    for serial in 5..5 + count {
        tickets.push(closing.publish_envelope(numbered(&channel, serial)?).enqueue().await?);
    }
    closing.close(ctx.bounds().close).await?;
    for ticket in tickets {
        let told = ticket.now_or_never();
        ensure(matches!(told, Some(Ok(_))), "every ticket confirmed by the close", format!("{told:?}"))?;
    }
    let mut ledger = Ledger::expecting(5..5 + count);
    let mut events = match early {
        Some(events) => events,
        None => ctx.reader(&other, &channel, mode, "batch").await?,
    };
    read_all(&ctx, &mut events, &mut ledger).await
}
