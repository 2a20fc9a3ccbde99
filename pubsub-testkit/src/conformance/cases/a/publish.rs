//! A1–A4: what is published arrives, once and whole.

use pubsub_core::driver::Feature;

use crate::{
    conformance::{Case, Ctx, Ledger, Mode, Numbered, Verdict, next, numbered, quiet},
    faulty::Fault,
};

pub(super) const CASES: &[Case] = &[
    Case {
        id: "A2",
        title: "what is published after a group subscribed arrives once, payload and header equal",
        needs: &[Feature::DurableGroup],
        bites: &[Fault::LoseMessage, Fault::Duplicate],
        run: |ctx| Box::pin(subscribe_first(ctx, Mode::Durable)),
    },
    Case {
        id: "A2-ephemeral",
        title: "what is published after a broadcast subscribed arrives once, payload and header equal",
        needs: &[Feature::EphemeralBroadcast],
        bites: &[Fault::LoseMessage, Fault::Duplicate],
        run: |ctx| Box::pin(subscribe_first(ctx, Mode::Ephemeral)),
    },
];

async fn subscribe_first(ctx: Ctx, mode: Mode) -> Verdict {
    let count = ctx.count(100, 100);
    let (bus, channel) = (ctx.bus_in(mode).await?, ctx.channel("a2")?);
    let mut events = ctx.reader(&bus, &channel, mode, "readers").await?;
    let mut ledger = Ledger::new();
    for serial in 0..count {
        bus.publish_envelope(numbered(&channel, serial)?).await?;
        ledger.confirm(serial);
    }
    while !ledger.is_complete() {
        let event = next(&ctx, &mut events).await?;
        ledger.saw(event.serial()?);
        event.ack();
    }
    quiet(&ctx, &mut events).await?;
    ledger.verdict(&ctx.bounds())
}
