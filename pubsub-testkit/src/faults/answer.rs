//! Members that answer requests.

use std::{sync::Arc, time::Duration};

use pubsub_client::EventRpc;
use pubsub_core::PubSub;
use serde::{Deserialize, Serialize};
use tokio::sync::watch;

use super::{Note, Notebook, Order};
use crate::conformance::{Add, Verdict};

/// How a member answers requests for sums.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Answering {
    /// The group.
    pub group: String,
    /// The lease of its requests.
    pub lease: Duration,
    /// A sum whose left number is below this one is never answered.
    pub stuck_below: u64,
}

/// Answers until the order is to leave. A request is noted as seen when it is at work, and as done when it has its sum.
pub(super) async fn answer(
    bus: &PubSub,
    how: &Answering,
    book: Arc<dyn Notebook>,
    mut orders: watch::Receiver<Order>,
) -> Verdict {
    let (stuck_below, notes) = (how.stuck_below, book.clone());
    let add = move |asked: Add| {
        let serial = usize::try_from(asked.left).unwrap_or(usize::MAX);
        let notes = notes.clone();
        async move {
            notes.note(Note::Seen(serial));
            if asked.left < stuck_below {
                std::future::pending::<()>().await;
            }
            notes.note(Note::Done(serial));
            Ok(asked.left + asked.right)
        }
    };
    let responder = EventRpc::new(bus).respond::<Add, _, _>(&how.group, add).lease(how.lease).await?;
    book.note(Note::Ready);
    // Without a parent nobody needs the answers either.
    orders.wait_for(|order| *order == Order::Leave).await.ok();
    responder.stop().await;
    Ok(())
}
