//! A typed client for the web edge: publish, send events, ask, and listen, over HTTP alone.
//!
//! It speaks to `pubsub-server`; its streams also read those of any other server of events.

mod backoff;
mod builder;
mod call;
mod connect;
mod events;
mod queue;
mod sse;
mod stream;
mod transport;

use std::{fmt, sync::Arc};

pub use builder::HttpClientBuilder;
pub use call::{Published, Sent};
pub use events::{HttpEvents, HttpItem, HttpSubscribe, OnGap};
pub use queue::Queued;
pub use sse::SseMessage;
pub use stream::{Sse, SseItem};

use builder::Settings;
use pubsub_core::{Error, ErrorKind, Event, Payload, Result};
use queue::Queue;
use transport::Transport;

/// A client of a server of events. Cloning it gives another handle to the same client.
///
/// Calls have ids, so that a repeated one is done once; streams come back behind the last event by themselves. Dropping
/// what a method returns cancels it: nothing of it stays behind. What was sent may then have been done.
///
/// ```no_run
/// # use pubsub_client::http::HttpClient;
/// use futures_util::StreamExt;
/// # #[pubsub::event("orders:created", direction = "both")]
/// # struct OrderCreated { order_id: String }
/// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
/// let client = HttpClient::builder("http://shop.example/api").token("secret").build()?;
/// client.publish(&OrderCreated { order_id: "A-1".into() }).await?;
///
/// let mut orders = client.subscribe_to::<OrderCreated>()?.start();
/// while let Some(item) = orders.next().await {
///     if let Some(order) = item?.into_event() {
///         println!("{}", order.payload.order_id);
///     }
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct HttpClient(Arc<Inner>);

struct Inner {
    transport: Transport,
    settings: Settings,
    queue: Option<Queue>,
}

impl fmt::Debug for HttpClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HttpClient").field("transport", &self.0.transport).field("settings", &self.0.settings).finish()
    }
}

impl HttpClient {
    /// Builds a client for the server whose router is mounted at `url`, such as `http://shop.example/api`.
    pub fn builder(url: &str) -> HttpClientBuilder {
        HttpClientBuilder::new(url)
    }

    fn assembled(transport: Transport, settings: Settings) -> Result<Self> {
        let queue = settings.offline.map(|capacity| Queue::start(transport.clone(), settings, capacity)).transpose()?;
        Ok(Self(Arc::new(Inner { transport, settings, queue })))
    }

    /// Listens to channels: 1 to 32 of them.
    ///
    /// # Errors
    /// `Invalid` for another number of channels, or a bad name.
    pub fn subscribe<C: AsRef<str>>(&self, channels: impl IntoIterator<Item = C>) -> Result<HttpSubscribe<Payload>> {
        HttpSubscribe::raw(self, channels)
    }

    /// Listens to one kind of event, on its own channel. Payloads of other versions than the type's are errors, unless
    /// [`HttpSubscribe::definition`] says how to read them.
    ///
    /// # Errors
    /// `Invalid` if the type declares a bad name or channel.
    pub fn subscribe_to<E: Event>(&self) -> Result<HttpSubscribe<E>> {
        HttpSubscribe::typed(self)
    }

    /// Listens to a stream of any server of events, with this client's token, pauses and limits: `path` lies behind the
    /// client's own address, and begins with a slash.
    ///
    /// `last_id` is the id behind which to start; none for whatever the server starts with.
    ///
    /// # Errors
    /// `Invalid` for a path that does not begin with a slash, since the token is for this server alone, or that is none.
    pub fn sse(&self, path: &str, last_id: Option<&str>) -> Result<Sse> {
        if !path.starts_with('/') {
            return Err(Error::new(ErrorKind::Invalid, "open stream", "field `path` must begin with a slash"));
        }
        let (transport, settings) = (self.0.transport.clone(), self.0.settings);
        let url = transport.url(path);
        transport::request(http::Method::GET, &url, bytes::Bytes::new())?;
        Ok(Sse::new(transport, settings, url, last_id))
    }
}
