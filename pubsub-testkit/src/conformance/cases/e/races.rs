//! E6, E7: opening, using and closing at the same time.

use std::time::Duration;

use futures_util::future::try_join_all;
use pubsub_core::{ChannelName, Policies, PubSub, driver::Feature};
use tokio::{runtime::Handle, task::JoinSet, time::timeout};

use crate::{
    conformance::{
        Case, Ctx, Failure, Ledger, Mode, Verdict, cases::crowd::publish, ensure, eventually, numbered, read_all,
    },
    faulty::Fault,
};

pub(super) const CASES: &[Case] = &[
    Case {
        id: "E6",
        title: "after ten members came and went at the same time, a fresh pair publishes and reads everything",
        needs: &[Feature::DurableGroup],
        bites: &[Fault::HangsOnClose, Fault::LoseMessage, Fault::PublishUnconfirmedSuccess],
        run: |ctx| Box::pin(come_and_go(ctx)),
    },
    Case {
        id: "E7",
        title: "publishing, subscribing and reading against a close end by it, without panic, hang or leaked task",
        needs: &[Feature::DurableGroup],
        bites: &[Fault::HangsOnClose, Fault::PublishHangs, Fault::LeaksTask],
        run: |ctx| Box::pin(races(ctx, Mode::Durable)),
    },
    Case {
        id: "E7-ephemeral",
        title: "publishing, subscribing and reading broadcasts against a close end by it, without panic, hang or leaked task",
        needs: &[Feature::EphemeralBroadcast],
        bites: &[Fault::HangsOnClose, Fault::LeaksTask],
        run: |ctx| Box::pin(races(ctx, Mode::Ephemeral)),
    },
];

async fn come_and_go(ctx: Ctx) -> Verdict {
    let channel = ctx.channel("e6")?;
    let (limit, channel_ref, ctx_ref) = (ctx.bounds().close, &channel, &ctx);
    let visit = || async move {
        let bus = PubSub::new(ctx_ref.adapter().await?);
        let events = ctx_ref.reader(&bus, channel_ref, Mode::Durable, "visitors").await?;
        let closed = timeout(limit * 2, bus.close(limit)).await;
        drop(events);
        closed.map_err(|_| Failure::new(format!("an end of closing within {limit:?}"), "none"))??;
        Verdict::Ok(())
    };
    try_join_all((0..10).map(|_| visit())).await?;
    publish(&ctx.bus().await?, &channel, 0..50).await?;
    let mut ledger = Ledger::expecting(0..50);
    let mut events = ctx.reader(&ctx.bus().await?, &channel, Mode::Durable, "visitors").await?;
    read_all(&ctx, &mut events, &mut ledger).await
}

async fn races(ctx: Ctx, mode: Mode) -> Verdict {
    let rounds = ctx.count(10, 200);
    race(&ctx, mode).await?; // what is made once and stays, is there afterwards
    let tasks = || Handle::current().metrics().num_alive_tasks();
    let before = tasks();
    for _ in 0..rounds {
        race(&ctx, mode).await?;
    }
    let leaked = eventually(&ctx, &format!("no more than {before} tasks"), || tasks() <= before).await;
    leaked.map_err(|failure| failure.during(format!("{} tasks after {rounds} rounds", tasks())))
}

async fn race(ctx: &Ctx, mode: Mode) -> Verdict {
    let bus = PubSub::builder(ctx.adapter().await?).policies(Policies::new(mode.policy())).build();
    let (channel, limit) = (ctx.channel("e7")?, ctx.bounds().close);
    let mut users = JoinSet::new();
    for _ in 0..3 {
        users.spawn(publish_until_closed(bus.clone(), channel.clone()));
        users.spawn(read_until_closed(ctx.clone(), bus.clone(), channel.clone(), mode));
    }
    tokio::time::sleep(Duration::from_millis(3)).await;
    let closed = timeout(limit * 2, bus.close(limit)).await;
    closed.map_err(|_| Failure::new(format!("an end of closing within {limit:?}"), "none"))??;
    let ended = timeout(ctx.bounds().receive, users.join_all()).await; // a panic of theirs is one here
    for error in ended.map_err(|_| Failure::new("everybody to end with the close", "somebody still at work"))? {
        let error = error.err().map(|failure| failure.to_string()).unwrap_or_default();
        ensure(error.contains("(closed)"), "an end by the close", error)?;
    }
    Ok(())
}

async fn publish_until_closed(bus: PubSub, channel: ChannelName) -> Verdict {
    for serial in 0.. {
        bus.publish_envelope(numbered(&channel, serial)?).await?;
    }
    Ok(())
}

async fn read_until_closed(ctx: Ctx, bus: PubSub, channel: ChannelName, mode: Mode) -> Verdict {
    loop {
        let mut events = ctx.reader(&bus, &channel, mode, "racers").await?;
        while let Ok(Some(event)) = events.next_timeout(Duration::from_millis(1)).await {
            event.ack();
        }
    }
}
