//! A question that is asked when it is awaited.

use std::{
    fmt,
    future::{Future, IntoFuture},
    pin::{Pin, pin},
    task::{Context, Poll},
    time::Duration,
};

use pubsub_core::{
    Error, ErrorKind, EventId, Key, Meta, Payload, Publish, Result, Timestamp,
    observe::Hop,
    rpc::{CallError, ReplyBody, ReplyTo},
};
use tokio::sync::oneshot;

use super::{
    EventRpc, Replies,
    gather::{self, Answer},
    table::{Entry, Waiter},
};

/// Longer is as good as for ever, and the time now can still be added to it.
const LONGEST: Duration = Duration::from_secs(365 * 24 * 3_600);

/// The most items of a stream that may be on their way.
const MAX_WINDOW: u32 = 65_536;

/// How a payload becomes the reply's type.
pub(super) type ReadReply<R> = fn(Payload) -> Result<R>;

/// A question that is asked when this is awaited.
///
/// Cancel safety: dropping the future ends the call at once. The request may have been sent, and may be executed.
#[must_use = "nothing is asked until this is awaited"]
pub struct Call<'a, R> {
    pub(super) rpc: &'a EventRpc,
    pub(super) publish: Publish<'a>,
    pub(super) read: ReadReply<R>,
    pub(super) timeout: Duration,
    pub(super) window: u32,
}

impl<'a, R> Call<'a, R> {
    pub(super) fn new(rpc: &'a EventRpc, publish: Publish<'a>, read: ReadReply<R>) -> Self {
        Self { rpc, publish, read, timeout: rpc.inner.timeout, window: super::stream::DEFAULT_WINDOW }
    }

    /// The span of the call.
    pub(super) fn hop(&self) -> Hop {
        Hop::request(self.rpc.inner.bus.observer(), self.publish.channel())
    }

    fn edit(mut self, change: impl FnOnce(Publish<'a>) -> Publish<'a>) -> Self {
        self.publish = change(self.publish);
        self
    }

    /// Sets how long to wait. The time at which it ends travels with the request, to the millisecond: the clocks of
    /// caller and responder must agree to well within it.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// Gives the request an id of the caller's, which is also what replies refer to: ask again with the same one after
    /// an uncertain failure, so that the responder can tell.
    pub fn id(self, id: EventId) -> Self {
        self.edit(|publish| publish.id(id))
    }

    /// Sets the ordering key, in place of the request's own.
    pub fn key(self, key: Key) -> Self {
        self.edit(|publish| publish.key(key))
    }

    /// Changes the metadata. Where the reply goes, and until when, is set by the call itself. A correlation id that is set
    /// here stays, and the responder must then name the request as the cause of its reply, as those of this library do;
    /// otherwise it is the request's id.
    pub fn meta(self, change: impl FnOnce(&mut Meta)) -> Self {
        self.edit(|publish| publish.meta(change))
    }

    /// Sets how many items of a stream may be on their way. The default is 64; from 2 to 65,536.
    pub fn window(mut self, items: u32) -> Self {
        self.window = items.clamp(2, MAX_WINDOW);
        self
    }
}

impl<R: Send + 'static> Call<'_, R> {
    /// Waits for the answers of several responders, one of each group: until there are `max`, or until the deadline, and then
    /// gives those that have come.
    ///
    /// # Errors
    /// As awaiting the call; `Timeout` only if there is no answer at all. What single responders say is in the answers.
    pub async fn gather(self, max: usize) -> Result<Vec<Answer<R>>, CallError> {
        gather::gather(self, max).await
    }

    /// Asks for an answer in many items, which are taken as they come. The deadline is that of the whole stream. A
    /// responder that answers once gives a stream of one item.
    ///
    /// # Errors
    /// As awaiting the call, for what happens until the request is sent.
    pub async fn stream(self) -> Result<Replies<R>, CallError> {
        super::stream::open(self).await
    }

