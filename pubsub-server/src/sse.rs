//! The body of an event stream: what comes first, then what a stream yields, and a heartbeat when that is silent.

use std::{
    convert::Infallible,
    future::Future,
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::Bytes;
use futures_util::stream::Stream;
use http::{HeaderName, HeaderValue, header};
use http_body::Frame;
use tokio::time::{Instant, Sleep, sleep};

/// What every answer with an event stream has in its head: nothing between us and the client may keep or collect events.
pub(crate) const HEADERS: [(HeaderName, HeaderValue); 3] = [
    (header::CONTENT_TYPE, HeaderValue::from_static("text/event-stream")),
    (header::CACHE_CONTROL, HeaderValue::from_static("no-cache, no-transform")),
    (HeaderName::from_static("x-accel-buffering"), HeaderValue::from_static("no")),
];

/// What is sent when a stream is silent.
pub(crate) type Heartbeat<S> = fn(Pin<&mut S>) -> Bytes;

/// An event stream as a body. It ends when `events` does.
pub(crate) struct EventBody<S> {
    first: Option<Bytes>,
    events: Pin<Box<S>>,
    heartbeat: Heartbeat<S>,
    every: Duration,
    /// When something was last sent.
    sent: Instant,
    /// When to look whether there was silence. It is set anew when it is over, and not with each event.
    look: Pin<Box<Sleep>>,
}

impl<S: Stream<Item = Bytes>> EventBody<S> {
    /// `first` is sent at once, `heartbeat` whenever nothing was for `every`.
    pub(crate) fn new(first: Bytes, events: S, heartbeat: Heartbeat<S>, every: Duration) -> Self {
        let look = Box::pin(sleep(every));
        Self { first: Some(first), events: Box::pin(events), heartbeat, every, sent: Instant::now(), look }
    }
}

impl<S: Stream<Item = Bytes>> http_body::Body for EventBody<S> {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let this = self.get_mut();
        if let Some(first) = this.first.take() {
            return Poll::Ready(Some(Ok(Frame::data(first))));
        }
        if let Poll::Ready(next) = this.events.as_mut().poll_next(cx) {
            this.sent = Instant::now();
            return Poll::Ready(next.map(|bytes| Ok(Frame::data(bytes))));
        }
        loop {
            ready!(this.look.as_mut().poll(cx));
            let silent = this.sent.elapsed() >= this.every;
            if silent {
                this.sent = Instant::now();
            }
            this.look.as_mut().reset(this.sent + this.every);
            if silent {
                return Poll::Ready(Some(Ok(Frame::data((this.heartbeat)(this.events.as_mut())))));
            }
        }
    }
}
