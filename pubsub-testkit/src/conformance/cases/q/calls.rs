//! Q1, Q4: one question, one answer.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use pubsub_client::EventRpc;
use pubsub_core::{
    ChannelName, Envelope, ErrorKind, EventName, Payload,
    driver::Feature,
    rpc::{Failure, FailureCode, Reply, ReplyBody},
};
use serde_json::json;

use super::{Add, answer, asked, call};
use crate::{
    conformance::{Case, Ctx, Verdict, ensure, eventually, next, quiet, same},
    faulty::Fault,
};

pub(super) const CASES: &[Case] = &[
    Case {
        id: "Q1",
        title: "a request gets the reply that carries its correlation id, typed and raw, success and failure",
        needs: &[Feature::Inbox, Feature::DurableGroup],
        bites: &[Fault::LoseMessage, Fault::CorruptPayload, Fault::PublishUnconfirmedSuccess, Fault::InboxDeaf],
        run: |ctx| Box::pin(answered(ctx)),
    },
    Case {
        id: "Q1-types",
        title: "a reply of the wrong type, one that breaks the form and a forged one are errors and counters, no answers",
        needs: &[Feature::Inbox, Feature::DurableGroup],
        bites: &[Fault::LoseMessage, Fault::InboxDeaf],
        run: |ctx| Box::pin(spoiled(ctx)),
    },
    Case {
        id: "Q4",
        title: "a reply may go to a channel of the users', and a responder may keep it to itself",
        needs: &[Feature::Inbox, Feature::DurableGroup],
        bites: &[Fault::LoseMessage, Fault::PublishUnconfirmedSuccess],
        run: |ctx| Box::pin(forwarded(ctx)),
    },
    Case {
        id: "Q4-gone",
        title: "a reply to a caller that is gone neither blocks nor breaks its responder",
        needs: &[Feature::Inbox, Feature::DurableGroup],
        bites: &[Fault::LoseMessage, Fault::InboxDeaf],
        run: |ctx| Box::pin(gone(ctx)),
    },
];

