//! A stream of server-sent events that comes back by itself.

use std::{
    collections::VecDeque,
    fmt,
    future::Future,
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use futures_util::Stream;
use pubsub_core::{
    Error, ErrorKind,
    rpc::{CallError, FailureCode},
};
use tokio::time::{Instant, Sleep, sleep};

use super::{
    backoff::Backoff,
    builder::Settings,
    sse::{Parsed, Parser, SseMessage},
    transport::{Body, Refusal, Transport, broken},
};

/// What happens on a stream.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum SseItem {
    /// The stream is open: at first, and again after each interruption.
    Open,
    /// An event.
    Message(SseMessage),
    /// The connection is gone. A new one is made after the pause, behind the last event.
    Interrupted {
        /// Why.
        error: CallError,
        /// How long nothing is attempted.
        pause: Duration,
    },
}

enum State {
    Closed,
    Connecting(Pin<Box<dyn Future<Output = Result<Body, Refusal>> + Send>>),
    Open(Body),
    Waiting,
    /// It ended for good.
    Over,
}

/// A stream of events of any server, as a [`Stream`] that connects when it is polled.
///
/// When the connection ends, breaks, or is silent for too long, a new one is made after a pause, with the id of the last
/// event as `Last-Event-ID`; what the server then repeats by the same ids is passed over. An `Err` is the last item: the
/// server refuses the stream, or ends it for good (status 204).
///
/// It has no task of its own: dropping it closes the connection, and nothing is lost by polling it in a `select!`.
#[must_use = "a stream does nothing unless it is polled"]
pub struct Sse {
    transport: Transport,
    settings: Settings,
    url: String,
    state: State,
    parser: Parser,
    /// What the last bytes completed. They are read only when it is empty, so it is no longer than they are.
    ready: VecDeque<SseItem>,
    backoff: Backoff,
    /// The end of the pause, or of the server's silence. Made by the first poll, for it needs a runtime.
    timer: Option<Pin<Box<Sleep>>>,
    /// The ids of the connections before, which a server may repeat.
    repeated: Recent,
    current: Recent,
}

impl fmt::Debug for Sse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sse").field("url", &self.url).field("last_id", &self.parser.last_id()).finish_non_exhaustive()
    }
}

impl Sse {
    pub(super) fn new(transport: Transport, settings: Settings, url: String, last_id: Option<&str>) -> Self {
        Self {
            transport,
            settings,
            url,
            state: State::Closed,
            parser: Parser::new(last_id.unwrap_or_default(), settings.longest_event),
            ready: VecDeque::new(),
            backoff: Backoff::new(settings.first_pause, settings.longest_pause),
            timer: None,
            repeated: Recent::new(settings.remembered),
            current: Recent::new(settings.remembered),
        }
    }

    fn connect(&mut self) {
        self.parser = Parser::new(self.parser.last_id(), self.settings.longest_event);
        let (transport, url, last_id) = (self.transport.clone(), self.url.clone(), self.parser.last_id().to_owned());
        let limit = self.settings.inactivity;
        self.state = State::Connecting(Box::pin(async move {
            let opened = tokio::time::timeout(limit, transport.open(&url, &last_id)).await;
            opened.map_err(|_| {
                let message = format!("no answer within {limit:?}");
                Error::new(ErrorKind::Timeout, "open stream", message)
            })?
        }));
    }

    /// Sets when to look again.
    fn wake_in(&mut self, time: Duration) {
        match &mut self.timer {
            Some(timer) => timer.as_mut().reset(Instant::now() + time),
            None => self.timer = Some(Box::pin(sleep(time))),
        }
    }

    fn poll_timer(&mut self, context: &mut Context<'_>) -> Poll<()> {
        self.timer.as_mut().map_or(Poll::Ready(()), |timer| timer.as_mut().poll(context))
    }

    /// The connection is gone: pause, or end for good.
    fn lost(&mut self, refusal: Refusal) -> Result<SseItem, CallError> {
        let Refusal { error, wait } = refusal;
        if !may_pass(&error) {
            self.state = State::Over;
            return Err(error);
        }
        let pause = self.backoff.next(wait);
        self.wake_in(pause);
        self.state = State::Waiting;
        self.repeated.append(&mut self.current);
        Ok(SseItem::Interrupted { error, pause })
    }

