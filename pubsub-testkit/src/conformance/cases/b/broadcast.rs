//! B21: what has no settlement says so.

use std::time::Duration;

use pubsub_core::{ErrorKind, driver::Feature};

use crate::{
    conformance::{Case, Ctx, Ledger, Mode, Verdict, next, publish_numbered, quiet, refused},
    faulty::Fault,
};

pub(super) const CASES: &[Case] = &[Case {
    id: "B21",
    title: "an ephemeral broadcast refuses nack, reject, extension, groups and history, and takes an ack",
    needs: &[Feature::EphemeralBroadcast],
    bites: &[Fault::SilentUnsupported, Fault::Duplicate],
    run: |ctx| Box::pin(no_settlement(ctx)),
}];

async fn no_settlement(ctx: Ctx) -> Verdict {
    let (bus, channel) = (ctx.bus_in(Mode::Ephemeral).await?, ctx.channel("b21")?);
    let all = || bus.subscribe_channel(channel.as_str());
    let mut events = all().await?;
    publish_numbered(&bus, &channel, 0..5, &mut Ledger::new()).await?;
    refused("a nack", next(&ctx, &mut events).await?.nack(), ErrorKind::Unsupported)?;
    let minute = Duration::from_secs(60);
    refused("a delayed nack", next(&ctx, &mut events).await?.nack_after(minute), ErrorKind::Unsupported)?;
    refused("a reject", next(&ctx, &mut events).await?.reject("no"), ErrorKind::Unsupported)?;
    refused("an extension", next(&ctx, &mut events).await?.extend(minute).await, ErrorKind::Unsupported)?;
    next(&ctx, &mut events).await?.ack_confirmed().await?;
    quiet(&ctx, &mut events).await?;
    refused("a group", all().group("readers").await, ErrorKind::Unsupported)?;
    refused("a start in the past", all().from_earliest().await, ErrorKind::Unsupported).map(drop)
}
