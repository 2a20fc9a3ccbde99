//! Waits on conditions, each with a deadline.

use std::{fmt::Display, time::Duration};

use pubsub_core::{Events, Read, Received};
use tokio::time::{Instant, sleep, timeout};

use super::{Failure, Verdict, World};

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

/// Nothing arrives for as long as the adapter's bounds say.
///
/// # Errors
/// If something arrives, or the subscription ends.
pub async fn quiet<T: Read>(world: &World, events: &mut Events<T>) -> Verdict {
    let silence = world.bounds().quiet;
    match timeout(silence, events.next()).await {
        Err(_) => Ok(()),
        Ok(Some(Ok(event))) => Err(Failure::new(
            format!("nothing for {silence:?}"),
            format!("delivery {} of {:?}", event.attempt(), event.message()),
        )),
        Ok(Some(Err(error))) => Err(error.into()),
        Ok(None) => Err(Failure::new(format!("nothing for {silence:?}"), "the end of the subscription")),
    }
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
