//! A14: what is too large is refused before anything is sent.

use pubsub_core::{ChannelPolicy, Envelope, ErrorKind, Payload, driver::Feature};

use crate::{
    conformance::{Case, Ctx, Ledger, Mode, Verdict, numbered, publish_numbered, read_all, refused, text},
    faulty::Fault,
};

/// Adapters with a larger limit than this are held to their policies only.
const TESTABLE: usize = 8 << 20;

pub(super) const CASES: &[Case] = &[
    Case {
        id: "A14",
        title: "an oversized event is refused, and a batch with one oversized event sends nothing",
        needs: &[Feature::DurableGroup],
        bites: &[Fault::OversizeConfirmed, Fault::LoseMessage],
        run: |ctx| Box::pin(oversized(ctx, Mode::Durable)),
    },
    Case {
        id: "A14-ephemeral",
        title: "an oversized event is refused on an ephemeral channel, alone and in a batch",
        needs: &[Feature::EphemeralBroadcast],
        bites: &[Fault::OversizeConfirmed, Fault::LoseMessage],
        run: |ctx| Box::pin(oversized(ctx, Mode::Ephemeral)),
    },
];

async fn oversized(ctx: Ctx, mode: Mode) -> Verdict {
    let policy = |bytes| -> ChannelPolicy { mode.policy().max_payload(bytes) };
    let (bus, channel) = (ctx.bus_of(policy(1_000)).await?, ctx.channel("a14")?);
    let large = |bytes: usize| -> Verdict<Envelope> {
        Ok(Envelope { payload: Payload::bytes(vec![b'x'; bytes]), ..text(&channel, "")? })
    };
    let mut events = ctx.reader(&bus, &channel, mode, "readers").await?;
    refused("an event above the policy's limit", bus.publish_envelope(large(1_001)?).await, ErrorKind::TooLarge)?;
    let batch = vec![numbered(&channel, 1)?, large(1_001)?, numbered(&channel, 2)?];
    refused("a batch with one event above the limit", bus.publish_envelopes(batch).await, ErrorKind::TooLarge)?;
    if let Some(limit) = bus.capabilities().limits.max_payload.filter(|limit| *limit <= TESTABLE) {
        let bus = ctx.bus_of(policy(usize::MAX)).await?;
        let result = bus.publish_envelope(large(limit + 1)?).await;
        refused("an event above the adapter's limit", result, ErrorKind::TooLarge)?;
    }
    let mut ledger = Ledger::new();
    publish_numbered(&bus, &channel, 10..11, &mut ledger).await?;
    read_all(&ctx, &mut events, &mut ledger).await
}
