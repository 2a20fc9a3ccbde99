//! R3-kill, R4-kill, B16-term: handlers whose process is killed, or asked to end.

use std::time::Duration;

use pubsub_core::{LetterFilter, driver::Feature};
use tokio::time::{Instant, sleep};

use super::tools::{ALL, handler, publish};
use crate::{
    conformance::{Failure, Verdict, ensure, same},
    faults::{FaultCase, Flaw, Handling, Note, Stage, Tally, handling::channel_below},
    faulty::Fault,
};

const HANDLERS: &[Feature] =
    &[Feature::DurableGroup, Feature::Nack, Feature::DelayedNack, Feature::DeliveryCount, Feature::DeadLetter];

pub(super) const CASES: &[FaultCase] = &[
    FaultCase {
        id: "R3-kill",
        title: "a process is killed while its failed events wait to be tried again: its successor gets them",
        needs: HANDLERS,
        on: ALL,
        bites: &[Flaw::Always(Fault::IgnoreNack)],
        run: |stage| Box::pin(killed_while_waiting(stage)),
    },
    FaultCase {
        id: "R4-kill",
        title: "a handler panics and its process is killed: its successor gets the rest, and the poison is a dead letter",
        needs: HANDLERS,
        on: ALL,
        bites: &[Flaw::KeepsDead, Flaw::Always(Fault::IgnoreNack), Flaw::Always(Fault::LoseMessage)],
        run: |stage| Box::pin(panicked(stage)),
    },
    FaultCase {
        id: "B16-term",
        title: "a process is asked to end: running handlers finish, and what is unfinished comes to a peer unsettled",
        needs: HANDLERS,
        on: ALL,
        bites: &[Flaw::Always(Fault::ReleaseLoses), Flaw::Always(Fault::DropAck)],
        run: |stage| Box::pin(terminated(stage)),
    },
];

async fn killed_while_waiting(stage: Stage) -> Verdict {
    const EVENTS: usize = 20;
    let (channel, bounds) = (channel_below(&stage.channel("r3")?), stage.bounds());
    let delay = Duration::from_secs(2);
    let mut crew = stage.crew(Tally::new())?;
    let how = Handling { lease: Some(bounds.lease), ..Handling::default() };
    let victim = crew.fork(&handler(&channel, Handling { later: Some(delay), ..how.clone() })).await?;
    crew.ready(&[victim]).await?;
    publish(&mut crew, &stage, &channel, 0, EVENTS).await?;
    let all_wait = |tally: &Tally| tally.standing(victim).seen >= EVENTS;
    crew.until("every event to have failed once", stage.patience(EVENTS), all_wait).await?;
    crew.kill(victim).await?;

    let begun = Instant::now();
    let successor = crew.fork(&handler(&channel, how)).await?;
    crew.ready(&[successor]).await?;
    let limit = bounds.takeover + delay;
    crew.until("all of them to be done", limit, |tally| tally.done() == EVENTS).await?;
    stage.say(format_args!("all done {:.1} s after the kill", begun.elapsed().as_secs_f64()));
    let repeats = crew.repeats(1, 1, EVENTS);
    crew.finish(repeats).await.map(drop)
}

async fn panicked(stage: Stage) -> Verdict {
    const EVENTS: usize = 40;
    const POISON: usize = 2;
    let (channel, bounds) = (channel_below(&stage.channel("r4")?), stage.bounds());
    let mut crew = stage.crew(Tally::new())?;
    let work = Duration::from_millis(50);
    let how = Handling { in_flight: 16, panics: Some(POISON), work, lease: Some(bounds.lease), ..Handling::default() };
    let victim = crew.fork(&handler(&channel, how.clone())).await?;
    crew.ready(&[victim]).await?;
    publish(&mut crew, &stage, &channel, 0, EVENTS).await?;
    let at_work = |tally: &Tally| tally.times(POISON) > 0 && tally.done() > 3;
    crew.until("others to be done although one panics", stage.patience(EVENTS), at_work).await?;
    crew.kill(victim).await?;

    let begun = Instant::now();
    let successor = crew.fork(&handler(&channel, how.clone())).await?;
    crew.ready(&[successor]).await?;
    let limit = bounds.takeover + work * EVENTS as u32 * 2;
    crew.until("all others to be done", limit, |tally| tally.done() == EVENTS - 1).await?;
    stage.say(format_args!("all done {:.1} s after the kill", begun.elapsed().as_secs_f64()));
    let letters = stage.bus(0).await?.dead_letter_box(&channel, &how.group)?;
    let deadline = Instant::now() + bounds.takeover;
    let letter = loop {
        match letters.list(&LetterFilter::all(), 10).await?.as_slice() {
            [letter] => break letter.clone(),
            [] if Instant::now() < deadline => sleep(Duration::from_millis(50)).await,
            found => return Err(Failure::new("one dead letter", format!("{found:?}"))),
        }
    };
    ensure(letter.reason().contains("this one always"), "the panic's text as its reason", letter.reason())?;
    same("the poison's work", crew.tally().is_done(POISON), false)?;
    crew.note(Note::Done(POISON)); // as far as it can be
    let repeats = crew.repeats(1, 1, how.in_flight) + 2;
    crew.finish(repeats).await.map(drop)
}

async fn terminated(stage: Stage) -> Verdict {
    const AT_WORK: usize = 4;
    const EVENTS: usize = 16;
    let (channel, bounds) = (channel_below(&stage.channel("b16")?), stage.bounds());
    let mut crew = stage.crew(Tally::new())?;
    let (drain, work) = (Duration::from_secs(2), Duration::from_secs(1));
    let how = Handling { in_flight: EVENTS, lease: Some(bounds.lease), ..Handling::default() };
    let victim = Handling { concurrency: AT_WORK, work, stuck: true, drain, ..how.clone() };
    let victim = crew.fork(&handler(&channel, victim)).await?;
    crew.ready(&[victim]).await?;
    publish(&mut crew, &stage, &channel, 0, EVENTS).await?;
    let at_work = |tally: &Tally| tally.standing(victim).seen == AT_WORK;
    crew.until("all handlers at work", bounds.recover, at_work).await?;

    let begun = Instant::now();
    crew.terminate(victim, drain + bounds.close + bounds.slack).await?;
    stage.say(format_args!("ended after {:.1} s", begun.elapsed().as_secs_f64()));
    ensure(begun.elapsed() >= drain, "the stuck handler to have the whole deadline", format!("{:?}", begun.elapsed()))?;
    same("handlers that had begun", crew.tally().standing(victim).seen, AT_WORK)?;
    same("handlers that finished", crew.tally().done(), AT_WORK - 1)?;
    let peer = crew.add(&handler(&channel, how)).await?;
    crew.ready(&[peer]).await?;
    crew.until("the peer to do the rest", bounds.takeover, |tally| tally.done() == EVENTS).await?;
    // The one that was cut off comes a second time, and nothing that was finished.
    crew.finish(1).await.map(drop)
}
