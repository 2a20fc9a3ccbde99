//! B14: redelivery after a given time.

use std::time::Duration;

use pubsub_core::driver::Feature;
use tokio::time::Instant;

use crate::{
    conformance::{Case, Ctx, Ledger, Numbered, Verdict, ensure, next_n, publish_numbered, quiet, same, within},
    faulty::Fault,
};

pub(super) const CASES: &[Case] = &[Case {
    id: "B14",
    title: "an event nacked with a delay returns neither earlier nor much later, and holds up no other",
    needs: &[Feature::DurableGroup, Feature::Nack, Feature::DelayedNack],
    bites: &[Fault::NackDelayIgnored, Fault::IgnoreNack],
    run: |ctx| Box::pin(delayed(ctx)),
}];

async fn delayed(ctx: Ctx) -> Verdict {
    let (bus, channel) = (ctx.bus().await?, ctx.channel("b14")?);
    let delay = Duration::from_millis(ctx.count(400, 1_500) as u64);
    let mut events = bus.subscribe_channel(channel.as_str()).group("readers").await?;
    publish_numbered(&bus, &channel, 0..2, &mut Ledger::new()).await?;
    let started = Instant::now();
    for event in next_n(&ctx, &mut events, 2).await? {
        let pause = if event.serial()? == 0 { delay } else { Duration::ZERO };
        event.nack_after(pause)?;
    }
    for (serial, least) in [(1, Duration::ZERO), (0, delay)] {
        let limit = least + ctx.bounds().redelivery;
        let event = within(&mut events, limit, format!("event {serial}")).await?;
        let waited = started.elapsed();
        same("the event that comes next", event.serial()?, serial)?;
        // Clocks that count whole milliseconds may be one early.
        ensure(waited + Duration::from_millis(2) >= least, format!("a wait of {least:?}"), format!("{waited:?}"))?;
        ensure(waited <= limit, format!("a wait of at most {limit:?}"), format!("{waited:?}"))?;
        event.ack();
    }
    quiet(&ctx, &mut events).await
}
