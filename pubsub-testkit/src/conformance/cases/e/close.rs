//! E9, E11: what closing waits for, and what it leaves.

use std::time::Duration;

use pubsub_core::{ErrorKind, Policies, PubSub, driver::Feature};
use tokio::{
    sync::oneshot,
    time::{Instant, timeout},
};

use crate::{
    conformance::{
        Case, Ctx, Failure, Ledger, Mode, Verdict, cases::crowd::publish, ensure, failed, next, next_n, numbered,
        quiet, read_all, refused,
    },
    faulty::Fault,
};

pub(super) const CASES: &[Case] = &[
    Case {
        id: "E9",
        title: "closing waits for events in hand, and ends once they are settled",
        needs: &[Feature::DurableGroup],
        bites: &[Fault::DropAck, Fault::HangsOnClose],
        run: |ctx| Box::pin(waits(ctx, Mode::Durable)),
    },
    Case {
        id: "E9-ephemeral",
        title: "closing waits for events of a broadcast in hand, and ends once they are let go",
        needs: &[Feature::EphemeralBroadcast],
        bites: &[Fault::HangsOnClose],
        run: |ctx| Box::pin(waits(ctx, Mode::Ephemeral)),
    },
    Case {
        id: "E9-deadline",
        title: "closing ends by its deadline; events in hand and in buffers stay unsettled and come again",
        needs: &[Feature::DurableGroup],
        bites: &[Fault::CloseLosesBuffer, Fault::HangsOnClose],
        run: |ctx| Box::pin(gives_up(ctx)),
    },
    Case {
        id: "E11",
        title: "what is published right before a shutdown is delivered",
        needs: &[Feature::DurableGroup],
        bites: &[Fault::PublishUnconfirmedSuccess, Fault::LoseMessage, Fault::HangsOnClose],
        run: |ctx| Box::pin(last_word(ctx, Mode::Durable)),
    },
    Case {
        id: "E11-ephemeral",
        title: "what is published for a broadcast right before a shutdown is delivered",
        needs: &[Feature::EphemeralBroadcast],
        bites: &[Fault::PublishUnconfirmedSuccess, Fault::LoseMessage, Fault::HangsOnClose],
        run: |ctx| Box::pin(last_word(ctx, Mode::Ephemeral)),
    },
    Case {
        id: "E11-runtime",
        title: "a publisher whose runtime has ended works or says that it is closed; readers elsewhere go on",
        needs: &[Feature::DurableGroup],
        bites: &[Fault::PublishHangs, Fault::PublishUnconfirmedSuccess],
        run: |ctx| Box::pin(runtime_ended(ctx)),
    },
];

async fn waits(ctx: Ctx, mode: Mode) -> Verdict {
    let (closing, other, channel) = (ctx.bus_in(mode).await?, ctx.bus_in(mode).await?, ctx.channel("e9")?);
    let limit = ctx.bounds().close;
    let mut events = ctx.reader(&closing, &channel, mode, "closing").await?;
    publish(&other, &channel, 0..1).await?;
    let event = next(&ctx, &mut events).await?;
    let handle = closing.clone();
    let mut close = tokio::spawn(async move { handle.close(limit).await });
    let early = timeout(ctx.bounds().quiet, &mut close).await;
    ensure(early.is_err(), "closing to wait for the event in hand", format!("{early:?}"))?;
    refused("publishing meanwhile", closing.publish_envelope(numbered(&channel, 1)?).await, ErrorKind::Closed)?;
    event.ack();
    match timeout(limit, close).await {
        Ok(Ok(closed)) => closed?,
        other => return failed("an end of closing after the settlement", format!("{other:?}")),
    }
    ensure(events.next().await.is_none(), "the end of the subscription", "an item")?;
    drop(events);
    let mut events = ctx.reader(&other, &channel, mode, "closing").await?;
    quiet(&ctx, &mut events).await
}

