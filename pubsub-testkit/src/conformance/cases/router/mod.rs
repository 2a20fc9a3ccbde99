//! What handlers rely on: the router's promises, over any adapter. The ids are those of the list of behaviours; R stands for
//! faults that other libraries have.

mod faults;
mod lanes;
mod lifecycle;
mod middleware;
mod routes;
mod settle;

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use pubsub_core::{ChannelName, Event, PubSub, driver::Feature};
use pubsub_router::{Retry, Router, Running};

use crate::conformance::{Case, Ctx, Failure, Note, Verdict, eventually};

/// What every group of handlers needs.
const HANDLERS: &[Feature] =
    &[Feature::DurableGroup, Feature::Nack, Feature::DelayedNack, Feature::DeliveryCount, Feature::DeadLetter];

pub(super) fn cases() -> Vec<Case> {
    [routes::CASES, settle::CASES, lanes::CASES, lifecycle::CASES, middleware::CASES, faults::CASES].concat()
}

/// What handlers write down.
#[derive(Clone, Debug)]
struct Log<T>(Arc<Mutex<Vec<T>>>);

impl<T> Default for Log<T> {
    fn default() -> Self {
        Self(Arc::default())
    }
}

impl<T: Clone + Send> Log<T> {
    fn add(&self, entry: T) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(entry);
    }

    fn all(&self) -> Vec<T> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn len(&self) -> usize {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).len()
    }

    /// Waits until there are so many entries.
    async fn reach(&self, ctx: &Ctx, count: usize) -> Verdict<Vec<T>> {
        eventually(ctx, &format!("{count} entries of a handler"), || self.len() >= count).await?;
        Ok(self.all())
    }
}

fn note(topic: &str, number: u64) -> Note {
    Note { topic: topic.to_owned(), number }
}

fn notes() -> Verdict<ChannelName> {
    Ok(ChannelName::parse(Note::CHANNEL)?)
}

/// Publishes notes of one topic.
async fn publish(bus: &PubSub, topic: &str, numbers: std::ops::Range<u64>) -> Verdict {
    for number in numbers {
        bus.publish(&note(topic, number)).await?;
    }
    Ok(())
}

/// So many deliveries, one soon after the other.
fn eager(attempts: u32) -> Retry {
    Retry::exponential(attempts).delays(Duration::from_millis(5), Duration::from_millis(20))
}

async fn start(bus: &PubSub, router: Router) -> Verdict<Running> {
    router.start(bus).await.map_err(|error| Failure::from(error).during("starting the router"))
}

/// Waits until the handlers of a group have nothing in hand, and the group nothing unsettled.
async fn settled(ctx: &Ctx, running: &Running, group: &str) -> Verdict {
    let nothing = || running.stats(group, Note::CHANNEL).is_ok_and(|stats| stats.outstanding == 0);
    eventually(ctx, "everything to be settled", nothing).await
}

/// Ends the handlers in good order.
async fn drain(ctx: &Ctx, running: &Running) -> Verdict {
    running.drain(ctx.bounds().close).await.map_err(|error| Failure::from(error).during("draining the router"))
}
