//! Events on their way through batch handlers: all at the same time, begun in their order.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, Waker},
};

use tokio::task::JoinSet;

use super::consumer::{Consumer, Job};
use crate::incoming::Site;

/// The events that wait for their batch, or are handled in one. The subscription's `max_in_flight` bounds them.
#[derive(Default)]
pub(super) struct Gathering {
    tasks: JoinSet<()>,
}

impl Gathering {
    /// Begins with an event. Its first step is done here, so that it takes its place behind those that came before it.
    pub(super) fn push(&mut self, consumer: &Arc<Consumer>, site: &Arc<Site>, job: Job) {
        while self.tasks.try_join_next().is_some() {}
        let (consumer, site) = (consumer.clone(), site.clone());
        let mut work: Pin<Box<dyn Future<Output = ()> + Send>> =
            Box::pin(async move { consumer.work(job, &site).await });
        // The task polls it again, with a waker of its own.
        if work.as_mut().poll(&mut Context::from_waker(Waker::noop())) == Poll::Pending {
            self.tasks.spawn(work);
        }
    }

    /// Waits until all are through. Batches that are not full wait for nobody by now.
    pub(super) async fn finish(mut self) {
        while self.tasks.join_next().await.is_some() {}
    }
}
