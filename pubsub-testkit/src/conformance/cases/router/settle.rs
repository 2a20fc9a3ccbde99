//! B15, B16, B18, B19: how handlers' results are settled.

use std::{sync::Arc, time::Duration};

use pubsub_core::{ChannelName, ChannelPolicy, Event};
use pubsub_router::{Attempt, DeadLetter, Emitter, HandlerError, ManualAck, Router, Settle};

use super::{HANDLERS, Log, drain, eager, note, notes, publish, settled, start};
use crate::{
    conformance::{Case, Ctx, Note, Sample, Verdict, dead_letters, ensure, eventually, failed, next, quiet, same},
    faulty::Fault,
};

pub(super) const CASES: &[Case] = &[
    Case {
        id: "B15",
        title: "each policy performs exactly its settlement on success, on an error, and on an explicit decision",
        needs: HANDLERS,
        bites: &[Fault::DropAck, Fault::IgnoreNack, Fault::RejectRequeues],
        run: |ctx| Box::pin(policies(ctx)),
    },
    Case {
        id: "B16",
        title: "a handler that is cut off by shutdown settles nothing: the event reaches the next process",
        needs: HANDLERS,
        bites: &[Fault::ReleaseLoses],
        run: |ctx| Box::pin(cut_off(ctx)),
    },
    Case {
        id: "B18",
        title: "while its dead letter cannot be written, the original is not settled",
        needs: HANDLERS,
        bites: &[Fault::IgnoreNack],
        run: |ctx| Box::pin(no_letter(ctx)),
    },
    Case {
        id: "B19",
        title: "what a handler emits goes out only if it succeeds, and its event is acknowledged after that",
        needs: HANDLERS,
        bites: &[Fault::IgnoreNack, Fault::PublishUnconfirmedSuccess],
        run: |ctx| Box::pin(emitting(ctx)),
    },
];

/// What a handler does with its event.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Says {
    Nothing,
    Error,
    Reject,
    Again,
}

async fn policies(ctx: Ctx) -> Verdict {
    // The policy, what the handler says, how often it is called, and whether there is a dead letter.
    let rows = [
        (Settle::NackOnError, Says::Nothing, 1, false),
        (Settle::NackOnError, Says::Error, 3, true),
        (Settle::NackOnError, Says::Reject, 1, true),
        (Settle::RejectOnError, Says::Nothing, 1, false),
        (Settle::RejectOnError, Says::Error, 1, true),
        (Settle::AckOnError, Says::Error, 1, false),
        (Settle::AckOnError, Says::Reject, 1, true),
        (Settle::AckFirst, Says::Error, 1, false),
        (Settle::AckFirst, Says::Reject, 1, false),
        (Settle::Manual, Says::Nothing, 1, false),
        (Settle::Manual, Says::Reject, 1, true),
        (Settle::Manual, Says::Again, 2, false),
    ];
    let bus = ctx.bus().await?;
    let mut members = Vec::new();
    for (index, (settle, says, calls, dead)) in rows.into_iter().enumerate() {
        let (group, log) = (format!("row-{index}"), Log::default());
        let seen = log.clone();
        let handler = move |_: Note, Attempt(attempt): Attempt, ack: Option<ManualAck>| {
            seen.add(attempt);
            async move { act(says, attempt, ack) }
        };
        let router = Router::new().group(&group).on(handler).settle(settle);
        // A retry layer decides for plain errors, so it is only where they are to be retried.
        let router = if settle == Settle::NackOnError { router.layer(eager(3)) } else { router };
        members.push((group, log, start(&bus, router).await?, format!("{settle:?}, {says:?}"), calls, dead));
    }
    bus.publish(&note("a", 1)).await?;
    for (group, log, running, what, calls, dead) in members {
        log.reach(&ctx, calls).await.map_err(|failure| failure.during(&what))?;
        if dead {
            dead_letters(&ctx, &bus, &notes()?, &group, 1).await.map_err(|failure| failure.during(&what))?;
        }
        settled(&ctx, &running, &group).await.map_err(|failure| failure.during(&what))?;
        drain(&ctx, &running).await?;
        same(&format!("{what}: calls"), log.len(), calls)?;
        same(
            &format!("{what}: dead letters"),
            dead_letters(&ctx, &bus, &notes()?, &group, 0).await?.len(),
            usize::from(dead),
        )?;
        let mut rest = bus.subscribe::<Note>().group(&group).await?;
        quiet(&ctx, &mut rest).await.map_err(|failure| failure.during(&what))?;
    }
    Ok(())
}

fn act(says: Says, attempt: u32, ack: Option<ManualAck>) -> Result<(), HandlerError> {
    if let Some(ManualAck(ack)) = ack {
        match says {
            Says::Reject => ack.reject("by hand")?,
            Says::Again if attempt == 1 => ack.nack_after(Duration::from_millis(10))?,
            _ => ack.ack(),
        }
        return Ok(());
    }
    match says {
        Says::Nothing => Ok(()),
        Says::Error => Err(HandlerError::retry("plain")),
        Says::Reject => Err(HandlerError::reject("rejected")),
        Says::Again => Err(HandlerError::retry_after(Duration::from_millis(10), "again")),
    }
}

