//! The workloads, the same for both sides.

use std::{
    sync::{Arc, OnceLock},
    time::{Duration, Instant},
};

use bytes::Bytes;
use futures_util::{FutureExt, StreamExt, stream::FuturesUnordered};
use tokio::{sync::oneshot, task::JoinHandle};

use super::{clock::Since, ours::Ours, side::Side};
use crate::{
    event::{Order, order},
    limit::{Limit, Place},
    pairs::quantile,
};

/// What a workload gives: events per second, and nanoseconds of this process per event.
pub type Figures = [f64; 2];

/// Time between two events where latency is measured: 500 per second.
const EVERY: Duration = Duration::from_millis(2);

/// Events per second that are published in a window and confirmed.
pub async fn publish<S: Side>(place: Place, count: usize, size: usize) -> Figures {
    let (side, event) = (S::open(&place).await, order(size));
    side.send(event.clone()).await;
    let since = Since::now();
    side.publish(count, &event).await;
    let figures = since.per(count);
    side.close().await;
    figures
}

/// The same for ours by `publish_all`.
pub async fn publish_all(place: Place, count: usize, size: usize) -> Figures {
    let (side, event) = (Ours::open(&place).await, order(size));
    side.send(event.clone()).await;
    let since = Since::now();
    side.publish_all(count, &event).await;
    let figures = since.per(count);
    side.close().await;
    figures
}

/// The same for ours with bytes, below the typed interface.
pub async fn publish_raw(place: Place, count: usize, body: Bytes) -> Figures {
    let side = Ours::open(&place).await;
    side.publish_raw(1, &body).await;
    let since = Since::now();
    side.publish_raw(count, &body).await;
    let figures = since.per(count);
    side.close().await;
    figures
}

/// The same for a limit with bytes that are ready.
pub async fn limit_raw<L: Limit>(place: Place, count: usize, body: Bytes) -> Figures {
    let limit = L::open(&place).await;
    limit.send(body.clone()).await;
    let since = Since::now();
    limit.publish(count, || body.clone()).await;
    since.per(count)
}

/// Events per second that are published one after the other, each awaited.
pub async fn publish_one<S: Side>(place: Place, count: usize, size: usize) -> Figures {
    let (side, event) = (S::open(&place).await, order(size));
    side.send(event.clone()).await;
    let since = Since::now();
    for _ in 0..count {
        side.send(event.clone()).await;
    }
    let figures = since.per(count);
    side.close().await;
    figures
}

/// Events per second that are read out of a backlog, from the first event to the broker's word on the last
/// acknowledgement.
pub async fn consume<S: Side>(place: Place, count: usize, size: usize, wide: bool) -> Figures {
    let (side, event) = (S::open(&place).await, order(size));
    side.publish(count, &event).await;
    let first = OnceLock::new();
    side.consume(count, wide, |event| {
        first.get_or_init(Since::now);
        assert!(event.total > 0.0);
    })
    .await;
    let figures = first.get().unwrap().per(count);
    side.close().await;
    figures
}

/// The same for ours by a handler of a router, to the last call of it.
pub async fn routed(place: Place, count: usize, size: usize) -> Figures {
    let (side, event) = (Ours::open(&place).await, order(size));
    side.publish(count, &event).await;
    let first = Arc::new(OnceLock::new());
    let begun = first.clone();
    side.route(count, move |event| {
        begun.get_or_init(Since::now);
        assert!(event.total > 0.0);
    })
    .await;
    let figures = first.get().unwrap().per(count);
    side.close().await;
    figures
}

/// Starts a reader of one event more than `count`, and returns when it has had that one: it is a member by then.
async fn reader<S: Side>(
    side: &Arc<S>,
    count: usize,
    event: Order,
    mut each: impl FnMut(&Order) + Send + 'static,
) -> JoinHandle<()> {
    let (sender, ready) = oneshot::channel();
    let mut sender = Some(sender);
    let reading = side.clone();
    let task = tokio::spawn(async move {
        let each = |event: &Order| match sender.take() {
            Some(sender) => sender.send(()).unwrap(),
            None => each(event),
        };
        reading.consume(count + 1, false, each).await;
    });
    side.send(event).await;
    ready.await.unwrap();
    task
}

/// Events per second from the first publish to the broker's word on the last acknowledgement, with both at once.
pub async fn e2e<S: Side>(place: Place, count: usize, size: usize) -> Figures {
    let (side, event) = (Arc::new(S::open(&place).await), order(size));
    let reading = reader(&side, count, event.clone(), |event| assert!(event.total > 0.0)).await;
    let since = Since::now();
    side.publish(count, &event).await;
    reading.await.unwrap();
    let figures = since.per(count);
    close(side).await;
    figures
}

/// Median and 99th percentile of the microseconds from the call that publishes to the reader, at 500 events per second.
pub async fn latency<S: Side>(place: Place, count: usize, size: usize) -> [f64; 2] {
    let (side, event) = (Arc::new(S::open(&place).await), order(size));
    let base = Instant::now();
    let (sender, mut receiver) = tokio::sync::mpsc::unbounded_channel();
    let each = move |event: &Order| {
        sender.send(base.elapsed().as_nanos() as u64 - event.placed_at).unwrap();
    };
    let reading = reader(&side, count, event.clone(), each).await;
    let mut ticks = tokio::time::interval(EVERY);
    let mut open = FuturesUnordered::new();
    for _ in 0..count {
        ticks.tick().await;
        let mut event = event.clone();
        event.placed_at = base.elapsed().as_nanos() as u64;
        open.push(side.send(event));
        // Puts it on its way, and collects what is confirmed; nothing waits for that.
        while let Some(Some(())) = open.next().now_or_never() {}
    }
    while open.next().await.is_some() {}
    reading.await.unwrap();
    let mut micros = Vec::with_capacity(count);
    while let Some(nanos) = receiver.recv().await {
        micros.push(nanos as f64 / 1_000.0);
    }
    close(side).await;
    [0.5, 0.99].map(|at| quantile(&mut micros, at))
}

async fn close<S: Side>(side: Arc<S>) {
    if let Some(side) = Arc::into_inner(side) {
        side.close().await;
    }
}
