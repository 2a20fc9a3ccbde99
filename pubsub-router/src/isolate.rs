//! A panic ends the work on one event, and nothing else.

use std::{
    any::Any,
    future::{Future, poll_fn},
    panic::{AssertUnwindSafe, catch_unwind},
    pin::pin,
    task::Poll,
};

use crate::HandlerError;

/// Polls to the end; a panic becomes a failure that means retry.
pub(crate) async fn isolate<T, F>(future: F) -> Result<T, HandlerError>
where
    F: Future<Output = Result<T, HandlerError>>,
{
    let mut future = pin!(future);
    poll_fn(|cx| {
        // Whatever the panic left half done is dropped with the future, which is not polled again.
        match catch_unwind(AssertUnwindSafe(|| future.as_mut().poll(cx))) {
            Ok(poll) => poll,
            Err(panic) => Poll::Ready(Err(HandlerError::retry(text_of(&*panic)))),
        }
    })
    .await
}

fn text_of(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().copied().or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    format!("the handler panicked: {}", text.unwrap_or("no text"))
}
