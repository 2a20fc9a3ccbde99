//! E3: channels that do not exist.

use pubsub_core::{
    ErrorKind, PubSub,
    driver::{Feature, SubscribeOptions, TopologyMode},
};

use crate::{
    conformance::{
        Case, Ctx, Mode, Numbered, Verdict,
        cases::crowd::{enqueue, publish},
        next, numbered, refused, same,
    },
    faulty::Fault,
};

pub(super) const CASES: &[Case] = &[Case {
    id: "E3",
    title: "with strict channels, one that nobody declared is not found by publishing or subscribing, until it is declared",
    needs: &[Feature::DurableGroup, Feature::StrictChannels],
    bites: &[Fault::StrictIgnored],
    run: |ctx| Box::pin(missing(ctx)),
}];

async fn missing(ctx: Ctx) -> Verdict {
    let channel = ctx.channel("e3")?;
    let adapter = ctx.harness().strict(ctx.name()).await?;
    let strict = PubSub::builder(adapter.clone()).topology_mode(TopologyMode::Validate).build();
    let outcome = async {
        let unknown = ErrorKind::NotFound;
        refused("publishing", strict.publish_envelope(numbered(&channel, 0)?).await, unknown)?;
        refused("publishing a batch", strict.publish_envelopes([numbered(&channel, 0)?]).await, unknown)?;
        refused("subscribing", ctx.reader(&strict, &channel, Mode::Durable, "strict").await, unknown)?;
        // The handle looks before it sends; the adapter itself must refuse as well.
        refused("enqueueing", enqueue(&*adapter, numbered(&channel, 0)?).await, unknown)?;
        let options = SubscribeOptions::new(vec![channel.clone().into()]);
        refused("subscribing at the adapter", adapter.subscribe(options).await, unknown)?;

        let creating = PubSub::builder(adapter.clone()).topology_mode(TopologyMode::Create).build();
        publish(&creating, &channel, 0..1).await?;
        let mut events = ctx.reader(&strict, &channel, Mode::Durable, "strict").await?;
        publish(&strict, &channel, 1..2).await?;
        for serial in 0..2 {
            let event = next(&ctx, &mut events).await?;
            same("the next serial", event.serial()?, serial)?;
            event.ack();
        }
        Verdict::Ok(())
    };
    let outcome = outcome.await;
    let closed = strict.close(ctx.bounds().close).await;
    outcome.and(closed.map_err(Into::into))
}
