//! R1, R3, R4, R5, R9, R10: what is lost elsewhere when something fails, and not here.

use std::time::Duration;

use pubsub_core::Event;
use pubsub_router::{Attempt, HandlerError, Router};

use super::{HANDLERS, Log, drain, eager, note, notes, publish, settled, start};
use crate::{
    conformance::{Case, Ctx, Note, Verdict, dead_letters, ensure, eventually, same},
    faulty::Fault,
};

pub(super) const CASES: &[Case] = &[
    Case {
        id: "R3",
        title: "a process that ends within a delayed retry does not lose the event",
        needs: HANDLERS,
        bites: &[Fault::IgnoreNack],
        run: |ctx| Box::pin(ends_while_waiting(ctx)),
    },
    Case {
        id: "R4",
        title: "after a panic others go on, the event is tried again and becomes a dead letter, and a restart finds the rest",
        needs: HANDLERS,
        bites: &[Fault::IgnoreNack, Fault::LoseMessage, Fault::AttemptStuck],
        run: |ctx| Box::pin(panics(ctx)),
    },
    Case {
        id: "R5",
        title: "a plain error means retry, and its text is in the dead letter",
        needs: HANDLERS,
        bites: &[Fault::IgnoreNack, Fault::AttemptStuck],
        run: |ctx| Box::pin(plain_error(ctx)),
    },
    Case {
        id: "R9",
        title: "a retry and a dead letter reach only the group that failed",
        needs: HANDLERS,
        bites: &[Fault::GroupsMerged, Fault::Duplicate],
        run: |ctx| Box::pin(only_the_failing_group(ctx)),
    },
    Case {
        id: "R10",
        title: "a poison event stops at the default cap, although its handler asks for more",
        needs: HANDLERS,
        bites: &[Fault::AttemptStuck, Fault::IgnoreNack],
        run: |ctx| Box::pin(default_cap(ctx)),
    },
];

async fn ends_while_waiting(ctx: Ctx) -> Verdict {
    let (first, second, log) = (ctx.bus().await?, ctx.bus().await?, Log::default());
    let handler = |name: &'static str| {
        let seen = log.clone();
        Router::new().group("g").on(move |event: Note, Attempt(attempt): Attempt| {
            seen.add((name, event.number, attempt));
            async move {
                match name {
                    "first" => Err(HandlerError::retry_after(Duration::from_millis(300), "later")),
                    _ => Ok(()),
                }
            }
        })
    };
    let running = start(&first, handler("first")).await?;
    publish(&first, "a", 0..3).await?;
    log.reach(&ctx, 3).await?;
    drop(running); // cut off, as at the end of a process
    ctx.close_bus(&first).await?;
    let running = start(&second, handler("second")).await?;
    let second_saw = || {
        let mut numbers: Vec<_> = log.all().iter().filter(|seen| seen.0 == "second").map(|seen| seen.1).collect();
        numbers.sort_unstable();
        numbers.dedup();
        numbers
    };
    eventually(&ctx, "everything to come again", || second_saw() == [0, 1, 2]).await?;
    settled(&ctx, &running, "g").await?;
    drain(&ctx, &running).await
}

async fn panics(ctx: Ctx) -> Verdict {
    let (first, second, log) = (ctx.bus().await?, ctx.bus().await?, Log::default());
    let handler = |name: &'static str| {
        let seen = log.clone();
        let on = Router::new().group("g").on(move |event: Note, Attempt(attempt): Attempt| {
            seen.add((name, event.number, attempt));
            async move {
                if event.number == 2 {
                    std::panic::resume_unwind(Box::new("number 2"));
                }
            }
        });
        on.layer(eager(3))
    };
    let running = start(&first, handler("first")).await?;
    publish(&first, "a", 0..5).await?;
    let letters = dead_letters(&ctx, &first, &notes()?, "g", 1).await?;
    let meta = letters[0].message.meta();
    same("its attempts", meta.dead_attempts, Some(3))?;
    let reason = meta.dead_reason.clone().unwrap_or_default();
    ensure(reason.contains("number 2"), "a reason with the panic's text", reason)?;
    eventually(&ctx, "the others to be handled", || {
        running.handled("g", Note::CHANNEL).is_ok_and(|handled| handled.succeeded == 4)
    })
    .await?;
    drain(&ctx, &running).await?;
    publish(&first, "a", 5..8).await?;
    ctx.close_bus(&first).await?;
    let running = start(&second, handler("second")).await?;
    let rest = || log.all().iter().filter(|seen| seen.0 == "second").map(|seen| seen.1).collect::<Vec<_>>();
    eventually(&ctx, "a restart to find the rest", || rest().len() >= 3).await?;
    settled(&ctx, &running, "g").await?;
    drain(&ctx, &running).await?;
    let mut found = rest();
    found.sort_unstable();
    same("what the restart found", found, vec![5, 6, 7])
}

