//! A subscription that lives on although its opening was given up.

use std::{sync::Arc, time::Duration};

use pubsub_core::{
    Error, ErrorKind, Result,
    driver::{Adapter, SubscribeOptions, Subscription},
};
use tokio::{sync::oneshot, time::sleep};

/// Opens a subscription in a task of its own. If nobody waits for it any more, it takes events and keeps them.
pub(super) async fn open(inner: Arc<dyn Adapter>, options: SubscribeOptions) -> Result<Subscription> {
    let (sender, receiver) = oneshot::channel();
    tokio::spawn(async move {
        let opened = inner.subscribe(options).await;
        sleep(Duration::from_millis(5)).await;
        if let Err(Ok(mut ghost)) = sender.send(opened) {
            let mut taken = Vec::new();
            while let Some(item) = ghost.next().await {
                taken.push(item);
            }
        }
    });
    receiver.await.map_err(|_| Error::new(ErrorKind::Cancelled, "subscribe", "the opening task is gone"))?
}
