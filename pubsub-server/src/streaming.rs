//! `Streaming`: a stream of text in one dialect, which ends after its time.

use std::{
    fmt,
    pin::Pin,
    task::{Context, Poll},
};

use bytes::Bytes;
use futures_util::stream::Stream;
use tokio::time::{Instant, Sleep, sleep_until};

use crate::{
    Settings,
    hub::{EventStream, Heading},
};

/// The events of a stream as text.
pub(crate) struct Streaming {
    stream: EventStream,
    heading: Heading,
    /// When it ends: at the server's longest time, or with the user's credentials.
    end: Option<Pin<Box<Sleep>>>,
}

impl Streaming {
    pub(crate) fn new(stream: EventStream, heading: Heading, settings: &Settings) -> Self {
        let now = Instant::now();
        // Spread, so that clients that came together do not come back together.
        let by_age = settings.max_stream_duration.map(|longest| longest.mul_f64(1.0 - 0.2 * chance()));
        let by_user = stream.valid_until().map(|end| end.since(stream.clock().now()));
        let end = by_age.into_iter().chain(by_user).min().and_then(|life| now.checked_add(life));
        Self { stream, heading, end: end.map(|end| Box::pin(sleep_until(end))) }
    }

    /// Where it begins, if it was asked for a position.
    pub(crate) fn began(&self) -> Option<&str> {
        self.stream.began()
    }

    /// Its place as text for a plain stream, if the client may not know it.
    pub(crate) fn place(&mut self) -> Option<String> {
        // A block without data dispatches no event, and sets the id with which the client comes back.
        self.stream.place().map(|place| format!("id: {place}\n\n"))
    }
}

/// A number from 0 to 1.
fn chance() -> f64 {
    let random = uuid::Uuid::new_v4().as_u64_pair().0;
    (random >> 11) as f64 / (1_u64 << 53) as f64
}

impl Stream for Streaming {
    type Item = Bytes;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Bytes>> {
        let this = self.get_mut();
        // First: a stream that is never silent ends as well.
        if this.end.as_mut().is_some_and(|end| end.as_mut().poll(cx).is_ready()) {
            return Poll::Ready(None);
        }
        this.stream.poll_text(cx, this.heading)
    }
}

impl fmt::Debug for Streaming {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Streaming").field("stream", &self.stream).finish_non_exhaustive()
    }
}