async fn plain_error(ctx: Ctx) -> Verdict {
    let (bus, log) = (ctx.bus().await?, Log::default());
    let seen = log.clone();
    let handler = move |event: Note, Attempt(attempt): Attempt| {
        seen.add((event.number, attempt));
        async move {
            match attempt {
                1 | 2 => Err(std::io::Error::other(format!("no answer to {}", event.number))),
                _ if event.number == 1 => Err(std::io::Error::other("the last word")),
                _ => Ok(()),
            }
        }
    };
    let running = start(&bus, Router::new().group("g").on(handler).layer(eager(3))).await?;
    publish(&bus, "a", 0..2).await?;
    let letters = dead_letters(&ctx, &bus, &notes()?, "g", 1).await?;
    settled(&ctx, &running, "g").await?;
    drain(&ctx, &running).await?;
    let meta = letters[0].message.meta();
    same("the reason", meta.dead_reason.as_deref(), Some("the last word"))?;
    same("the attempts", meta.dead_attempts, Some(3))?;
    let mut seen = log.all();
    seen.sort_unstable();
    same("the calls", seen, vec![(0, 1), (0, 2), (0, 3), (1, 1), (1, 2), (1, 3)])
}

async fn only_the_failing_group(ctx: Ctx) -> Verdict {
    let (bus, log) = (ctx.bus().await?, Log::default());
    let handler = |group: &'static str| {
        let seen = log.clone();
        Router::new().group(group).on(move |event: Note| {
            seen.add((group, event.number));
            async move { if group == "fails" { Err("no") } else { Ok(()) } }
        })
    };
    let router = Router::new().merge(handler("fails")).merge(handler("works")).layer(eager(3));
    let running = start(&bus, router).await?;
    publish(&bus, "a", 0..4).await?;
    dead_letters(&ctx, &bus, &notes()?, "fails", 4).await?;
    settled(&ctx, &running, "fails").await?;
    settled(&ctx, &running, "works").await?;
    drain(&ctx, &running).await?;
    let count = |group| log.all().iter().filter(|seen| seen.0 == group).count();
    same("the calls of the group that fails", count("fails"), 12)?;
    same("the calls of the group that works", count("works"), 4)?;
    same("the dead letters of the group that works", dead_letters(&ctx, &bus, &notes()?, "works", 0).await?.len(), 0)
}

async fn default_cap(ctx: Ctx) -> Verdict {
    let (bus, log) = (ctx.bus().await?, Log::default());
    let seen = log.clone();
    let handler = move |_: Note, Attempt(attempt): Attempt| {
        seen.add(attempt);
        async { Err::<(), _>(HandlerError::retry_after(Duration::from_millis(5), "once more")) }
    };
    let running = start(&bus, Router::new().group("g").on(handler)).await?;
    bus.publish(&note("a", 1)).await?;
    let letters = dead_letters(&ctx, &bus, &notes()?, "g", 1).await?;
    settled(&ctx, &running, "g").await?;
    drain(&ctx, &running).await?;
    same("the attempts", letters[0].message.meta().dead_attempts, Some(8))?;
    same("the calls", log.all(), (1..=8).collect::<Vec<_>>())
}
