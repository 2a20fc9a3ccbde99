//! Request and reply over any adapter.

mod call;
mod classic;
mod forward;
mod gates;
mod gather;
mod link;
mod respond;
mod serve;
mod stream;
mod table;

use std::{
    collections::HashMap,
    fmt,
    sync::{Arc, Mutex, OnceLock},
    time::Duration,
};

pub use call::Call;
pub use gather::Answer;
use link::Link;
pub use pubsub_core::rpc::{CallError, Failure, FailureCode};
use pubsub_core::{Envelope, Error, ErrorKind, Payload, PubSub, Request};
pub use respond::{ReplySink, Respond, Responder, ResponderStats};
pub use stream::Replies;
pub use table::RpcStats;
use table::Table;

use crate::{EventBus, bus::Kept};

/// How long a call waits unless it says otherwise.
pub const DEFAULT_TIMEOUT: Duration = Duration::from_secs(10);
/// How many calls may wait at a time unless the builder says otherwise.
pub const DEFAULT_MAX_PENDING: usize = 65_536;
/// How many ended calls are remembered unless the builder says otherwise.
pub const DEFAULT_REMEMBERED: usize = 16_384;

/// Asks questions and answers them, over any adapter. Cloning it gives another handle to the same inbox.
///
/// All calls share one private inbox, which is subscribed to before the first request is sent, and opened again when it is
/// lost. A request carries its deadline: nobody executes it later. Whatever becomes of a call, nothing of it stays here;
/// a reply that nobody waits for is dropped and counted.
///
/// ```
/// # use pubsub::{PubSub, EventRpc, Failure};
/// #[pubsub::event(name = "quotes:get", reply = Quote)]
/// struct GetQuote {
///     symbol: String,
/// }
///
/// #[pubsub::payload]
/// struct Quote {
///     price: f64,
/// }
///
/// # async fn example(bus: PubSub) -> Result<(), Box<dyn std::error::Error>> {
/// let rpc = EventRpc::new(&bus);
/// let _responder = rpc
///     .respond::<GetQuote, _, _>("quoting", |asked| async move {
///         if asked.symbol == "NONE" {
///             return Err(Failure::not_found("no such symbol"));
///         }
///         Ok(Quote { price: 7.5 })
///     })
///     .await?;
/// let quote = rpc.request(&GetQuote { symbol: "ABC".into() }).await?;
/// assert_eq!(quote.price, 7.5);
/// # Ok(())
/// # }
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// #     tokio::runtime::Runtime::new()?.block_on(async { example(pubsub::connect("memory:").await?).await })
/// # }
/// ```
#[derive(Clone)]
pub struct EventRpc {
    inner: Arc<Inner>,
}

struct Inner {
    bus: PubSub,
    table: Arc<Table>,
    link: Link<Table>,
    /// For requests of the classic form.
    events: OnceLock<EventBus>,
    /// The subscriptions that their answers come through.
    kept: Mutex<HashMap<String, Kept>>,
    timeout: Duration,
}

impl EventRpc {
    /// Calls over `bus`, with the defaults. Opens nothing yet.
    pub fn new(bus: &PubSub) -> Self {
        Self::builder(bus).build()
    }

    /// Prepares calls over `bus`.
    pub fn builder(bus: &PubSub) -> EventRpcBuilder {
        EventRpcBuilder {
            bus: bus.clone(),
            timeout: DEFAULT_TIMEOUT,
            max_pending: DEFAULT_MAX_PENDING,
            remembered: DEFAULT_REMEMBERED,
        }
    }

    /// Asks a question: await the result for the answer of whoever is first, or call [`Call::gather`] for those of several
    /// responders, or [`Call::stream`] for an answer in many items.
    ///
    /// The request is an event like any other, and goes to its channel under the channel's policy.
    ///
    /// # Errors
    /// Awaiting it gives [`CallError::Failed`] with what the responder said, and [`CallError::Bus`] for everything else:
    /// `Timeout` without a reply in time, `Codec` for a reply that does not fit, `Backpressure` when too many calls wait,
    /// `Conflict` when a call with the same id waits, `Unavailable` when the inbox was lost, and what
    /// [`PubSub::publish`] and [`PubSub::open_inbox`] give.
    pub fn request<Q: Request>(&self, request: &Q) -> Call<'_, Q::Reply> {
        Call::new(self, self.inner.bus.publish(request), |payload| payload.decode())
    }

    /// Asks a question that has no Rust type: the reply comes as its payload.
    ///
    /// # Errors
    /// As [`EventRpc::request`].
    pub fn request_envelope(&self, request: Envelope) -> Call<'_, Payload> {
        Call::new(self, self.inner.bus.publish_envelope(request), Ok)
    }

    /// Counters.
    pub fn stats(&self) -> RpcStats {
        self.inner.table.stats()
    }

    /// The handle below.
    pub fn bus(&self) -> &PubSub {
        &self.inner.bus
    }

    /// Closes the inbox and ends its task: calls that wait fail, and so do all later ones. Responders are on their own.
    pub fn close(&self) {
        self.inner.link.close();
        let error = Error::new(ErrorKind::Closed, "request", "the caller's end was closed").perhaps_applied();
        self.inner.table.fail_all(&error);
        if let Some(events) = self.inner.events.get() {
            events.shut();
        }
    }
}

impl fmt::Debug for EventRpc {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EventRpc").field("stats", &self.stats()).finish_non_exhaustive()
    }
}

/// What [`EventRpc`] is made of.
#[derive(Clone, Debug)]
pub struct EventRpcBuilder {
    bus: PubSub,
    timeout: Duration,
    max_pending: usize,
    remembered: usize,
}

impl EventRpcBuilder {
    /// Sets how long a call waits unless it says otherwise. The default is [`DEFAULT_TIMEOUT`].
    #[must_use]
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// Sets how many calls may wait at a time; one more is refused with `Backpressure`. The default is
    /// [`DEFAULT_MAX_PENDING`].
    #[must_use]
    pub fn max_pending(mut self, calls: usize) -> Self {
        self.max_pending = calls;
        self
    }

    /// Sets how many ended calls are remembered, to tell late and second replies from foreign ones. The default is
    /// [`DEFAULT_REMEMBERED`].
    #[must_use]
    pub fn remembered(mut self, calls: usize) -> Self {
        self.remembered = calls;
        self
    }

    /// Makes it. Opens nothing yet.
    pub fn build(self) -> EventRpc {
        let table = Table::new(self.max_pending, self.remembered);
        let link = Link::new(self.bus.clone(), table.clone());
        let (events, kept) = (OnceLock::new(), Mutex::default());
        let inner = Inner { bus: self.bus, table, link, events, kept, timeout: self.timeout };
        EventRpc { inner: Arc::new(inner) }
    }
}
