//! Answering questions: what a responder is made of.

use std::{
    fmt,
    future::{Future, IntoFuture},
    marker::PhantomData,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use pubsub_core::{
    ChannelName, Error, ErrorKind, PubSub, Request, Result,
    driver::BoxFuture,
    rpc::{Failure, FailureCode, ReplyBody, ReplyTo},
};
use tokio::{runtime::Handle, sync::oneshot};

use super::{
    EventRpc,
    gates::{Gates, Passage},
    link::Link,
    serve::{self, Asked, Counts, Execute, Server},
};
use crate::task::Task;

/// How many requests are at work at a time unless the responder says otherwise.
const DEFAULT_CONCURRENCY: usize = 64;

impl EventRpc {
    /// Answers the requests of type `Q` as a member of `group`: each request is executed by one member, and again by another
    /// one if the first does not live to answer it. Await the result to begin.
    ///
    /// A request is executed only before its deadline, and a handler that is at work then is dropped: spawn what must be
    /// finished. A panic is a failure of its call alone. A request that cannot be decoded is answered with `BAD_REQUEST` and
    /// its faults. What is published on the channel without asking for a reply is acknowledged and counted. An answer that
    /// cannot be delivered is counted too, and does not lead to a second execution.
    ///
    /// Members of a group take the same events: where several types of requests share a channel, each needs a group of its own.
    ///
    /// This is the small form. The router's actions have extractors, layers and state.
    ///
    /// # Errors
    /// Awaiting it gives what [`Subscribe`](pubsub_core::Subscribe) gives.
    pub fn respond<Q, H, F>(&self, group: &str, handler: H) -> Respond<Q>
    where
        Q: Request,
        H: Fn(Q) -> F + Send + Sync + 'static,
        F: Future<Output = Result<Q::Reply, Failure>> + Send + 'static,
    {
        let execute: Execute = Arc::new(move |asked: Asked| {
            let begun = asked.bus.decode::<Q>(&asked.message).map(&handler);
            Box::pin(async move {
                match begun {
                    Ok(running) => running.await.map_or_else(ReplyBody::Failure, |reply| value(&reply)),
                    Err(error) => ReplyBody::Failure(Failure::of_request(&error)),
                }
            })
        });
        Respond::new(self, group, execute)
    }

    /// As [`EventRpc::respond`], with an answer in many items: the handler sends them to the [`ReplySink`], which waits while
    /// the caller has no room, and the stream is complete when the handler returns.
    ///
    /// # Errors
    /// Awaiting it gives what [`Subscribe`](pubsub_core::Subscribe) gives.
    pub fn respond_stream<Q, H, F>(&self, group: &str, handler: H) -> Respond<Q>
    where
        Q: Request,
        H: Fn(Q, ReplySink<Q::Reply>) -> F + Send + Sync + 'static,
        F: Future<Output = Result<(), Failure>> + Send + 'static,
    {
        let gates = Arc::new(Gates::default());
        let link = Arc::new(Link::new(self.inner.bus.clone(), gates.clone()));
        let handler = Arc::new(handler);
        let execute: Execute = Arc::new(move |asked: Asked| {
            let (gates, link, handler) = (gates.clone(), link.clone(), handler.clone());
            Box::pin(async move { stream(asked, &gates, &link, &*handler).await.unwrap_or_else(ReplyBody::Failure) })
        });
        Respond::new(self, group, execute)
    }
}

fn value<T: serde::Serialize>(reply: &T) -> ReplyBody {
    ReplyBody::value(reply).unwrap_or_else(|error| ReplyBody::Failure(error.into()))
}

async fn stream<Q, H, F>(
    asked: Asked,
    gates: &Arc<Gates>,
    link: &Link<Gates>,
    handler: &H,
) -> Result<ReplyBody, Failure>
where
    Q: Request,
    H: Fn(Q, ReplySink<Q::Reply>) -> F,
    F: Future<Output = Result<(), Failure>>,
{
    let Asked { bus, message, to } = asked;
    let request = bus.decode::<Q>(&message).map_err(|error| Failure::of_request(&error))?;
    let Some(window) = to.window() else {
        return Err(Failure::bad_request("this is answered by a stream; ask for one"));
    };
    let control = link.address().await?;
    let passage = gates.open(&to.request().to_string(), window);
    let gate = passage.gate.clone();
    let sent = Arc::new(AtomicU64::new(0));
    let sink = ReplySink { bus, to, control, passage, sent: sent.clone(), items: PhantomData };
    handler(request, sink).await?;
    if gate.is_cancelled() {
        return Err(Failure::new(FailureCode::ClientClosedRequest, "nobody reads the stream any more"));
    }
    Ok(ReplyBody::End { items: sent.load(Ordering::Acquire) })
}

/// Where the handler of a stream puts its items.
pub struct ReplySink<T> {
    bus: PubSub,
    to: ReplyTo,
    control: ChannelName,
    passage: Passage,
    sent: Arc<AtomicU64>,
    items: PhantomData<fn(T)>,
}

impl<T: serde::Serialize> ReplySink<T> {
    /// Sends an item, as soon as the caller has room for it, and resolves when the broker has it.
    ///
    /// Cancel safety: dropped before it resolves, the item may have been sent; the next one then takes its place, and the
    /// caller passes over it. Do not drop it and go on.
    ///
    /// # Errors
    /// `Cancelled` when nobody reads the stream any more: there is no use in going on. Otherwise as [`PubSub::reply`], and
    /// `Codec` for an item that is no JSON.
    pub async fn send(&mut self, item: &T) -> Result<()> {
        let sequence = self.sent.load(Ordering::Acquire);
        let body = ReplyBody::item(sequence, item, Some(self.control.clone()))?;
        self.passage.gate.pass(sequence).await?;
        self.bus.reply(&self.to, body).await?;
        self.sent.store(sequence + 1, Ordering::Release);
        Ok(())
    }

    /// Whether nobody reads the stream any more.
    pub fn is_cancelled(&self) -> bool {
        self.passage.gate.is_cancelled()
    }
}

impl<T> fmt::Debug for ReplySink<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ReplySink").field("sent", &self.sent).finish_non_exhaustive()
    }
}