async fn cut_off(ctx: Ctx) -> Verdict {
    let (first, second) = (ctx.bus().await?, ctx.bus().await?);
    let (started, done) = (Log::default(), Log::default());
    let begun = started.clone();
    let stuck = move |event: Note| {
        begun.add(event.number);
        std::future::pending::<()>()
    };
    let running = start(&first, Router::new().group("g").on(stuck)).await?;
    publish(&first, "a", 0..3).await?;
    started.reach(&ctx, 1).await?;
    let drained = running.drain(Duration::from_millis(200)).await;
    ensure(drained.is_err(), "a drain that tells of what was not finished", "success")?;
    ctx.close_bus(&first).await?;
    let seen = done.clone();
    let finish = move |event: Note, Attempt(attempt): Attempt| {
        seen.add((event.number, attempt));
        async {}
    };
    let running = start(&second, Router::new().group("g").on(finish)).await?;
    let mut seen = done.reach(&ctx, 3).await?;
    seen.sort_unstable();
    same("what the next process got", seen.iter().map(|seen| seen.0).collect::<Vec<_>>(), vec![0, 1, 2])?;
    settled(&ctx, &running, "g").await?;
    drain(&ctx, &running).await?;
    same("dead letters", dead_letters(&ctx, &second, &notes()?, "g", 0).await?.len(), 0)
}

async fn no_letter(ctx: Ctx) -> Verdict {
    let full = ChannelPolicy::new().max_payload(1);
    let bus = ctx.bus_with(|builder| builder.policy("no-letters", full)).await?;
    let log = Log::default();
    let seen = log.clone();
    let handler = move |event: Note, Attempt(attempt): Attempt| {
        seen.add((event.number, attempt));
        async { Err::<(), _>(HandlerError::reject("never")) }
    };
    let router = Router::new().group("g").on(handler).layer(DeadLetter::to("no-letters")?);
    let running = start(&bus, router).await?;
    bus.publish(&note("a", 1)).await?;
    let seen = log.reach(&ctx, 2).await?;
    same("the event of each call", seen.iter().map(|seen| seen.0).collect::<Vec<_>>(), vec![1; seen.len()])?;
    ensure(seen[1].1 > seen[0].1, "an attempt more at the second call", format!("{seen:?}"))?;
    drain(&ctx, &running).await?;
    let mut rest = bus.subscribe::<Note>().group("g").await?;
    let event = next(&ctx, &mut rest).await?;
    same("the event that is still there", event.number, 1)?;
    event.ack();
    Ok(())
}

async fn emitting(ctx: Ctx) -> Verdict {
    let refusing = ChannelPolicy::new().max_payload(1);
    let bus = ctx.bus_with(|builder| builder.policy(Sample::CHANNEL, refusing)).await?;
    let (emitted, calls) = (Log::default(), Arc::new(Log::default()));
    let seen = emitted.clone();
    let follow = Router::new().group("after").nest(
        "after",
        Router::new().on(move |event: Note| {
            seen.add(event.number);
            async {}
        }),
    );
    let called = calls.clone();
    let handler = move |event: Note, Attempt(attempt): Attempt, emit: Emitter| {
        called.add((event.number, attempt));
        async move {
            let mut next = emit.envelope(&note("b", 10 * event.number + u64::from(attempt)))?;
            next.channel = ChannelName::parse(&format!("after.{}", Note::CHANNEL))?;
            emit.emit_envelope(next)?;
            match (event.number, attempt) {
                (1, 1) => Err(HandlerError::retry("not yet")),
                (2, 1) => std::panic::resume_unwind(Box::new("at work")),
                (3, 1) => {
                    // The policy of that channel refuses it.
                    let mut refused = emit.envelope(&note("c", 1))?;
                    refused.channel = ChannelName::parse(Sample::CHANNEL)?;
                    Ok(emit.emit_envelope(refused)?)
                }
                _ => Ok(()),
            }
        }
    };
    let router = Router::new().group("g").on(handler).layer(eager(3)).merge(follow);
    let running = start(&bus, router).await?;
    publish(&bus, "a", 1..5).await?;
    eventually(&ctx, "all to succeed", || {
        running.handled("g", Note::CHANNEL).is_ok_and(|handled| handled.succeeded == 4)
    })
    .await?;
    settled(&ctx, &running, "g").await?;
    emitted.reach(&ctx, 4).await?;
    drain(&ctx, &running).await?;
    let mut seen = emitted.all();
    seen.sort_unstable();
    seen.dedup();
    // The refused publish may have sent the one beside it.
    if seen != [12, 22, 32, 41] && seen != [12, 22, 31, 32, 41] {
        return failed("only what successful calls emitted", format!("{seen:?}, calls {:?}", calls.all()));
    }
    Ok(())
}
