//! A12: typed events.

use pubsub_core::{Envelope, ErrorKind, Payload, Timestamp, driver::Feature};

use crate::{
    conformance::{Case, Ctx, Mode, Note, Sample, Time, Verdict, dead_letters, ensure, failed, next, same},
    faulty::Fault,
};

pub(super) const CASES: &[Case] = &[
    Case {
        id: "A12",
        title: "typed events come back equal, and payloads of another type become dead letters that say where",
        needs: &[Feature::DurableGroup, Feature::DeadLetter],
        bites: &[Fault::CorruptPayload, Fault::DropContentType],
        run: |ctx| Box::pin(in_a_group(ctx)),
    },
    Case {
        id: "A12-ephemeral",
        title: "typed events come back equal from a broadcast, and payloads of another type are a typed error",
        needs: &[Feature::EphemeralBroadcast],
        bites: &[Fault::CorruptPayload, Fault::DropContentType],
        run: |ctx| Box::pin(in_a_broadcast(ctx)),
    },
];

/// JSON that is no [`Sample`].
const WRONG: [&str; 4] = ["12", "\"text\"", "{}", "[1,2]"];

fn sample() -> Verdict<Sample> {
    Ok(Sample {
        text: "tëxt \u{0} \"quoted\" 漢字".into(),
        bytes: (0..=255).collect(),
        integer: i64::MIN + 1,
        float: 0.1 + 0.2,
        whole: 3.0,
        flag: true,
        nothing: None,
        map: [("a".to_owned(), -1), (String::new(), 2)].into(),
        list: vec![Note { topic: "x".into(), number: u64::MAX }],
        time: Time(Timestamp::from_millis(1_700_000_000_001)?),
    })
}

fn wrong(json: &'static str) -> Verdict<Envelope> {
    Ok(Envelope { payload: Payload::json(json), ..Envelope::of(sample()?)?.encode()? })
}

/// What another language might send: an integer where a fraction is meant.
fn foreign() -> Verdict<Envelope> {
    let mut envelope = Envelope::of(sample()?)?.encode()?;
    let text =
        envelope.payload.data().map(|bytes| String::from_utf8_lossy(bytes).replace("\"whole\":3.0", "\"whole\":3"));
    envelope.payload = Payload::json(text.unwrap_or_default());
    Ok(envelope)
}

async fn in_a_group(ctx: Ctx) -> Verdict {
    let bus = ctx.bus().await?;
    let mut events = bus.subscribe::<Sample>().group("readers").await?;
    for json in WRONG {
        bus.publish_envelope(wrong(json)?).await?;
    }
    bus.publish(&sample()?).await?;
    bus.publish_envelope(foreign()?).await?;
    for what in ["the typed event", "the event with an integer as a fraction"] {
        let event = next(&ctx, &mut events).await?;
        same(what, (*event).clone(), sample()?)?;
        event.ack();
    }
    let channel = Envelope::of(sample()?)?.channel;
    let dead = dead_letters(&ctx, &bus, &channel, "readers", WRONG.len()).await?;
    same("the number of dead letters", dead.len(), WRONG.len())?;
    for stored in dead {
        let reason = stored.message.meta().dead_reason.clone().unwrap_or_default();
        ensure(reason.contains("does not fit"), "a reason that tells of the misfit", format!("`{reason}`"))?;
    }
    Ok(())
}

async fn in_a_broadcast(ctx: Ctx) -> Verdict {
    let bus = ctx.bus_in(Mode::Ephemeral).await?;
    let mut events = bus.subscribe::<Sample>().await?;
    for json in WRONG {
        bus.publish_envelope(wrong(json)?).await?;
        match tokio::time::timeout(ctx.bounds().receive, events.next()).await {
            Ok(Some(Err(error))) => {
                ensure(error.kind() == ErrorKind::Codec, "an error of kind codec", format!("{error:?}"))?;
            }
            other => return failed("an error of kind codec", format!("{other:?}")),
        }
    }
    bus.publish(&sample()?).await?;
    bus.publish_envelope(foreign()?).await?;
    for what in ["the typed event", "the event with an integer as a fraction"] {
        same(what, (*next(&ctx, &mut events).await?).clone(), sample()?)?;
    }
    Ok(())
}
