//! E1, E10, E14: what is closed says so; what is open answers; what fails says why.

use std::{error::Error as _, time::Duration};

use pubsub_core::{
    ErrorKind, Event, EventName, Payload, PubSub,
    driver::{AdapterState, Feature, HistoryRange, SubscribeOptions, Topology},
};
use tokio::{sync::oneshot, time::timeout};

use crate::{
    conformance::{
        Case, Ctx, Failure, Mode, Note, Verdict, cases::crowd::enqueue, ensure, failed, next, numbered, refused, same,
        text,
    },
    faulty::Fault,
};

pub(super) const CASES: &[Case] = &[
    Case {
        id: "E1",
        title: "everything on a closed handle is refused as closed; its subscriptions end; closing again does nothing",
        needs: &[Feature::DurableGroup],
        bites: &[Fault::HangsOnClose],
        run: |ctx| Box::pin(closed_handle(ctx, Mode::Durable)),
    },
    Case {
        id: "E1-ephemeral",
        title: "everything on a closed handle is refused as closed; its broadcasts end; closing again does nothing",
        needs: &[Feature::EphemeralBroadcast],
        bites: &[Fault::HangsOnClose],
        run: |ctx| Box::pin(closed_handle(ctx, Mode::Ephemeral)),
    },
    Case {
        id: "E1-adapter",
        title: "everything on a closed adapter is refused as closed; closing again does nothing",
        needs: &[],
        bites: &[Fault::ClosedAccepts, Fault::HangsOnClose],
        run: |ctx| Box::pin(closed_adapter(ctx)),
    },
    Case {
        id: "E10",
        title: "handles are made outside a runtime, may be closed unused, and all clones of one are closed at once",
        needs: &[],
        bites: &[Fault::HangsOnClose, Fault::PublishHangs],
        run: |ctx| Box::pin(without_ceremony(ctx)),
    },
    Case {
        id: "E14",
        title: "health and states follow the connection; the adapter's own type can be reached",
        needs: &[],
        bites: &[Fault::HealthLies, Fault::HangsOnClose],
        run: |ctx| Box::pin(health(ctx)),
    },
    Case {
        id: "E14-source",
        title: "an event that cannot be decoded is an error with channel and cause, and the next one comes",
        needs: &[Feature::EphemeralBroadcast],
        bites: &[Fault::LoseMessage],
        run: |ctx| Box::pin(sources(ctx)),
    },
];

async fn closed_handle(ctx: Ctx, mode: Mode) -> Verdict {
    let (bus, channel) = (ctx.bus_in(mode).await?, ctx.channel("e1")?);
    let mut events = ctx.reader(&bus, &channel, mode, "closing").await?;
    let mut waiting = ctx.reader(&bus, &channel, mode, "waiting").await?;
    let waiter = tokio::spawn(async move { waiting.next().await.is_none() });
    close_within(&ctx, bus.close(ctx.bounds().close)).await?;
    let woken = timeout(ctx.bounds().receive, waiter).await;
    ensure(matches!(woken, Ok(Ok(true))), "a waiting reader to see the end", format!("{woken:?}"))?;

    refused("publishing", bus.publish_envelope(numbered(&channel, 0)?).await, ErrorKind::Closed)?;
    refused("enqueueing", bus.publish_envelope(numbered(&channel, 0)?).enqueue().await, ErrorKind::Closed)?;
    refused("publishing a batch", bus.publish_envelopes([numbered(&channel, 0)?]).await, ErrorKind::Closed)?;
    refused("subscribing", ctx.reader(&bus, &channel, mode, "late").await, ErrorKind::Closed)?;
    refused("reading history", bus.history(&HistoryRange::new(channel.clone())).await, ErrorKind::Closed)?;
    refused("ensuring topology", bus.ensure(&Topology::default()).await, ErrorKind::Closed)?;
    refused("opening an inbox", bus.open_inbox().await, ErrorKind::Closed)?;
    refused("receiving", events.next_timeout(ctx.bounds().receive).await, ErrorKind::Closed)?;
    ensure(events.next().await.is_none(), "the end of the subscription", "an item")?;
    Ok(bus.close(ctx.bounds().close).await?)
}

