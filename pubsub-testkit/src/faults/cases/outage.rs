//! X3, R12, X14: publishing and closing while the broker is away.

use std::time::Duration;

use pubsub_core::{ChannelName, driver::Feature};
use tokio::time::{Instant, timeout};

use super::tools::{ALL, all_failed, attempts, consumer, next, publish};
use crate::{
    conformance::{Failure, Verdict, ensure},
    faults::{Action, Consuming, FaultCase, Flaw, Stage, Tally, work::item},
};

pub(super) const CASES: &[FaultCase] = &[
    FaultCase {
        id: "X3",
        title: "what is published while the broker is down fails in time; nothing is confirmed in silence",
        needs: &[Feature::DurableGroup],
        on: ALL,
        bites: &[Flaw::ConfirmsInOutage, Flaw::HangsInOutage, Flaw::NeverRecovers],
        run: |stage| Box::pin(published(stage, Action::Kill, Action::Start)),
    },
    FaultCase {
        id: "R12",
        title: "a full window pushes back while nothing passes, and all that was refused is told so",
        needs: &[Feature::DurableGroup],
        on: ALL,
        bites: &[Flaw::ConfirmsInOutage, Flaw::HangsInOutage],
        run: |stage| Box::pin(published(stage, Action::Stall, Action::Heal)),
    },
    FaultCase {
        id: "X14",
        title: "closing while the broker is down ends within its deadline, and so does what is underway",
        needs: &[Feature::DurableGroup],
        on: ALL,
        bites: &[Flaw::CloseHangsInOutage],
        run: |stage| Box::pin(closed(stage, Action::Kill)),
    },
    FaultCase {
        id: "X14-silent",
        title: "closing while the broker is silent ends within its deadline, and so does what is underway",
        needs: &[Feature::DurableGroup],
        on: ALL,
        bites: &[Flaw::CloseHangsInOutage, Flaw::HangsInOutage],
        run: |stage| Box::pin(closed(stage, Action::Pause)),
    },
];

async fn published(stage: Stage, away: Action, back: Action) -> Verdict {
    let (channel, flood) = (stage.channel("x3")?, stage.count(4_000, 50_000));
    let mut crew = stage.crew(Tally::new())?;
    let lease = stage.lease();
    let reader = crew.add(&consumer(&channel, Consuming { lease, ..Consuming::default() })).await?;
    crew.ready(&[reader]).await?;
    let bus = stage.bus(0).await?;
    let sound = attempts(&crew, &stage, &bus, &channel, 0..20).await?;
    ensure(sound.iter().all(|attempt| attempt.result.is_ok()), "20 events confirmed", "an error")?;

    stage.act(away).await?;
    let one_by_one = attempts(&crew, &stage, &bus, &channel, 20..21).await?;
    all_failed(&stage, &one_by_one)?;
    let all = attempts(&crew, &stage, &bus, &channel, 21..flood).await?;
    // The last ones may have had to wait for a turn.
    let ended = all.iter().filter(|attempt| attempt.result.is_ok()).count();
    ensure(ended == 0, "an error for each, as the broker takes nothing", format!("{ended} confirmed"))?;
    stage.act(back).await?;

    stage.until_ready(&bus, true, stage.bounds().recover).await?;
    publish(&mut crew, &stage, &channel, flood, 200).await?;
    let repeats = crew.repeats(1, 1, 64);
    crew.finish(repeats).await.map(drop)
}

async fn closed(stage: Stage, away: Action) -> Verdict {
    let (channel, bounds) = (stage.channel("x14")?, stage.bounds());
    let mut crew = stage.crew(Tally::new())?;
    let bus = stage.bus(0).await?;
    let mut events = bus.subscribe_channel(&channel).group("workers").max_in_flight(8).await?;
    publish(&mut crew, &stage, &channel, 0, 20).await?;
    let mut held = Vec::new();
    for _ in 0..8 {
        held.push(next(&mut events, bounds.recover, "an event").await?);
    }
    stage.act(away).await?;
    let name = ChannelName::parse(&channel)?;
    let mut underway = Vec::new();
    for serial in 20..40 {
        let (bus, event) = (bus.clone(), item(&name, serial, 0)?);
        underway.push(tokio::spawn(async move { bus.publish_envelope(event).await.map(drop) }));
    }
    // Half of what is in hand is settled, which the broker will not hear.
    held.drain(..4).for_each(|event| event.ack());
    tokio::time::sleep(Duration::from_millis(300)).await;

    let (begun, limit) = (Instant::now(), bounds.close + bounds.slack);
    match timeout(limit, bus.close(bounds.close)).await {
        // What it says does not matter: it may have had to leave something behind.
        Ok(_) => stage.say(format_args!("closed in {:.1} s", begun.elapsed().as_secs_f64())),
        Err(_) => return Err(Failure::new(format!("an end within {limit:?}"), "it is still closing")),
    }
    for publication in underway {
        match timeout(bounds.slack, publication).await {
            Ok(Ok(result)) => ensure(result.is_err(), "an error, as the broker takes nothing", "success")?,
            Ok(Err(panic)) => return Err(Failure::new("no panic", panic)),
            Err(_) => return Err(Failure::new("publications to end when the bus is closed", "one is underway")),
        }
    }
    Ok(())
}