async fn answered(ctx: Ctx) -> Verdict {
    let (callers, responders) = (ctx.bus().await?, ctx.bus().await?);
    let add = |asked: Add| async move {
        match asked.left.checked_add(asked.right) {
            Some(sum) => Ok(sum),
            None => {
                Err(Failure::new(FailureCode::UnprocessableContent, "too large").with_details(json!({"max": u64::MAX})))
            }
        }
    };
    let responder = EventRpc::new(&responders).respond::<Add, _, _>("adding", add).await?;
    let rpc = EventRpc::new(&callers);
    for left in 0..ctx.count(20, 1_000) as u64 {
        same("the sum", rpc.request(&Add { left, right: 1 }).await?, left + 1)?;
    }
    let name = EventName::parse("conformance:add")?;
    let channel = ChannelName::parse("conformance-sums")?;
    let raw = Envelope::new(name.clone(), channel.clone(), Payload::json(r#"{"left":2,"right":3}"#));
    same("the raw reply", rpc.request_envelope(raw).await?.decode::<u64>()?, 5)?;
    let error = rpc.request(&Add { left: u64::MAX, right: 1 }).await.err();
    let failure = error.as_ref().and_then(|error| error.failure());
    same("the failure", failure.map(|failure| failure.code), Some(FailureCode::UnprocessableContent))?;
    same("its details", failure.and_then(|failure| failure.details.clone()), Some(json!({"max": u64::MAX})))?;
    let broken = Envelope::new(name, channel, Payload::json(r#"{"left":2}"#));
    let code = rpc.request_envelope(broken).await.err().map(|error| error.code());
    same("the failure of a request that does not fit", code, Some(FailureCode::BadRequest))?;
    let stats = rpc.stats();
    same("waiters and foreign replies", (stats.pending, stats.foreign, stats.late), (0, 0, 0))?;
    responder.stop().await;
    Ok(())
}

async fn spoiled(ctx: Ctx) -> Verdict {
    let (callers, responders) = (ctx.bus().await?, ctx.bus().await?);
    let rpc = EventRpc::new(&callers);
    let mut requests = responders.subscribe::<Add>().group("by-hand").await?;
    for (body, malformed) in [
        (ReplyBody::value(&"text")?, false),
        (ReplyBody::Value(Payload::bytes(&b"\xff\xfe"[..])), false),
        (ReplyBody::End { items: 0 }, false),
    ] {
        let waiting = call(&rpc, 1, ctx.bounds().receive);
        let (request, to) = asked(&ctx, &mut requests).await?;
        responders.reply(&to, body.clone()).await?;
        request.ack();
        let kind = ended(waiting).await?.err().and_then(|error| error.bus_kind());
        same("the error", (kind, malformed), (Some(ErrorKind::Codec), false))?;
    }
    // The address is known to whoever was asked, the correlation id of another call is not.
    let waiting = call(&rpc, 1, ctx.bounds().receive);
    let (request, to) = asked(&ctx, &mut requests).await?;
    let mut forged = pubsub_core::Message::clone(request.message());
    forged.envelope_mut().meta.correlation_id = Some("forged".to_owned());
    responders.reply(&super::reply_to(&Arc::new(forged))?, ReplyBody::value(&666)?).await?;
    eventually(&ctx, "the forged reply to be counted", || rpc.stats().foreign == 1).await?;
    responders.reply(&to, ReplyBody::value(&2)?).await?;
    same("the sum", ended(waiting).await??, 2)?;
    same("waiters", rpc.stats().pending, 0)
}

async fn ended<T>(task: tokio::task::JoinHandle<T>) -> Verdict<T> {
    task.await.map_err(|error| crate::conformance::Failure::new("a call that ends well", error))
}

async fn forwarded(ctx: Ctx) -> Verdict {
    let bus = ctx.bus().await?;
    let channel = ctx.channel("answers")?;
    let mut answers = bus.subscribe_channel(channel.as_str()).group("readers").await?;
    let rpc = EventRpc::new(&bus);
    let executed = Arc::new(AtomicUsize::new(0));
    let add = {
        let executed = executed.clone();
        move |asked: Add| {
            executed.fetch_add(1, Ordering::Relaxed);
            async move { Ok(asked.left + asked.right) }
        }
    };
    let silent = rpc.respond::<Add, _, _>("adding", add.clone()).without_reply().await?;
    let ask = |meta: &mut pubsub_core::Meta| meta.reply_to = Some(channel.to_string());
    bus.publish(&Add { left: 1, right: 1 }).meta(ask).await?;
    eventually(&ctx, "the request to be executed", || executed.load(Ordering::Relaxed) == 1).await?;
    quiet(&ctx, &mut answers).await?;
    silent.stop().await;
    let _loud = rpc.respond::<Add, _, _>("adding", add).await?;
    let id = pubsub_core::EventId::random();
    bus.publish(&Add { left: 2, right: 2 }).id(id.clone()).meta(ask).await?;
    loop {
        let answer = next(&ctx, &mut answers).await?;
        let reply = Reply::read(&answer)?;
        same("the responder", reply.responder.as_deref(), Some("adding"))?;
        let is_ours = Reply::correlation_id(&answer) == Some(&*id.to_string());
        answer.ack();
        if is_ours {
            return same("the answer", reply.body, ReplyBody::value(&4)?);
        }
        // The broker may not have known that the first one was done when its member left.
        same("the answer to the first request", reply.body, ReplyBody::value(&2)?)?;
    }
}

async fn gone(ctx: Ctx) -> Verdict {
    let (callers, responders) = (ctx.bus().await?, ctx.bus().await?);
    let mut requests = responders.subscribe::<Add>().group("by-hand").await?;
    let rpc = EventRpc::new(&callers);
    let waiting = call(&rpc, 1, ctx.bounds().receive);
    let (request, _) = asked(&ctx, &mut requests).await?;
    waiting.abort();
    drop(rpc);
    ctx.close_bus(&callers).await?;
    let begun = tokio::time::Instant::now();
    // Some brokers take it, others tell that nobody is there.
    let told = answer(&responders, request.message(), 2).await;
    ensure(begun.elapsed() < ctx.bounds().receive, "an end in time", format!("{told:?} after {:?}", begun.elapsed()))?;
    request.ack();
    let others = ctx.bus().await?;
    let rpc = EventRpc::new(&others);
    let waiting = call(&rpc, 5, ctx.bounds().receive);
    let (request, to) = asked(&ctx, &mut requests).await?;
    responders.reply(&to, ReplyBody::value(&6)?).await?;
    request.ack();
    same("the sum", ended(waiting).await??, 6)
}
