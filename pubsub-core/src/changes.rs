//! `Changes`: a watched value as a stream.

use std::{
    fmt,
    pin::Pin,
    task::{Context, Poll, ready},
};

use futures_core::Stream;
use tokio::sync::watch;

use crate::driver::BoxFuture;

/// A watched value: as it is, and then as it is after each change. A slow reader sees the latest value, not each one. The
/// stream ends when nothing is left that could change it.
pub struct Changes<T>(Option<Next<T>>);

type Next<T> = BoxFuture<'static, Option<(T, watch::Receiver<T>)>>;

impl<T: Clone + Send + Sync + 'static> Changes<T> {
    /// Begins with the present value.
    pub fn new(mut receiver: watch::Receiver<T>) -> Self {
        let now = receiver.borrow_and_update().clone();
        Self(Some(Box::pin(async move { Some((now, receiver)) })))
    }
}

impl<T: Clone + Send + Sync + 'static> Stream for Changes<T> {
    type Item = T;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<T>> {
        let Some(next) = &mut self.0 else { return Poll::Ready(None) };
        let next = ready!(next.as_mut().poll(cx));
        let (value, rest) = next.map(|(value, receiver)| (value, after(receiver))).unzip();
        self.0 = rest;
        Poll::Ready(value)
    }
}

/// The next change; none once the sender is gone.
fn after<T: Clone + Send + Sync + 'static>(mut receiver: watch::Receiver<T>) -> Next<T> {
    Box::pin(async move {
        receiver.changed().await.ok()?;
        let value = receiver.borrow_and_update().clone();
        Some((value, receiver))
    })
}

impl<T> fmt::Debug for Changes<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Changes").field("ended", &self.0.is_none()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use super::*;

    async fn next(changes: &mut Changes<u8>) -> Option<u8> {
        poll_fn(|cx| Pin::new(&mut *changes).poll_next(cx)).await
    }

    #[tokio::test]
    async fn the_present_value_comes_first_then_each_change_and_the_end() {
        let sender = watch::Sender::new(1);
        let mut changes = Changes::new(sender.subscribe());
        assert_eq!(next(&mut changes).await, Some(1));
        {
            let mut waiting = Box::pin(next(&mut changes));
            let polled = poll_fn(|cx| Poll::Ready(waiting.as_mut().poll(cx))).await;
            assert_eq!(polled, Poll::Pending, "nothing has changed");
            sender.send_replace(2);
            assert_eq!(waiting.await, Some(2));
        }
        sender.send_replace(3);
        sender.send_replace(4);
        assert_eq!(next(&mut changes).await, Some(4), "only the latest");
        drop(sender);
        assert_eq!(next(&mut changes).await, None);
        assert_eq!(next(&mut changes).await, None, "and stays ended");
    }
}
