//! Waits on conditions, each with a deadline.

use std::{fmt::Display, time::Duration};

use pubsub_core::{
    ChannelName, ErrorKind, Events, GroupName, PubSub, Raw, Read, Received,
    driver::{HistoryRange, Stored},
};
use tokio::time::{Instant, sleep, timeout};

use super::{Failure, Ledger, Numbered, Verdict, World};

/// The next event of a subscription, within the adapter's bound.
///
/// # Errors
/// If none comes, the subscription ends, or it reports an error.
pub async fn next<T: Read>(world: &World, events: &mut Events<T>) -> Verdict<Received<T>> {
    within(events, world.bounds().receive, "an event").await
}

/// The next event of a subscription, within `limit`.
///
/// # Errors
/// If none comes, the subscription ends, or it reports an error.
pub async fn within<T: Read>(events: &mut Events<T>, limit: Duration, what: impl Display) -> Verdict<Received<T>> {
    match timeout(limit, events.next()).await {
        Ok(Some(event)) => Ok(event?),
        Ok(None) => Err(Failure::new(what.to_string(), "the end of the subscription")),
        Err(_) => Err(Failure::new(format!("{what} within {limit:?}"), "none")),
    }
}

/// The next `count` events, each within the adapter's bound. They are returned unsettled.
///
/// # Errors
/// As [`next`].
pub async fn next_n<T: Read>(world: &World, events: &mut Events<T>, count: usize) -> Verdict<Vec<Received<T>>> {
    let mut all = Vec::with_capacity(count);
    while all.len() < count {
        let nth = format!("event {} of {count}", all.len() + 1);
        all.push(within(events, world.bounds().receive, nth).await?);
    }
    Ok(all)
}

/// Reads and acknowledges numbered events until everything confirmed has come, and then nothing more does.
///
/// # Errors
/// If something confirmed does not come, or the ledger has more duplicates than the adapter's bound allows.
pub async fn read_all(world: &World, events: &mut Events<Raw>, ledger: &mut Ledger) -> Verdict {
    while !ledger.is_complete() {
        match next(world, events).await {
            Ok(event) => {
                ledger.saw(event.serial()?);
                event.ack();
            }
            Err(failure) => return ledger.verdict(&world.bounds()).and(Err(failure)),
        }
    }
    quiet(world, events).await?;
    ledger.verdict(&world.bounds())
}

/// The dead letters of a group, once there are `count` of them.
///
/// # Errors
/// If there are fewer within the adapter's bound, or their history cannot be read.
pub async fn dead_letters(
    world: &World,
    bus: &PubSub,
    channel: &ChannelName,
    group: &str,
    count: usize,
) -> Verdict<Vec<Stored>> {
    let range = HistoryRange::new(channel.dead_letter(&GroupName::parse(group)?)).limit(1_000);
    let deadline = Instant::now() + world.bounds().receive;
    loop {
        let found = match bus.history(&range).await {
            Ok(page) => page.events,
            Err(error) if error.kind() == ErrorKind::NotFound => Vec::new(),
            Err(error) => return Err(Failure::from(error).during("reading the dead letters")),
        };
        if found.len() >= count {
            return Ok(found);
        }
        if Instant::now() >= deadline {
            return Err(Failure::new(format!("{count} dead letters in `{}`", range.channel), found.len()));
        }
        sleep(Duration::from_millis(10)).await;
    }
}

/// The subscription ends, because its handle was closed.
///
/// # Errors
/// If it goes on instead.
pub async fn ended<T: Read>(world: &World, events: &mut Events<T>) -> Verdict {
    match timeout(world.bounds().receive, events.next()).await {
        Ok(None) => Ok(()),
        Ok(Some(Ok(event))) => Err(Failure::new("the end of the subscription", format!("{:?}", event.message()))),
        Ok(Some(Err(error))) => Err(error.into()),
        Err(_) => Err(Failure::new("the end of the subscription", "silence")),
    }
}

/// Nothing arrives for as long as the adapter's bounds say.
///
/// # Errors
/// If something arrives, or the subscription ends.
pub async fn quiet<T: Read>(world: &World, events: &mut Events<T>) -> Verdict {
    quiet_for(events, world.bounds().quiet).await
}

/// Nothing arrives for this long.
///
/// # Errors
/// If something arrives, or the subscription ends.
pub async fn quiet_for<T: Read>(events: &mut Events<T>, silence: Duration) -> Verdict {
    let seen = match timeout(silence, events.next()).await {
        Err(_) => return Ok(()),
        Ok(Some(Ok(event))) => format!("delivery {} of {:?}", event.attempt(), event.message()),
        Ok(Some(Err(error))) => return Err(error.into()),
        Ok(None) => "the end of the subscription".to_owned(),
    };
    Err(Failure::new(format!("nothing for {silence:?}"), seen))
}

/// Runs futures as tasks of their own, at the same time, and gives their results in order.
///
/// # Errors
/// The first failure in that order; a panic is one.
pub async fn together<T, F>(futures: impl IntoIterator<Item = F>) -> Verdict<Vec<T>>
where
    T: Send + 'static,
    F: Future<Output = Verdict<T>> + Send + 'static,
{
    let tasks: Vec<_> = futures.into_iter().map(tokio::spawn).collect();
    let mut results = Vec::with_capacity(tasks.len());
    for task in tasks {
        results.push(task.await.map_err(|error| Failure::new("a task that ends well", error))??);
    }
    Ok(results)
}

/// Waits until `holds` is true.
///
/// # Errors
/// If it is not within the adapter's bound.
pub async fn eventually(world: &World, what: &str, mut holds: impl FnMut() -> bool + Send) -> Verdict {
    let limit = world.bounds().receive;
    let deadline = Instant::now() + limit;
    while !holds() {
        if Instant::now() >= deadline {
            return Err(Failure::new(format!("{what} within {limit:?}"), "it did not come about"));
        }
        sleep(Duration::from_millis(5)).await;
    }
    Ok(())
}
