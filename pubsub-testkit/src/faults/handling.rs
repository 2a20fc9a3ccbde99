//! Members that handle events by a router, as services do.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use pubsub_core::{__private::schemars, ChannelName, Event, PubSub};
use pubsub_router::{Attempt, HandlerError, Retry, Router};
use serde::{Deserialize, Serialize};
use tokio::{sync::watch, time::sleep};

use super::{Note, Notebook, Order};
use crate::conformance::{Failure, Verdict};

/// How a member handles events.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Handling {
    /// The group.
    pub group: String,
    /// How many deliveries may be unsettled.
    pub in_flight: usize,
    /// How many are handled at a time.
    pub concurrency: usize,
    /// The lease, where it is not the default one.
    pub lease: Option<Duration>,
    /// How long the work on one event takes.
    pub work: Duration,
    /// Every first delivery asks to come again after this time.
    pub later: Option<Duration>,
    /// The event of this serial panics, until its three attempts are used up.
    pub panics: Option<usize>,
    /// The first event never ends.
    pub stuck: bool,
    /// How long handlers may take once the member is told to leave.
    pub drain: Duration,
}

impl Default for Handling {
    fn default() -> Self {
        Self {
            group: "handlers".to_owned(),
            in_flight: 64,
            concurrency: 1,
            lease: None,
            work: Duration::ZERO,
            later: None,
            panics: None,
            stuck: false,
            drain: Duration::from_secs(2),
        }
    }
}

/// The event that members publish, as handlers take it.
#[derive(Clone, Copy, Debug, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(transparent)]
#[schemars(crate = "pubsub_core::__private::schemars")]
struct Numbered(usize);

impl Event for Numbered {
    const NAME: &'static str = super::work::ITEM;
    const CHANNEL: &'static str = "items";
}

/// The name of a channel whose events members handle: below `prefix`, as routers nest.
pub(super) fn channel_below(prefix: &str) -> String {
    format!("{prefix}.{}", Numbered::CHANNEL)
}

/// Handles events until the order is to leave, and then drains.
///
/// # Errors
/// What the router cannot live with.
pub(super) async fn handle(
    bus: &PubSub,
    channel: &ChannelName,
    how: &Handling,
    book: Arc<dyn Notebook>,
    mut orders: watch::Receiver<Order>,
) -> Verdict {
    let own = format!(".{}", Numbered::CHANNEL);
    let prefix =
        channel.as_str().strip_suffix(&own).ok_or_else(|| Failure::new(format!("a channel {own}"), channel))?;
    let shutdown = {
        let book = book.clone();
        async move {
            book.note(Note::Ready);
            // Whoever gives orders is gone: the end, too.
            orders.wait_for(|order| *order == Order::Leave).await.ok();
        }
    };
    match router(prefix, how, book.clone()).run(bus, shutdown).await {
        Ok(()) => Ok(()),
        Err(error) if error.kind() == pubsub_core::ErrorKind::Timeout => {
            book.note(Note::Fault(error.to_string()));
            Ok(())
        }
        Err(error) => Err(Failure::from(error).during("handling")),
    }
}

fn router(prefix: &str, how: &Handling, book: Arc<dyn Notebook>) -> Router {
    let Handling { work, later, panics, .. } = *how;
    let stuck = Arc::new(AtomicBool::new(how.stuck));
    let handler = move |Numbered(serial): Numbered, Attempt(attempt): Attempt| {
        let (book, stuck) = (book.clone(), stuck.swap(false, Ordering::Relaxed));
        async move {
            book.note(Note::Seen(serial));
            if stuck {
                std::future::pending::<()>().await;
            }
            if let Some(delay) = later.filter(|_| attempt == 1) {
                return Err(HandlerError::retry_after(delay, "later"));
            }
            if panics == Some(serial) {
                // Unwinds as a panic does, without its message on the terminal.
                std::panic::resume_unwind(Box::new("this one always"));
            }
            sleep(work).await;
            book.note(Note::Done(serial));
            Ok(())
        }
    };
    let retry = Retry::exponential(3).delays(Duration::from_millis(50), Duration::from_millis(100));
    let mut router = Router::new().group(&how.group).nest(prefix, Router::new().on(handler)).layer(retry);
    router = router.concurrency(how.concurrency).max_in_flight(how.in_flight).drain_within(how.drain);
    match how.lease {
        Some(lease) => router.lease(lease),
        None => router,
    }
}
