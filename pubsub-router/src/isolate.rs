//! A panic ends the work on one event, and nothing else.

use std::{
    any::Any,
    future::Future,
    panic::{AssertUnwindSafe, catch_unwind},
    pin::Pin,
    task::{Context, Poll},
};

use pin_project_lite::pin_project;

use crate::HandlerError;

pin_project! {
    /// Polls to the end; a panic becomes a failure that means retry.
    // A type and not an `async fn`, which would keep its argument twice.
    pub(crate) struct Isolate<F> {
        #[pin]
        future: F,
    }
}

pub(crate) fn isolate<F>(future: F) -> Isolate<F> {
    Isolate { future }
}

impl<T, F> Future for Isolate<F>
where
    F: Future<Output = Result<T, HandlerError>>,
{
    type Output = Result<T, HandlerError>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let future = self.project().future;
        // Whatever the panic left half done is dropped with the future, which is not polled again.
        match catch_unwind(AssertUnwindSafe(|| future.poll(cx))) {
            Ok(poll) => poll,
            Err(panic) => Poll::Ready(Err(HandlerError::retry(text_of(&*panic)))),
        }
    }
}

fn text_of(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().copied().or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    format!("the handler panicked: {}", text.unwrap_or("no text"))
}
