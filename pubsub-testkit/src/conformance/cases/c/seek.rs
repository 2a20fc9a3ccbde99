//! C8: moving an open subscription.

use std::ops::Range;

use pubsub_core::{Events, Raw, StartPosition, driver::Feature};

use crate::{
    conformance::{
        Case, Ctx, Failure, Ledger, Mode, Numbered, Verdict, cases::crowd::publish, ensure, next, next_n, read_all,
    },
    faulty::Fault,
};

pub(super) const CASES: &[Case] = &[Case {
    id: "C8-seek",
    title: "seeking back delivers again what was acknowledged, seeking to the end passes over what was not",
    needs: &[Feature::DurableGroup, Feature::Seek, Feature::ReplayById],
    bites: &[Fault::WrongPosition, Fault::SeekIgnored],
    run: |ctx| Box::pin(seeks(ctx)),
}];

async fn seeks(ctx: Ctx) -> Verdict {
    let (bus, channel) = (ctx.bus().await?, ctx.channel("c8-seek")?);
    let mut events = ctx.reader(&bus, &channel, Mode::Durable, "seeking").max_in_flight(4).await?;
    publish(&bus, &channel, 0..10).await?;
    let mut third = None;
    for event in next_n(&ctx, &mut events, 4).await? {
        if event.serial()? == 2 {
            third = event.position().cloned();
        }
        event.ack_confirmed().await?;
    }
    let third = third.ok_or_else(|| Failure::new("a position of each delivery", "none"))?;
    // One is in hand and three in the buffer: the seek takes all of them back.
    let held = next(&ctx, &mut events).await?;
    events.seek(StartPosition::After(third)).await?;
    ensure(!held.is_live(), "the lease of what was in hand to be gone", "a live one")?;
    held.ack();
    expect(&ctx, &mut events, 3..10).await?;
    events.seek(StartPosition::Earliest).await?;
    expect(&ctx, &mut events, 0..10).await?;
    publish(&bus, &channel, 10..12).await?;
    let held = next(&ctx, &mut events).await?;
    events.seek(StartPosition::Latest).await?;
    drop(held);
    publish(&bus, &channel, 12..14).await?;
    expect(&ctx, &mut events, 12..14).await
}

async fn expect(ctx: &Ctx, events: &mut Events<Raw>, serials: Range<usize>) -> Verdict {
    let mut ledger = Ledger::expecting(serials.clone());
    let read = read_all(ctx, events, &mut ledger).await;
    read.map_err(|failure| failure.during(format!("after seeking for {serials:?}")))
}
