//! A19: patterns over channels and over event names.

use pubsub_core::{ChannelName, Envelope, EventName, Events, Payload, PubSub, Raw, driver::Feature};

use crate::{
    conformance::{Case, Ctx, Ledger, Mode, Verdict, eventually, next, publish_numbered, quiet, read_all, same},
    faulty::Fault,
};

pub(super) const CASES: &[Case] = &[
    Case {
        id: "A19",
        title: "a group over overlapping wildcards gets each event of the matching channels once",
        needs: &[Feature::DurableGroup, Feature::WildcardDurable],
        bites: &[Fault::WildcardIsExact, Fault::Duplicate, Fault::CrossTalk],
        run: |ctx| Box::pin(patterns(ctx, Mode::Durable)),
    },
    Case {
        id: "A19-ephemeral",
        title: "a broadcast over overlapping wildcards gets each event of the matching channels once",
        needs: &[Feature::EphemeralBroadcast, Feature::WildcardEphemeral],
        bites: &[Fault::WildcardIsExact, Fault::Duplicate, Fault::CrossTalk],
        run: |ctx| Box::pin(patterns(ctx, Mode::Ephemeral)),
    },
    Case {
        id: "A19-names",
        title: "a group over `category:*` gets the names of that category, and settles the others",
        needs: &[Feature::DurableGroup],
        bites: &[Fault::LoseMessage, Fault::Duplicate],
        run: |ctx| Box::pin(names(ctx)),
    },
];

async fn patterns(ctx: Ctx, mode: Mode) -> Verdict {
    let (bus, base) = (ctx.bus_in(mode).await?, ctx.channel("shop")?);
    let channel = |suffix: &str| ChannelName::parse(&format!("{base}{suffix}"));
    let inside = [channel(".eu")?, channel(".eu.orders")?, channel(".us-1.x_y")?];
    let outside = [base.clone(), channel("-other")?, channel("x.eu")?];

    let overlapping = [format!("{base}.*"), format!("{base}.eu.*"), format!("{base}.eu")];
    let mut some = subscribe(&bus, mode, "some", &overlapping).await?;
    let mut all = subscribe(&bus, mode, "all", &["*".to_owned()]).await?;
    let (mut matching, mut rest) = (Ledger::new(), Ledger::new());
    for (index, channel) in inside.iter().enumerate() {
        publish_numbered(&bus, channel, index * 10..index * 10 + 5, &mut matching).await?;
    }
    for (index, channel) in outside.iter().enumerate() {
        publish_numbered(&bus, channel, 100 + index * 10..105 + index * 10, &mut rest).await?;
    }
    let mut everything = Ledger::expecting((0..15).map(|n| n / 5 * 10 + n % 5).flat_map(|n| [n, n + 100]));
    read_all(&ctx, &mut some, &mut matching).await.map_err(|failure| failure.during("the family"))?;
    read_all(&ctx, &mut all, &mut everything).await.map_err(|failure| failure.during("all channels"))
}

async fn subscribe(bus: &PubSub, mode: Mode, group: &str, patterns: &[String]) -> Verdict<Events<Raw>> {
    let mut subscribe = bus.subscribe_events();
    for pattern in patterns {
        subscribe = subscribe.channel(pattern);
    }
    Ok(match mode {
        Mode::Durable => subscribe.group(group).await?,
        Mode::Ephemeral => subscribe.await?,
    })
}

async fn names(ctx: Ctx) -> Verdict {
    let (bus, channel) = (ctx.bus().await?, ctx.channel("parcels")?);
    let mut events = bus.subscribe_events().names(&format!("{channel}:*")).group("readers").await?;
    let mut expected = Vec::new();
    for name in [format!("{channel}:sent"), "other:sent".to_owned(), format!("{channel}:lost")] {
        let event = Envelope::new(EventName::parse(&name)?, channel.clone(), Payload::json("1"));
        bus.publish_envelope(event).await?;
        expected.extend((!name.starts_with("other")).then_some(name));
    }
    let mut seen = Vec::new();
    while seen.len() < expected.len() {
        let event = next(&ctx, &mut events).await?;
        seen.push(event.message().name().to_string());
        event.ack();
    }
    quiet(&ctx, &mut events).await?;
    seen.sort();
    expected.sort();
    same("the names that came", seen, expected)?;
    let control = events.control();
    eventually(&ctx, "one event counted as unclaimed", || control.stats().unclaimed == 1).await
}
