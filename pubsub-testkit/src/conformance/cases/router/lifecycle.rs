//! E13: a handler may end its own subscription.

use pubsub_core::{Control, Event};
use pubsub_router::{ConsumerState, Router};

use super::{HANDLERS, Log, drain, note, publish, start};
use crate::{
    conformance::{Case, Ctx, Note, Verdict, eventually, next, same},
    faulty::Fault,
};

pub(super) const CASES: &[Case] = &[Case {
    id: "E13",
    title: "a handler that ends its subscription ends only that one, and loses nothing of it",
    needs: HANDLERS,
    bites: &[Fault::DropStopsSiblings, Fault::ReleaseLoses],
    run: |ctx| Box::pin(ends_itself(ctx)),
}];

async fn ends_itself(ctx: Ctx) -> Verdict {
    let (bus, log) = (ctx.bus().await?, Log::default());
    let (first, second) = (log.clone(), log.clone());
    let ending = Router::new().group("ending").on(move |event: Note, control: Control| {
        first.add(("ending", event.number));
        control.end();
        async {}
    });
    let staying = Router::new().group("staying").on(move |event: Note| {
        second.add(("staying", event.number));
        async {}
    });
    let running = start(&bus, Router::new().merge(ending).merge(staying)).await?;
    publish(&bus, "a", 0..4).await?;
    let ended = || {
        let status = running.status();
        status.iter().any(|one| one.group.as_str() == "ending" && one.state == ConsumerState::Ended(None))
    };
    eventually(&ctx, "the subscription to end", ended).await?;
    bus.publish(&note("a", 4)).await?;
    let of = |name| log.all().into_iter().filter(|seen| seen.0 == name).map(|seen| seen.1).collect::<Vec<_>>();
    eventually(&ctx, "the other to go on", || of("staying").len() >= 5).await?;
    same("what the ended one handled", of("ending"), vec![0])?;
    let mut rest = bus.subscribe::<Note>().group("ending").await?;
    for number in 1..5 {
        let event = next(&ctx, &mut rest).await?;
        same("what it left", event.number, number)?;
        event.ack();
    }
    same("its channel", Note::CHANNEL, "conformance-notes")?;
    drain(&ctx, &running).await
}
