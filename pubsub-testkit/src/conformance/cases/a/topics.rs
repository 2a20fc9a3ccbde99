//! A9–A11, A18: channels, publishers and brokers side by side.

use pubsub_core::{ChannelName, driver::Feature};

use crate::{
    conformance::{
        Case, Ctx, Ledger, Mode, Numbered, Verdict, next, numbered, publish_numbered, quiet, read_all, same, together,
    },
    faulty::Fault,
};

pub(super) const CASES: &[Case] = &[
    Case {
        id: "A9",
        title: "what is published on one channel does not reach another",
        needs: &[Feature::DurableGroup],
        bites: &[Fault::CrossTalk],
        run: |ctx| Box::pin(two_channels(ctx, Mode::Durable)),
    },
    Case {
        id: "A9-ephemeral",
        title: "what is published on one ephemeral channel does not reach another",
        needs: &[Feature::EphemeralBroadcast],
        bites: &[Fault::CrossTalk],
        run: |ctx| Box::pin(two_channels(ctx, Mode::Ephemeral)),
    },
    Case {
        id: "A10",
        title: "20 channels, published and subscribed at the same time on one handle: each gets its own events",
        needs: &[Feature::DurableGroup, Feature::Backlog],
        bites: &[Fault::LoseMessage, Fault::CrossTalk],
        run: |ctx| Box::pin(many_channels(ctx, Mode::Durable)),
    },
    Case {
        id: "A10-ephemeral",
        title: "20 ephemeral channels, published at the same time on one handle: each gets its own events",
        needs: &[Feature::EphemeralBroadcast],
        bites: &[Fault::LoseMessage, Fault::CrossTalk],
        run: |ctx| Box::pin(many_channels(ctx, Mode::Ephemeral)),
    },
    Case {
        id: "A11",
        title: "20 publishers that close right after their last event lose nothing",
        needs: &[Feature::DurableGroup],
        bites: &[Fault::PublishUnconfirmedSuccess, Fault::LoseMessage, Fault::HangsOnClose],
        run: |ctx| Box::pin(many_publishers(ctx)),
    },
    Case {
        id: "A18",
        title: "two brokers in one process: consume on one, publish the result on the other, no crossing",
        needs: &[Feature::DurableGroup],
        bites: &[Fault::SharedWorlds],
        run: |ctx| Box::pin(two_brokers(ctx, Mode::Durable)),
    },
    Case {
        id: "A18-ephemeral",
        title: "two brokers in one process with broadcasts: results arrive on the other, no crossing",
        needs: &[Feature::EphemeralBroadcast],
        bites: &[Fault::SharedWorlds],
        run: |ctx| Box::pin(two_brokers(ctx, Mode::Ephemeral)),
    },
];

async fn two_channels(ctx: Ctx, mode: Mode) -> Verdict {
    let (bus, left, right) = (ctx.bus_in(mode).await?, ctx.channel("a9")?, ctx.channel("a9")?);
    let mut on_left = ctx.reader(&bus, &left, mode, "readers").await?;
    let mut on_right = ctx.reader(&bus, &right, mode, "readers").await?;
    let (mut lefts, mut rights) = (Ledger::new(), Ledger::new());
    publish_numbered(&bus, &left, 1..2, &mut lefts).await?;
    publish_numbered(&bus, &right, 2..3, &mut rights).await?;
    read_all(&ctx, &mut on_left, &mut lefts).await?;
    read_all(&ctx, &mut on_right, &mut rights).await
}

async fn many_channels(ctx: Ctx, mode: Mode) -> Verdict {
    let (bus, count) = (ctx.bus_in(mode).await?, ctx.count(100, 100));
    let channels: Vec<_> = (0..20).map(|_| ctx.channel("a10")).collect::<Verdict<_>>()?;
    let tasks = channels.into_iter().enumerate().map(|(index, channel)| {
        let (ctx, bus, group) = (ctx.clone(), bus.clone(), ctx.group("readers"));
        let serials = index * 1_000..index * 1_000 + count;
        async move {
            let mut ledger = Ledger::new();
            // On a durable channel the group may come while the events do, or after them.
            if mode == Mode::Durable {
                let subscribe = ctx.reader(&bus, &channel, mode, &group).into_future();
                let publish = publish_numbered(&bus, &channel, serials, &mut ledger);
                let (published, events) = tokio::join!(publish, subscribe);
                published?;
                return read_all(&ctx, &mut events?, &mut ledger).await;
            }
            let mut events = ctx.reader(&bus, &channel, mode, &group).await?;
            publish_numbered(&bus, &channel, serials, &mut ledger).await?;
            read_all(&ctx, &mut events, &mut ledger).await
        }
    });
    together(tasks).await.map(drop)
}

async fn many_publishers(ctx: Ctx) -> Verdict {
    let (channel, each) = (ctx.channel("a11")?, (ctx.count(2_000, 10_000) / 20).max(1));
    let reader = ctx.bus().await?;
    let mut events = reader.subscribe_channel(channel.as_str()).group("readers").await?;
    let publishers: Vec<_> = (0..20)
        .map(|publisher| {
            let (ctx, channel) = (ctx.clone(), channel.clone());
            async move {
                let bus = ctx.bus().await?;
                let serials = publisher * each..(publisher + 1) * each;
                publish_numbered(&bus, &channel, serials, &mut Ledger::new()).await?;
                ctx.close_bus(&bus).await
            }
        })
        .collect();
    let mut ledger = Ledger::expecting(0..each * 20);
    let (published, read) = tokio::join!(together(publishers), read_all(&ctx, &mut events, &mut ledger));
    published.map(drop).and(read)
}

async fn two_brokers(ctx: Ctx, mode: Mode) -> Verdict {
    let other = ctx.sibling();
    let verdict = forward(&ctx, &other, mode, &ctx.channel("a18")?).await;
    verdict.and(other.close().await)
}

async fn forward(ctx: &Ctx, other: &Ctx, mode: Mode, channel: &ChannelName) -> Verdict {
    let (from, to) = (ctx.bus_in(mode).await?, other.bus_in(mode).await?);
    let mut orders = ctx.reader(&from, channel, mode, "orders").await?;
    let mut results = ctx.reader(&to, channel, mode, "results").await?;
    for serial in 0..10 {
        from.publish_envelope(numbered(channel, serial)?).await?;
        let order = next(ctx, &mut orders).await?;
        to.publish_envelope(numbered(channel, order.serial()? + 100)?).await?;
        order.ack();
        let result = next(other, &mut results).await?;
        same("the result on the other broker", result.serial()?, serial + 100)?;
        result.ack();
    }
    quiet(ctx, &mut orders).await?;
    quiet(other, &mut results).await
}