/// A responder that begins when this is awaited.
#[must_use = "nothing is answered until this is awaited"]
pub struct Respond<Q> {
    bus: PubSub,
    group: String,
    concurrency: usize,
    lease: Option<Duration>,
    replies: bool,
    execute: Execute,
    asks: PhantomData<fn(Q)>,
}

impl<Q: Request> Respond<Q> {
    fn new(rpc: &EventRpc, group: &str, execute: Execute) -> Self {
        let (bus, group) = (rpc.inner.bus.clone(), group.to_owned());
        Self { bus, group, concurrency: DEFAULT_CONCURRENCY, lease: None, replies: true, execute, asks: PhantomData }
    }

    /// Sets how many requests are at work at a time; the others wait at the broker. The default is 64.
    pub fn concurrency(mut self, requests: usize) -> Self {
        self.concurrency = requests;
        self
    }

    /// Sets for how long a responder whose process has died keeps its requests from the other members; those of a live one
    /// are renewed. The default is the subscription's. Callers wait for it, where their timeouts allow.
    pub fn lease(mut self, duration: Duration) -> Self {
        self.lease = Some(duration);
        self
    }

    /// Executes requests and keeps the answers to itself: another group answers, or nobody does.
    pub fn without_reply(mut self) -> Self {
        self.replies = false;
        self
    }

    async fn begin(self) -> Result<Responder> {
        let Self { bus, group, concurrency, lease, replies, execute, .. } = self;
        if concurrency == 0 {
            return Err(Error::new(ErrorKind::Invalid, "respond", "field `concurrency` must not be zero"));
        }
        let mut subscribe = bus.subscribe_events().event::<Q>().group(&group).max_in_flight(concurrency);
        if let Some(lease) = lease {
            subscribe = subscribe.lease(lease);
        }
        let requests = subscribe.await?;
        let channel = bus.definition::<Q>()?.channel().clone();
        let counts = Arc::new(Counts::new(bus.observer(), channel.as_str(), &group, Q::NAME));
        let server = Server { bus, group, replies, execute, counts: counts.clone() };
        let (stop, stopped) = oneshot::channel();
        // A group is subscribed to within a runtime only.
        let task = Task::spawn(&Handle::current(), serve::serve(requests, Arc::new(server), concurrency, stopped));
        Ok(Responder { task, stop, counts })
    }
}

impl<Q: Request> IntoFuture for Respond<Q> {
    type Output = Result<Responder>;
    type IntoFuture = Pin<Box<dyn Future<Output = Self::Output> + Send>>;

    fn into_future(self) -> BoxFuture<'static, Self::Output> {
        Box::pin(self.begin())
    }
}

impl<Q> fmt::Debug for Respond<Q> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Respond")
            .field("group", &self.group)
            .field("concurrency", &self.concurrency)
            .finish_non_exhaustive()
    }
}

/// A responder at work. Dropping it ends it at once: requests that are at work are executed by another member.
#[must_use = "a responder that is dropped answers nothing"]
#[derive(Debug)]
pub struct Responder {
    task: Task,
    stop: oneshot::Sender<()>,
    counts: Arc<Counts>,
}

impl Responder {
    /// Takes no more requests, and waits until those at work are answered: at the latest, their deadlines end them.
    pub async fn stop(self) {
        let Self { mut task, stop, .. } = self;
        let _ = stop.send(()); // one that has ended already needs no word
        task.ended().await;
    }

    /// Counters.
    pub fn stats(&self) -> ResponderStats {
        self.counts.read()
    }
}

/// How many of what, since the responder began.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ResponderStats {
    /// Requests that were answered, be it by a failure.
    pub answered: u64,
    /// Requests that came after their deadline, and were not executed.
    pub expired: u64,
    /// Requests that were at work at their deadline, and were dropped.
    pub cut_off: u64,
    /// Answers that could not be delivered, or that nobody wanted any more.
    pub undelivered: u64,
    /// Handlers that panicked; their calls failed.
    pub panicked: u64,
    /// Events that asked for no reply.
    pub unasked: u64,
    /// Requests whose return address is none; they are dead letters.
    pub malformed: u64,
    /// Errors of the subscription, which goes on.
    pub errors: u64,
}