async fn gives_up(ctx: Ctx) -> Verdict {
    let (closing, other, channel) = (ctx.bus().await?, ctx.bus().await?, ctx.channel("e9")?);
    let lease = ctx.bounds().lease;
    let reader = |bus| ctx.reader(bus, &channel, Mode::Durable, "closing").lease(lease);
    let mut events = reader(&closing).await?;
    publish(&other, &channel, 0..10).await?;
    // One stays in hand, one is given up while the close waits, eight lie in the buffer.
    let mut held = next_n(&ctx, &mut events, 2).await?;
    let (deadline, started) = (Duration::from_millis(300), Instant::now());
    let given_up = held.pop();
    let dropping = async move {
        tokio::time::sleep(deadline / 3).await;
        drop(given_up);
    };
    let closing = timeout(deadline + ctx.bounds().close, closing.close(deadline));
    let (closed, ()) = tokio::join!(closing, dropping);
    let closed =
        closed.map_err(|_| Failure::new("an end of closing", format!("none after {:?}", started.elapsed())))?;
    refused("closing with an event in hand", closed, ErrorKind::Timeout)?;
    ensure(started.elapsed() >= deadline, format!("a wait of {deadline:?}"), format!("{:?}", started.elapsed()))?;
    drop(held);
    drop(events);
    let (mut events, mut ledger) = (reader(&other).await?, Ledger::expecting(0..10));
    read_all(&ctx, &mut events, &mut ledger).await
}

async fn last_word(ctx: Ctx, mode: Mode) -> Verdict {
    let (other, channel, limit) = (ctx.bus_in(mode).await?, ctx.channel("e11")?, ctx.bounds().close);
    let mut events = ctx.reader(&other, &channel, mode, "readers").await?;
    for serial in 0..10 {
        let bus = PubSub::builder(ctx.adapter().await?).policies(Policies::new(mode.policy())).build();
        publish(&bus, &channel, serial..serial + 1).await?;
        let closed = timeout(limit * 2, bus.close(limit)).await;
        closed.map_err(|_| Failure::new(format!("an end of closing within {limit:?}"), "none"))??;
    }
    let mut ledger = Ledger::expecting(0..10);
    read_all(&ctx, &mut events, &mut ledger).await
}

async fn runtime_ended(ctx: Ctx) -> Verdict {
    // The first connection of this world, so that what connections share was made there, too.
    let channel = ctx.channel("e11")?;
    let bus = from_another_runtime(&ctx, channel.clone()).await?;
    let other = ctx.bus().await?;
    let mut events = ctx.reader(&other, &channel, Mode::Durable, "readers").from_earliest().await?;
    let mut ledger = Ledger::expecting([0]);
    let published = timeout(ctx.bounds().receive, bus.publish_envelope(numbered(&channel, 1)?)).await;
    match published.map_err(|_| Failure::new("an end of publishing", "none"))? {
        Ok(_) => ledger.confirm(1),
        Err(error) if error.kind() == ErrorKind::Closed => {}
        Err(error) => return Err(error.into()),
    }
    // Redelivery needs timers, which must not have ended with that runtime.
    next(&ctx, &mut events).await?.nack_after(Duration::from_millis(50))?;
    read_all(&ctx, &mut events, &mut ledger).await
}

/// A handle that has published serial 0 from a runtime that is gone.
async fn from_another_runtime(ctx: &Ctx, channel: pubsub_core::ChannelName) -> Verdict<PubSub> {
    let (sender, receiver) = oneshot::channel();
    let ctx = ctx.clone();
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
        let made = runtime.map_err(|error| Failure::new("a runtime", error)).and_then(|runtime| {
            let made = runtime.block_on(async {
                let bus = PubSub::new(ctx.adapter().await?);
                let published = timeout(ctx.bounds().receive, publish(&bus, &channel, 0..1)).await;
                published.map_err(|_| Failure::new("an end of publishing", "none"))??;
                Verdict::Ok(bus)
            });
            runtime.shutdown_timeout(Duration::from_secs(1));
            made
        });
        let _ = sender.send(made);
    });
    receiver.await.map_err(|error| Failure::new("a handle", error))?
}