    fn take(&mut self, bytes: &[u8]) -> Result<(), Error> {
        let mut parsed = Vec::new();
        self.parser.feed(bytes, &mut parsed)?;
        for part in parsed {
            match part {
                Parsed::Retry(pause) => self.backoff.set_first(Duration::from_millis(pause)),
                Parsed::Message(message) => {
                    // Only now: a server that takes connections and drops them would be asked without any pause.
                    self.backoff.reset();
                    let is_new = message.id.is_empty() || !self.repeated.holds(&message.id);
                    if is_new {
                        self.current.insert(&message.id);
                        self.ready.push_back(SseItem::Message(message));
                    }
                }
            }
        }
        Ok(())
    }

    fn poll_open(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<SseItem, CallError>>> {
        let State::Open(body) = &mut self.state else { return Poll::Ready(None) };
        let gone = |kind, message: &'static str| Refusal::from(Error::new(kind, "read events", message));
        match Pin::new(body).poll_next(context) {
            Poll::Ready(Some(Ok(bytes))) => {
                self.wake_in(self.settings.inactivity);
                if let Err(error) = self.take(&bytes) {
                    // The same event would come again.
                    self.state = State::Over;
                    return Poll::Ready(Some(Err(error.into())));
                }
                Poll::Ready(None)
            }
            Poll::Ready(Some(Err(error))) => Poll::Ready(Some(self.lost(broken("read events", error).into()))),
            Poll::Ready(None) => {
                Poll::Ready(Some(self.lost(gone(ErrorKind::Unavailable, "the server ended the stream"))))
            }
            Poll::Pending => {
                ready!(self.poll_timer(context));
                Poll::Ready(Some(self.lost(gone(ErrorKind::Timeout, "the server has been silent for too long"))))
            }
        }
    }
}

impl Stream for Sse {
    type Item = Result<SseItem, CallError>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = &mut *self;
        loop {
            if let Some(item) = this.ready.pop_front() {
                return Poll::Ready(Some(Ok(item)));
            }
            match &mut this.state {
                State::Over => return Poll::Ready(None),
                State::Closed => this.connect(),
                State::Waiting => {
                    ready!(this.poll_timer(context));
                    this.state = State::Closed;
                }
                State::Connecting(connecting) => match ready!(connecting.as_mut().poll(context)) {
                    Ok(body) => {
                        this.state = State::Open(body);
                        this.wake_in(this.settings.inactivity);
                        return Poll::Ready(Some(Ok(SseItem::Open)));
                    }
                    Err(refusal) => return Poll::Ready(Some(this.lost(refusal))),
                },
                State::Open(_) => {
                    if let Some(item) = ready!(this.poll_open(context)) {
                        return Poll::Ready(Some(item));
                    }
                }
            }
        }
    }
}

/// Whether another attempt may end in another way. A server that breaks is not refusing.
fn may_pass(error: &CallError) -> bool {
    let broken = [FailureCode::InternalServerError, FailureCode::BadGateway, FailureCode::GatewayTimeout];
    error.is_retryable() || error.failure().is_some_and(|failure| broken.contains(&failure.code))
}

/// The last so many ids.
#[derive(Debug)]
pub(super) struct Recent {
    order: VecDeque<String>,
    ids: std::collections::HashSet<String>,
    most: usize,
}

impl Recent {
    pub(super) fn new(most: usize) -> Self {
        Self { order: VecDeque::new(), ids: std::collections::HashSet::new(), most }
    }

    pub(super) fn holds(&self, id: &str) -> bool {
        self.ids.contains(id)
    }

    /// Remembers an id; says whether it is new.
    pub(super) fn insert(&mut self, id: &str) -> bool {
        if id.is_empty() || self.most == 0 {
            return true;
        }
        if !self.ids.insert(id.to_owned()) {
            return false;
        }
        self.order.push_back(id.to_owned());
        if self.order.len() > self.most
            && let Some(oldest) = self.order.pop_front()
        {
            self.ids.remove(&oldest);
        }
        true
    }

    fn append(&mut self, other: &mut Self) {
        other.ids.clear();
        for id in other.order.drain(..) {
            self.insert(&id);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_ids_are_remembered_and_no_more() {
        let mut recent = Recent::new(2);
        assert!(recent.insert("a") && recent.insert("b") && !recent.insert("a") && recent.insert("c"));
        assert!(!recent.holds("a") && recent.holds("b") && recent.holds("c"));
        let mut other = Recent::new(2);
        other.insert("d");
        recent.append(&mut other);
        assert!(recent.holds("c") && recent.holds("d") && !recent.holds("b") && !other.holds("d"));
        assert!(Recent::new(0).insert("a"));
    }
}
