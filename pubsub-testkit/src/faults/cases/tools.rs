//! What several groups of cases do.

use std::time::Duration;

use futures_util::future::join_all;
use pubsub_core::{ChannelName, ErrorKind, Events, PubSub, Raw, Received, Result};
use tokio::time::{Instant, timeout};

use crate::{
    broker::BrokerKind,
    conformance::{Failure, Verdict, ensure},
    faults::{
        Consuming, Crew, Handling, Note, Publishing, Role, Scene, Stage, Work,
        work::{is_passing, item},
    },
};

/// Every broker.
pub(super) const ALL: &[BrokerKind] = &BrokerKind::ALL;

/// The work of a consumer on a channel without order.
pub(super) fn consumer(channel: &str, how: Consuming) -> Work {
    Work { channel: channel.to_owned(), shards: 0, role: Role::Consume(how) }
}

/// The work of handlers on a channel without order.
pub(super) fn handler(channel: &str, how: Handling) -> Work {
    Work { channel: channel.to_owned(), shards: 0, role: Role::Handle(how) }
}

/// The work of a publisher on a channel without order.
pub(super) fn publisher(channel: &str, how: Publishing) -> Work {
    Work { channel: channel.to_owned(), shards: 0, role: Role::Publish(how) }
}

/// Publishes so many events from `first` on, and waits until all are confirmed.
pub(super) async fn publish(crew: &mut Crew, stage: &Stage, channel: &str, first: usize, count: usize) -> Verdict {
    let before = crew.tally().confirmed();
    let how = Publishing { first, count, lanes: 16, timeout: stage.bounds().publish, ..Publishing::default() };
    crew.add(&publisher(channel, how)).await?;
    let shows = |tally: &crate::faults::Tally| tally.confirmed() >= before + count;
    crew.until(&format!("{count} events confirmed"), stage.patience(count), shows).await
}

impl Scene {
    /// How long a flow of so many events may take, an outage included.
    pub(super) fn patience(&self, events: usize) -> Duration {
        self.bounds().recover + Duration::from_millis(500 + 5 * events as u64)
    }
}

/// How one publication ended, and when.
pub(super) struct Attempt {
    pub(super) serial: usize,
    pub(super) result: Result<()>,
    pub(super) took: Duration,
}

/// Publishes these serials at the same time with the timeout for outages, each once.
pub(super) async fn attempts(
    crew: &Crew,
    stage: &Stage,
    bus: &PubSub,
    channel: &str,
    serials: std::ops::Range<usize>,
) -> Verdict<Vec<Attempt>> {
    let (channel, limit) = (ChannelName::parse(channel)?, stage.bounds().publish);
    let mut all = Vec::with_capacity(serials.len());
    for serial in serials {
        crew.note(Note::Attempt(serial));
        let publish = bus.publish_envelope(item(&channel, serial, 0)?).timeout(limit);
        all.push(async move {
            let begun = Instant::now();
            let result = match publish.enqueue().await {
                Ok(ticket) => ticket.await.map(drop),
                Err(error) => Err(error),
            };
            Attempt { serial, result, took: begun.elapsed() }
        });
    }
    let patience = limit + stage.bounds().slack * 3;
    let attempts = timeout(patience, join_all(all)).await;
    let attempts = attempts.map_err(|_| {
        Failure::new(
            format!("publications with a timeout of {limit:?} to end within {patience:?}"),
            "some are underway",
        )
    })?;
    for attempt in &attempts {
        crew.note(if attempt.result.is_ok() { Note::Confirmed(attempt.serial) } else { Note::Failed(attempt.serial) });
    }
    Ok(attempts)
}

/// All of them failed, in time, and with an error that says that the broker was the reason.
pub(super) fn all_failed(stage: &Stage, attempts: &[Attempt]) -> Verdict {
    let limit = stage.bounds().publish + stage.bounds().slack;
    for Attempt { serial, result, took } in attempts {
        match result {
            Ok(()) => return Err(Failure::new("an error, as the broker takes nothing", format!("{serial} confirmed"))),
            Err(error) => {
                let passing = is_passing(error) && error.kind() != ErrorKind::Codec;
                ensure(passing, "an error that may pass", format!("{error} ({})", error.kind()))?;
            }
        }
        ensure(*took <= limit, format!("an error within {limit:?}"), format!("it took {took:?} for {serial}"))?;
    }
    Ok(())
}

/// The next event; errors of a subscription that recovers are passed over.
pub(super) async fn next(events: &mut Events<Raw>, within: Duration, what: &str) -> Verdict<Received<Raw>> {
    match any(events, within, what).await? {
        Ok(event) => Ok(event),
        Err(met) => Err(Failure::new(format!("{what} within {within:?}"), format!("none{met}"))),
    }
}

/// The next event if there is one within this time, and what passed instead if there is none. Errors that do not pass are
/// failures.
pub(super) async fn any(
    events: &mut Events<Raw>,
    within: Duration,
    what: &str,
) -> Verdict<std::result::Result<Received<Raw>, String>> {
    let deadline = Instant::now() + within;
    let mut met = None;
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        match timeout(left, events.next()).await {
            Ok(Some(Ok(event))) => return Ok(Ok(event)),
            Ok(Some(Err(error))) if is_passing(&error) => met = Some(error),
            Ok(Some(Err(error))) => return Err(error.into()),
            Ok(None) => return Err(Failure::new(what, "the end of the subscription")),
            Err(_) => return Ok(Err(met.map(|error| format!(", after {error}")).unwrap_or_default())),
        }
    }
}
