//! Q2, Q5: deadlines, and what comes after them.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use pubsub_client::EventRpc;
use pubsub_core::{
    ChannelName, ErrorKind, EventId,
    driver::Feature,
    rpc::{ReplyBody, ReplyTo},
};

use super::{Add, adding, answer, asked, call};
use crate::{
    conformance::{Case, Ctx, Failure, Verdict, ensure, eventually, same},
    faulty::Fault,
};

pub(super) const CASES: &[Case] = &[
    Case {
        id: "Q2",
        title: "after a timeout nothing waits; the late reply answers no later request, and is counted",
        needs: &[Feature::Inbox, Feature::DurableGroup],
        bites: &[Fault::LoseMessage, Fault::InboxDeaf],
        run: |ctx| Box::pin(late(ctx)),
    },
    Case {
        id: "Q5",
        title: "without a responder a call ends at its deadline, and an expired request is not executed",
        needs: &[Feature::Inbox, Feature::DurableGroup],
        bites: &[Fault::LoseMessage, Fault::PublishUnconfirmedSuccess],
        run: |ctx| Box::pin(expired(ctx)),
    },
    Case {
        id: "Q5-killed",
        title: "a request whose responder is gone in the middle is answered by another member",
        needs: &[Feature::Inbox, Feature::DurableGroup, Feature::Nack],
        bites: &[Fault::DropAcks, Fault::LoseMessage],
        run: |ctx| Box::pin(killed(ctx)),
    },
];

async fn late(ctx: Ctx) -> Verdict {
    let (callers, responders) = (ctx.bus().await?, ctx.bus().await?);
    let rpc = EventRpc::new(&callers);
    let mut requests = responders.subscribe::<Add>().group("by-hand").await?;
    // The inbox is open and the channels exist before times are short.
    let first = call(&rpc, 1, ctx.bounds().receive);
    let (request, to) = asked(&ctx, &mut requests).await?;
    responders.reply(&to, ReplyBody::value(&2)?).await?;
    request.ack();
    same("the sum", first.await.map_err(|error| Failure::new("a call", error))??, 2)?;
    let waiting = call(&rpc, 10, Duration::from_millis(500));
    let (request, _) = asked(&ctx, &mut requests).await?;
    let error = waiting.await.map_err(|error| Failure::new("a call", error))?.err();
    same("the error", error.as_ref().and_then(|error| error.bus_kind()), Some(ErrorKind::Timeout))?;
    same("whether the request may have been executed", error.map(|error| error.maybe_applied()), Some(true))?;
    same("waiters", (rpc.stats().pending, rpc.stats().timeouts), (0, 1))?;
    let next = call(&rpc, 20, ctx.bounds().receive);
    let (second, to) = asked(&ctx, &mut requests).await?;
    answer(&responders, request.message(), 11).await?;
    request.ack();
    eventually(&ctx, "the late reply to be counted", || rpc.stats().late == 1).await?;
    for _ in 0..2 {
        responders.reply(&to, ReplyBody::value(&21)?).await?;
    }
    second.ack();
    same("the sum", next.await.map_err(|error| Failure::new("a call", error))??, 21)?;
    eventually(&ctx, "the second reply to be counted", || rpc.stats().duplicate == 1).await?;
    same("waiters and foreign replies", (rpc.stats().pending, rpc.stats().foreign), (0, 0))
}

async fn expired(ctx: Ctx) -> Verdict {
    let bus = ctx.bus().await?;
    let rpc = EventRpc::new(&bus);
    let executed = Arc::new(AtomicUsize::new(0));
    let counted = executed.clone();
    let add = move |asked: Add| {
        counted.fetch_add(1, Ordering::Relaxed);
        async move { Ok(asked.left + asked.right) }
    };
    let responder = rpc.respond::<Add, _, _>("adding", add).await?;
    let past = bus.clock().now().saturating_sub(Duration::from_millis(1));
    let inbox = ChannelName::inbox("nobody")?;
    bus.publish(&Add { left: 7, right: 7 })
        .meta(|meta| ReplyTo::ask(meta, &inbox, &EventId::random(), past, None))
        .await?;
    eventually(&ctx, "the expired request to be passed over", || responder.stats().expired == 1).await?;
    same("a request in time", rpc.request(&Add { left: 1, right: 1 }).await?, 2)?;
    same("how many were executed", executed.load(Ordering::Relaxed), 1)?;
    responder.stop().await;
    let begun = tokio::time::Instant::now();
    let error = rpc.request(&Add { left: 1, right: 1 }).timeout(Duration::from_millis(500)).await.err();
    let kind = error.and_then(|error| error.bus_kind());
    ensure(
        matches!(kind, Some(ErrorKind::Timeout | ErrorKind::Unroutable)),
        "an error that tells that nobody answers",
        format!("{kind:?}"),
    )?;
    ensure(begun.elapsed() < Duration::from_secs(5), "an end at the deadline", format!("{:?}", begun.elapsed()))?;
    same("waiters", rpc.stats().pending, 0)
}

async fn killed(ctx: Ctx) -> Verdict {
    let (callers, dying) = (ctx.bus().await?, ctx.bus().await?);
    let begun = Arc::new(AtomicUsize::new(0));
    let counted = begun.clone();
    let stuck = move |_: Add| {
        counted.fetch_add(1, Ordering::Relaxed);
        std::future::pending()
    };
    let responder = EventRpc::new(&dying).respond::<Add, _, _>("adding", stuck).await?;
    let rpc = EventRpc::new(&callers);
    let waiting = call(&rpc, 4, ctx.bounds().redelivery + ctx.bounds().receive);
    eventually(&ctx, "the request to be at work", || begun.load(Ordering::Relaxed) == 1).await?;
    drop(responder);
    let _other = adding(&ctx.bus().await?, "adding").await?;
    same("the sum", waiting.await.map_err(|error| Failure::new("a call", error))??, 5)?;
    same("waiters", rpc.stats().pending, 0)
}