async fn closed_adapter(ctx: Ctx) -> Verdict {
    let (adapter, channel) = (ctx.adapter().await?, ctx.channel("e1")?);
    let limit = ctx.bounds().close;
    close_within(&ctx, adapter.close(limit)).await?;
    refused("enqueueing", enqueue(&*adapter, numbered(&channel, 0)?).await, ErrorKind::Closed)?;
    let subscribed = adapter.subscribe(SubscribeOptions::new(vec![channel.clone().into()])).await;
    refused("subscribing", subscribed, ErrorKind::Closed)?;
    refused("reading history", adapter.history(&HistoryRange::new(channel)).await, ErrorKind::Closed)?;
    close_within(&ctx, adapter.close(limit)).await
}

async fn close_within(ctx: &Ctx, closing: impl Future<Output = pubsub_core::Result<()>>) -> Verdict {
    // The deadline bounds what is waited for; a little is left for its own work.
    let limit = ctx.bounds().close + Duration::from_secs(1);
    match timeout(limit, closing).await {
        Ok(closed) => Ok(closed?),
        Err(_) => failed(format!("an end of closing within {limit:?}"), "none"),
    }
}

async fn without_ceremony(ctx: Ctx) -> Verdict {
    let (adapter, again) = (ctx.adapter().await?, ctx.adapter().await?);
    let channel = ctx.channel("e10")?;
    let (sender, receiver) = oneshot::channel();
    let envelope = numbered(&channel, 0)?;
    std::thread::spawn(move || {
        let bus = PubSub::new(adapter);
        drop(bus.subscribe_channel("e10").from_latest());
        drop(bus.publish_envelope(envelope));
        let _ = sender.send((bus.clone(), bus));
    });
    let made = timeout(Duration::from_secs(1), receiver).await;
    let Ok(Ok((bus, alias))) = made else { return failed("a handle within 1 s", format!("{made:?}")) };
    let unused = PubSub::new(again);
    close_within(&ctx, unused.close(ctx.bounds().close)).await?;
    let published = timeout(ctx.bounds().receive, bus.publish_envelope(numbered(&channel, 1)?)).await;
    published.map_err(|_| Failure::new("an end of publishing", "none"))??;
    close_within(&ctx, bus.close(ctx.bounds().close)).await?;
    refused("publishing by a clone", alias.publish_envelope(numbered(&channel, 2)?).await, ErrorKind::Closed)?;
    close_within(&ctx, alias.close(ctx.bounds().close)).await
}

async fn health(ctx: Ctx) -> Verdict {
    let bus = PubSub::new(ctx.adapter().await?);
    let mut states = bus.states();
    same("the state", states.current(), AdapterState::Ready)?;
    let up = bus.health().await;
    ensure(up.is_up() && up.round_trip.is_some(), "a healthy adapter that answers", format!("{up:?}"))?;
    ensure(bus.adapter().native().is_some(), "the adapter's own type", "none")?;
    close_within(&ctx, bus.close(ctx.bounds().close)).await?;
    let mut last = states.current();
    while last != AdapterState::Closed {
        match timeout(ctx.bounds().receive, states.changed()).await {
            Ok(Some(state)) => last = state,
            _ => return failed("a watcher to see the close", format!("{last:?}")),
        }
    }
    let down = bus.health().await;
    ensure(!down.is_up() && down.state == AdapterState::Closed, "a closed adapter", format!("{down:?}"))
}

async fn sources(ctx: Ctx) -> Verdict {
    let bus = ctx.bus_in(Mode::Ephemeral).await?;
    let mut notes = bus.subscribe::<Note>().await?;
    let mut broken = text(&pubsub_core::ChannelName::from_static(Note::CHANNEL)?, r#"{"topic": 7, "number": 1}"#)?;
    broken.name = EventName::parse(Note::NAME)?;
    let mut garbage = broken.clone();
    garbage.payload = Payload::json("{");
    bus.publish_envelopes([broken, garbage]).await?.into_iter().try_for_each(|result| result.map(drop))?;
    let note = Note { topic: "sound".to_owned(), number: 1 };
    bus.publish(&note).await?;
    for _ in 0..2 {
        let error = match timeout(ctx.bounds().receive, notes.next()).await {
            Ok(Some(Err(error))) => error,
            other => return failed("an error", format!("{other:?}")),
        };
        same("its kind", error.kind(), ErrorKind::Codec)?;
        same("its channel", error.channel().map(|channel| channel.as_str()), Some(Note::CHANNEL))?;
        ensure(error.source().is_some(), "a cause", "none")?;
    }
    same("the sound event", (*next(&ctx, &mut notes).await?).clone(), note)
}
