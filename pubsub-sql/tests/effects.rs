//! From an outbox over a real broker to an inbox, while connections are cut: each event has its effect once.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a case that panics has failed")]

mod support;

use std::{collections::HashMap, process::ExitCode, time::Duration};

use pubsub_adapters::adapter;
use pubsub_core::{EventId, Events, Message, Raw, driver::Feature, store::Outbox};
use pubsub_sql::{Database, Inbox, SqlOutbox};
use pubsub_testkit::{
    broker::BrokerKind,
    conformance::{Failure, Verdict},
    faults::{Action, FaultCase, FaultHarness, Stage, main_of},
};
use support::{Kind, Running, event, run};
use tokio::time::{Instant, sleep, timeout};

const CASES: &[FaultCase] = &[
    FaultCase {
        id: "X11",
        title: "cut between publish and confirm: published again under the same id, the effect happens once",
        needs: &[Feature::DurableGroup],
        on: &BrokerKind::ALL,
        bites: &[],
        run: |stage| Box::pin(cut_before_the_confirm(stage)),
    },
    FaultCase {
        id: "X12",
        title: "cut between the effect and its acknowledgement: the event comes again, and the inbox knows it",
        needs: &[Feature::DurableGroup],
        on: &BrokerKind::ALL,
        bites: &[],
        run: |stage| Box::pin(cut_before_the_ack(stage)),
    },
];

fn main() -> ExitCode {
    let harness = |kind| FaultHarness::new(kind, |url| async move { adapter(&url.parse()?).await });
    let code = main_of(BrokerKind::ALL.into_iter().map(harness).collect(), CASES);
    support::stop_server();
    code
}

/// A file of SQLite with a table for effects, beside the broker.
async fn database() -> Verdict<support::Stage> {
    let database = support::Stage::open(Kind::Sqlite).await.map_err(|why| Failure::new("a database", why))?;
    database.run("CREATE TABLE effects (n BIGINT NOT NULL)").await;
    Ok(database)
}

/// As a handler does it; tells whether the event was new.
async fn handle(database: &Database, message: &Message) -> Verdict<bool> {
    let mut tx = database.begin().await?;
    let first = Inbox::new("billing")?.first(&mut tx, message).await?;
    if first {
        run(tx.connection(), "INSERT INTO effects VALUES (1)").await;
    }
    tx.commit().await?;
    Ok(first)
}

async fn cut_before_the_confirm(stage: Stage) -> Verdict {
    let database = database().await?;
    let channel = stage.channel("orders")?;
    let (publishing, consuming) = (stage.bus(1).await?, stage.bus(1).await?);
    let mut events = consuming.subscribe_channel(&channel).group("billing").await?;
    let outbox = SqlOutbox::new(&publishing, &database.database);
    let count = stage.count(300, 5_000);
    let relay = Running::start(outbox.relay().window(16).timeout(Duration::from_secs(2)));
    let watch = relay.watch.clone();

    let mut seen = HashMap::<EventId, u32>::new();
    let mut cuts_in_flight = 0;
    let writing = async {
        let numbers: Vec<_> = (0..u32::try_from(count).unwrap_or(u32::MAX)).collect();
        for part in numbers.chunks(30) {
            let mut tx = database.database.begin().await?;
            for n in part {
                outbox.publish_envelope(&mut tx, event(&channel, *n, None)).await?;
            }
            tx.commit().await?;
            // What is on its way then was sent, and is not confirmed.
            let deadline = Instant::now() + Duration::from_millis(500);
            while watch.stats().in_flight == 0 && Instant::now() < deadline {
                tokio::task::yield_now().await;
            }
            cuts_in_flight += u32::from(watch.stats().in_flight > 0);
            stage.act(Action::Cut).await?;
        }
        while Outbox::backlog(&outbox).await?.depth > 0 {
            sleep(Duration::from_millis(20)).await;
        }
        Verdict::Ok(())
    };
    let consuming = async {
        while seen.len() < count {
            let received = next(&mut events, stage.bounds().case).await?;
            *seen.entry(received.message().id().clone()).or_default() += 1;
            handle(&database.database, received.message()).await?;
            received.ack();
        }
        Verdict::Ok(())
    };
    let (written, consumed) = tokio::join!(writing, consuming);
    written.and(consumed)?;
    relay.stop().await;
    let effects = database.number("SELECT COUNT(*) FROM effects").await;
    let copies: u32 = seen.values().map(|times| times - 1).sum();
    let failed = watch.stats().failed;
    stage.say(format_args!(
        "{cuts_in_flight} cuts, {count} events, {effects} effects, {copies} copies, {failed} failures"
    ));
    expect(cuts_in_flight > 0, "a cut while events were on their way", "none")?;
    expect(effects == count as i64, format_args!("{count} effects"), effects)
}

async fn cut_before_the_ack(stage: Stage) -> Verdict {
    let database = database().await?;
    let channel = stage.channel("orders")?;
    let (publishing, first) = (stage.bus(1).await?, stage.bus(1).await?);
    let mut events = first.subscribe_channel(&channel).group("billing").await?;
    let outbox = SqlOutbox::new(&publishing, &database.database);
    let relay = Running::start(outbox.relay());
    database.put(&outbox, event(&channel, 1, None)).await;
    let received = next(&mut events, stage.bounds().case).await?;
    let id = received.message().id().clone();
    expect(handle(&database.database, received.message()).await?, "a new event", "one that the inbox knew")?;
    // The marks of the outbox should not depend on when the broker is reached again.
    support::drained(&outbox).await;
    relay.stop().await;

    stage.act(Action::Refuse).await?;
    // As a process that dies: it is gone before it could say so, and its word comes too late. (A client that lives on
    // would say it as soon as the broker is back.)
    first.close(Duration::from_millis(500)).await.ok();
    received.ack();
    drop(events);
    stage.act(Action::Heal).await?;

    let second = stage.bus(1).await?;
    let mut events = second.subscribe_channel(&channel).group("billing").await?;
    let again = next(&mut events, stage.bounds().takeover * 3).await?;
    expect(*again.message().id() == id, "the same event", again.message().id())?;
    expect(!handle(&database.database, again.message()).await?, "an event that the inbox knows", "a new one")?;
    again.ack();
    let effects = database.number("SELECT COUNT(*) FROM effects").await;
    stage.say(format_args!("{effects} effect"));
    expect(effects == 1, "1 effect", effects)
}

async fn next(events: &mut Events<Raw>, within: Duration) -> Verdict<pubsub_core::Received<Raw>> {
    match timeout(within, events.next()).await {
        Ok(Some(received)) => Ok(received?),
        Ok(None) => Err(Failure::new("an event", "the end of the subscription")),
        Err(_) => Err(Failure::new(format!("an event within {within:?}"), "none")),
    }
}

fn expect(holds: bool, expected: impl std::fmt::Display, saw: impl std::fmt::Display) -> Verdict {
    if holds { Ok(()) } else { Err(Failure::new(expected.to_string(), saw.to_string())) }
}
