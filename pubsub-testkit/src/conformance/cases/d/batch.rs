//! D2, D5: many events in one call.

use bytes::Bytes;
use pubsub_core::{ChannelPolicy, ContentType, ErrorKind, Key, Payload, driver::Feature};

use crate::{
    conformance::{Case, Ctx, Failure, Ledger, Mode, Numbered, Verdict, next, numbered, quiet, read_all, same},
    faulty::Fault,
};

pub(super) const CASES: &[Case] = &[
    Case {
        id: "D2",
        title: "a batch over two channels tells the outcome of each event; what it calls sent arrives in order",
        needs: &[Feature::DurableGroup],
        bites: &[Fault::BatchTruncated, Fault::PublishUnconfirmedSuccess],
        run: |ctx| Box::pin(outcomes(ctx, Mode::Durable)),
    },
    Case {
        id: "D2-ephemeral",
        title: "a batch over two ephemeral channels tells the outcome of each event; what it calls sent arrives in order",
        needs: &[Feature::EphemeralBroadcast],
        bites: &[Fault::BatchTruncated, Fault::PublishUnconfirmedSuccess],
        run: |ctx| Box::pin(outcomes(ctx, Mode::Ephemeral)),
    },
    Case {
        id: "D2-refused",
        title: "an event beyond the adapter's limit is refused alone; the rest of its batch arrives",
        needs: &[Feature::DurableGroup],
        bites: &[Fault::BatchTruncated, Fault::OversizeConfirmed],
        run: |ctx| Box::pin(one_refused(ctx)),
    },
    Case {
        id: "D5",
        title: "a batch larger than any broker takes at once arrives, each body with its own key and headers",
        needs: &[Feature::DurableGroup],
        bites: &[Fault::BatchTruncated, Fault::DropHeaders, Fault::DropKey, Fault::HeadersShifted],
        run: |ctx| Box::pin(large(ctx, Mode::Durable)),
    },
    Case {
        id: "D5-ephemeral",
        title: "a large batch arrives at a broadcast, each body with its own key and headers",
        needs: &[Feature::EphemeralBroadcast],
        bites: &[Fault::BatchTruncated, Fault::HeadersShifted],
        run: |ctx| Box::pin(large(ctx, Mode::Ephemeral)),
    },
];

async fn outcomes(ctx: Ctx, mode: Mode) -> Verdict {
    let (bus, count) = (ctx.bus_in(mode).await?, 10);
    let channels = [ctx.channel("d2")?, ctx.channel("d2")?];
    let mut readers = Vec::new();
    for channel in &channels {
        readers.push(ctx.reader(&bus, channel, mode, "batch").await?);
    }
    // Runs of several events, as what goes to the broker in one go.
    let channel_of = |serial: usize| serial / 3 % 2;
    let envelope = |serial| numbered(&channels[channel_of(serial)], serial);
    let batch = (0..count).map(envelope).collect::<Verdict<Vec<_>>>()?;
    let results = bus.publish_envelopes(batch).await?;
    same("number of outcomes", results.len(), count)?;
    results.into_iter().try_for_each(|result| result.map(drop))?;
    for (index, events) in readers.iter_mut().enumerate() {
        for serial in (0..count).filter(|serial| channel_of(*serial) == index) {
            let event = next(&ctx, events).await?;
            same("the next serial", event.serial()?, serial)?;
            event.ack();
        }
        quiet(&ctx, events).await?;
    }
    Ok(())
}

async fn one_refused(ctx: Ctx) -> Verdict {
    const CAN_BE_TRIED: usize = 64 << 20;
    let (culprit, channel) = (6, ctx.channel("d2")?);
    // The policy lets pass what the adapter cannot take.
    let bus = ctx.bus_of(ChannelPolicy::new().max_payload(usize::MAX)).await?;
    let mut events = ctx.reader(&bus, &channel, Mode::Durable, "batch").await?;
    let mut batch = (0..10).map(|serial| numbered(&channel, serial)).collect::<Verdict<Vec<_>>>()?;
    let limit = bus.capabilities().limits.max_payload.filter(|limit| *limit <= CAN_BE_TRIED);
    if let Some(limit) = limit {
        let bytes = Bytes::from(vec![0; limit + 1]);
        batch[culprit].payload = Payload::Data { bytes, content_type: ContentType::BYTES };
    }
    let results = bus.publish_envelopes(batch).await?;
    same("number of outcomes", results.len(), 10)?;
    let mut ledger = Ledger::new();
    for (serial, result) in results.into_iter().enumerate() {
        match result {
            Err(error) if serial == culprit && limit.is_some() => {
                same("the refusal", error.kind(), ErrorKind::TooLarge)?;
            }
            result if serial == culprit && limit.is_some() => {
                return Err(Failure::new("event 6 to be refused", format!("{result:?}")));
            }
            result => {
                result?;
                ledger.confirm(serial);
            }
        }
    }
    read_all(&ctx, &mut events, &mut ledger).await
}

async fn large(ctx: Ctx, mode: Mode) -> Verdict {
    let (bus, count, channel) = (ctx.bus_in(mode).await?, ctx.count(900, 10_000), ctx.channel("d5")?);
    let mut events = mode.bound(ctx.reader(&bus, &channel, mode, "batch"), count).await?;
    let mut batch = Vec::with_capacity(count);
    for serial in 0..count {
        let mut envelope = numbered(&channel, serial)?;
        envelope.key = Some(Key::new(&format!("key-{serial}"))?);
        batch.push(envelope);
    }
    let publishing = async {
        let results = bus.publish_envelopes(batch).await?;
        same("number of outcomes", results.len(), count)?;
        results.into_iter().try_for_each(|result| result.map(drop))?;
        Verdict::Ok(())
    };
    let reading = async {
        let mut ledger = Ledger::expecting(0..count);
        while !ledger.is_complete() {
            let event = next(&ctx, &mut events).await?;
            let serial = event.serial()?; // body and header agree
            same("the key", event.key().map(ToString::to_string), Some(format!("key-{serial}")))?;
            ledger.saw(serial);
            event.ack();
        }
        ledger.verdict(&ctx.bounds())
    };
    let (published, read) = tokio::join!(publishing, reading);
    published.and(read)
}
