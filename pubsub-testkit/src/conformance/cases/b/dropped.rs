//! B9: what is dropped unsettled comes again.

use pubsub_core::driver::Feature;

use super::nack::eager;
use crate::{
    conformance::{Case, Ctx, Failure, Ledger, Verdict, next, publish_numbered, quiet, same},
    faulty::Fault,
};

pub(super) const CASES: &[Case] = &[Case {
    id: "B9",
    title: "an event dropped unsettled, or whose task is aborted or panics, comes again and counts an attempt",
    needs: &[Feature::DurableGroup, Feature::DeliveryCount],
    bites: &[Fault::DropAcks, Fault::AttemptStuck],
    run: |ctx| Box::pin(dropped(ctx)),
}];

async fn dropped(ctx: Ctx) -> Verdict {
    let (bus, channel) = (ctx.bus().await?, ctx.channel("b9")?);
    let mut events = bus.subscribe_channel(channel.as_str()).group("readers").retry(eager()).await?;
    publish_numbered(&bus, &channel, 0..1, &mut Ledger::new()).await?;

    let event = next(&ctx, &mut events).await?;
    same("the attempt of the first delivery", event.attempt(), 1)?;
    drop(event);

    let event = next(&ctx, &mut events).await.map_err(|failure| failure.during("after a plain drop"))?;
    same("the attempt after a plain drop", event.attempt(), 2)?;
    let stuck = tokio::spawn(async move {
        let _held = event;
        std::future::pending::<()>().await;
    });
    tokio::task::yield_now().await;
    stuck.abort();

    let event = next(&ctx, &mut events).await.map_err(|failure| failure.during("after an aborted task"))?;
    same("the attempt after an aborted task", event.attempt(), 3)?;
    let panicking = tokio::spawn(async move {
        let _held = event;
        // Unwinds as a panic does, without its message on the terminal.
        std::panic::resume_unwind(Box::new("on purpose"));
    });
    match panicking.await {
        Err(error) if error.is_panic() => {}
        other => return Err(Failure::new("a task that panicked", format!("{other:?}"))),
    }

    let event = next(&ctx, &mut events).await.map_err(|failure| failure.during("after a panic"))?;
    same("the attempt after a panic", event.attempt(), 4)?;
    event.ack();
    quiet(&ctx, &mut events).await
}