    async fn run(self) -> Result<R, CallError> {
        let (read, table) = (self.read, &self.rpc.inner.table);
        let hop = self.hop();
        let (sender, mut answer) = oneshot::channel();
        let asking = Asking::prepare(self, Waiter::One(sender), None)?;
        let receive =
            move |cx: &mut Context<'_>, _| Pin::new(&mut answer).poll(cx).map(|sent| sent.unwrap_or_else(unheard));
        let ended = hop.run(asking.until(receive)).await;
        table.count_timeout(ended.late);
        let outcome = ended.outcome.inspect_err(|error| hop.failed(error.kind().as_str(), error));
        let reply = outcome?;
        hop.link(reply.traceparent.as_deref());
        match reply.body {
            ReplyBody::Value(payload) => Ok(read(payload)?),
            ReplyBody::Failure(failure) => {
                hop.failed(failure.code.as_str(), &failure);
                Err(CallError::Failed(failure))
            }
            _ => {
                Err(Error::new(ErrorKind::Codec, "request", "the responder answers with a stream; ask for one").into())
            }
        }
    }
}

/// Where the sender of an answer was dropped without one.
#[cold]
fn unheard<T>(_: oneshot::error::RecvError) -> Result<T> {
    Err(Error::new(ErrorKind::Cancelled, "request", "the call was ended"))
}

/// A request on its way out.
pub(super) struct Asking<'a> {
    rpc: &'a EventRpc,
    publish: Publish<'a>,
    id: EventId,
    waiter: Waiter,
    timeout: Duration,
    deadline: Timestamp,
    window: Option<u64>,
}

impl<'a> Asking<'a> {
    /// Checks what can be checked before anything is opened.
    pub(super) fn prepare<R>(call: Call<'a, R>, waiter: Waiter, window: Option<u64>) -> Result<Self> {
        let Call { rpc, publish, timeout, .. } = call;
        let invalid = |text| Err(Error::new(ErrorKind::Invalid, "request", text));
        if timeout.is_zero() {
            return invalid("field `timeout` must not be zero");
        }
        let clock = rpc.inner.bus.clock();
        clock.check_timers("request")?;
        let timeout = timeout.min(LONGEST);
        // A faulty event has no id; publishing it tells the fault before anything is sent.
        let id = publish.event_id().cloned().unwrap_or_else(EventId::random);
        // The time now is cut off to milliseconds, and must not become a deadline before its time.
        let deadline = clock.now().saturating_add(timeout + Duration::from_millis(1));
        Ok(Self { rpc, publish, id, waiter, timeout, deadline, window })
    }

    /// Asks, and polls `receive` until it has something, the deadline passes or asking fails. It is told whether the broker
    /// has the request by now.
    pub(super) async fn until<T>(self, mut receive: impl FnMut(&mut Context<'_>, bool) -> Poll<Result<T>>) -> Ended<T> {
        let Self { rpc, publish, id, waiter, timeout, deadline, window } = self;
        let inner = &*rpc.inner;
        let mut over = inner.bus.clock().sleep(timeout);
        let mut progress = Progress::default();
        let outcome = {
            let progress = &mut progress;
            let mut asking = pin!(async move {
                let inbox = inner.link.address().await?;
                let mut conversation = None;
                let publish = publish.meta(|meta| {
                    conversation.clone_from(&meta.correlation_id);
                    ReplyTo::ask(meta, &inbox, &id, deadline, window);
                });
                progress.entry = Some(inner.table.enter(id, conversation, waiter)?);
                let mut publish = pin!(publish.timeout(timeout));
                progress.sent = true;
                let mut published = false;
                std::future::poll_fn(move |cx| {
                    loop {
                        // The reply may be here before the broker has confirmed the request.
                        if let Poll::Ready(outcome) = receive(cx, published) {
                            return Poll::Ready(outcome);
                        }
                        if published {
                            return Poll::Pending;
                        }
                        std::task::ready!(publish.as_mut().poll(cx))?;
                        published = true;
                    }
                })
                .await
            });
            std::future::poll_fn(|cx| match asking.as_mut().poll(cx) {
                Poll::Ready(outcome) => Poll::Ready(Some(outcome)),
                Poll::Pending => over.as_mut().poll(cx).map(|()| None),
            })
            .await
        };
        let late = outcome.is_none();
        let outcome = outcome.unwrap_or_else(|| Err(timed_out(timeout, progress.sent)));
        Ended { outcome, late, entry: progress.entry }
    }
}

/// How asking ended. The call itself ends when this is dropped.
pub(super) struct Ended<T> {
    pub(super) outcome: Result<T>,
    /// Whether the deadline has passed.
    pub(super) late: bool,
    pub(super) entry: Option<Entry>,
}

/// How far a call got.
#[derive(Default)]
struct Progress {
    entry: Option<Entry>,
    sent: bool,
}

#[cold]
pub(super) fn timed_out(timeout: Duration, sent: bool) -> Error {
    let error = Error::new(ErrorKind::Timeout, "request", format!("no reply within {timeout:?}"));
    if sent { error.perhaps_applied() } else { error }
}

impl<'a, R: Send + 'static> IntoFuture for Call<'a, R> {
    type Output = Result<R, CallError>;
    type IntoFuture = Pin<Box<dyn Future<Output = Self::Output> + Send + 'a>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(self.run())
    }
}

impl<R> fmt::Debug for Call<'_, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Call").field("timeout", &self.timeout).finish_non_exhaustive()
    }
}
