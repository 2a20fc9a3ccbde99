//! Subscriptions to channels of a `pubsub-server`.

use std::{
    fmt,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use futures_util::Stream;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use pubsub_core::{
    ChannelName, Envelope, Error, ErrorKind, Event, EventArg, EventDefinition, EventName, Message, Payload, Result,
    rpc::CallError,
};
use serde::Deserialize;

use super::{
    HttpClient,
    stream::{Recent, Sse, SseItem},
};

/// The most channels of one stream.
const MOST_CHANNELS: usize = 32;
/// The control event that tells of a gap.
const GAP: &str = "pubsub:gap";

/// What the server does when the position is gone.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnGap {
    /// Tells of the gap, and sends everything that is retained.
    #[default]
    Replay,
    /// Refuses with `PRECONDITION_FAILED`.
    Error,
}

/// What happens on a subscription.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum HttpItem<P = Payload> {
    /// The stream is open: at first, and again after each interruption.
    Open,
    /// An event.
    Event {
        /// The position behind it, from which [`HttpSubscribe::after`] goes on.
        cursor: String,
        /// The event.
        event: Envelope<P>,
    },
    /// Events may be missing before what comes next.
    Gap {
        /// The position behind the gap.
        cursor: String,
        /// The position that was asked for.
        requested: String,
        /// The position after which the stream goes on; none if that is the beginning of what is retained.
        resumed_after: Option<String>,
    },
    /// The connection is gone. A new one is made after the pause, behind the last event.
    Interrupted {
        /// Why.
        error: CallError,
        /// How long nothing is attempted.
        pause: Duration,
    },
}

impl<P> HttpItem<P> {
    /// The event, if it is one.
    pub fn into_event(self) -> Option<Envelope<P>> {
        match self {
            Self::Event { event, .. } => Some(event),
            _ => None,
        }
    }
}

type Decode<P> = Arc<dyn Fn(Envelope) -> Result<Envelope<P>> + Send + Sync>;

/// Says what to listen to, and from where.
#[must_use = "nothing is heard before `start`"]
pub struct HttpSubscribe<P> {
    client: HttpClient,
    channels: Vec<ChannelName>,
    names: Vec<EventName>,
    after: Option<String>,
    on_gap: OnGap,
    decode: Decode<P>,
}

impl<P> fmt::Debug for HttpSubscribe<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = f.debug_struct("HttpSubscribe");
        shown.field("channels", &self.channels).field("names", &self.names).field("after", &self.after);
        shown.finish_non_exhaustive()
    }
}

impl HttpSubscribe<Payload> {
    pub(super) fn raw<C: AsRef<str>>(client: &HttpClient, channels: impl IntoIterator<Item = C>) -> Result<Self> {
        let channels: Vec<_> =
            channels.into_iter().map(|channel| ChannelName::parse(channel.as_ref())).collect::<Result<_>>()?;
        if channels.is_empty() || channels.len() > MOST_CHANNELS {
            let message = format!("field `channels` has {}, not 1 to {MOST_CHANNELS}", channels.len());
            return Err(Error::new(ErrorKind::Invalid, "subscribe", message));
        }
        let decode = Arc::new(Ok);
        Ok(Self { client: client.clone(), channels, names: Vec::new(), after: None, on_gap: OnGap::default(), decode })
    }

    /// Takes only events of these names.
    ///
    /// # Errors
    /// `Invalid` for a bad name.
    pub fn events<N: AsRef<str>>(mut self, names: impl IntoIterator<Item = N>) -> Result<Self> {
        for name in names {
            self.names.push(EventName::parse(name.as_ref())?);
        }
        Ok(self)
    }
}

impl<E: Event> HttpSubscribe<E> {
    pub(super) fn typed(client: &HttpClient) -> Result<Self> {
        let raw = HttpSubscribe::raw(client, [E::CHANNEL])?.events([E::NAME])?;
        let HttpSubscribe { client, channels, names, after, on_gap, .. } = raw;
        let decode = decoder(EventDefinition::of::<E>()?);
        Ok(Self { client, channels, names, after, on_gap, decode })
    }

    /// Reads payloads as this definition of the type says: with upcasters for older versions.
    pub fn definition(mut self, definition: EventDefinition) -> Self {
        self.decode = decoder(definition);
        self
    }
}

fn decoder<E: Event>(definition: EventDefinition) -> Decode<E> {
    Arc::new(move |envelope| {
        let message = Message::from(envelope.clone());
        let payload = <E as EventArg>::take(&message, false, &definition)?;
        let Envelope { id, name, channel, version, key, timestamp, meta, .. } = envelope;
        Ok(Envelope { id, name, channel, version, key, payload, timestamp, meta })
    })
}

impl<P> HttpSubscribe<P> {
    /// Starts behind this position, which an earlier subscription gave.
    pub fn after(mut self, cursor: impl Into<String>) -> Self {
        self.after = Some(cursor.into());
        self
    }

    /// Starts with everything that is retained.
    pub fn earliest(self) -> Self {
        self.after("earliest")
    }

    /// Sets what the server does when the position is gone.
    pub fn on_gap(mut self, on_gap: OnGap) -> Self {
        self.on_gap = on_gap;
        self
    }

    /// The stream. It connects when it is polled.
    pub fn start(self) -> HttpEvents<P> {
        let mut url = self.client.0.transport.url("/events?named=false");
        let mut add = |key: &str, value: &str| {
            url.push_str(&format!("&{key}={}", utf8_percent_encode(value, NON_ALPHANUMERIC)));
        };
        self.channels.iter().for_each(|channel| add("channel", channel.as_str()));
        self.names.iter().for_each(|name| add("event", name.as_str()));
        if self.on_gap == OnGap::Error {
            add("onGap", "error");
        }
        let inner = &self.client.0;
        let sse = Sse::new(inner.transport.clone(), inner.settings, url, self.after.as_deref());
        HttpEvents { sse, decode: self.decode, seen: Recent::new(inner.settings.remembered) }
    }
}

/// The events of channels as they come, as a [`Stream`] that comes back behind the last event by itself.
///
/// Each event is handed out once, as long as its id is among the last that are remembered. An `Err` of kind `Codec` is an
/// event that cannot be read, and the stream goes on behind it; any other `Err` is the last item: the server refuses the
/// subscription.
///
/// It has no task of its own: dropping it closes the connection, and nothing is lost by polling it in a `select!`.
#[must_use = "a stream does nothing unless it is polled"]
pub struct HttpEvents<P> {
    sse: Sse,
    decode: Decode<P>,
    seen: Recent,
}

impl<P> fmt::Debug for HttpEvents<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HttpEvents").field("sse", &self.sse).finish_non_exhaustive()
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct GapPayload {
    #[serde(default)]
    requested: String,
    resumed_after: Option<String>,
}

impl<P> HttpEvents<P> {
    /// What an event of the stream means; nothing if it was handed out already.
    fn read(&mut self, data: &str, cursor: String) -> Result<Option<HttpItem<P>>> {
        let envelope: Envelope = serde_json::from_str(data).map_err(|cause| {
            Error::new(ErrorKind::Codec, "read events", "an event of the stream is no envelope").because(cause)
        })?;
        if envelope.name == GAP {
            let GapPayload { requested, resumed_after } = envelope.payload.decode()?;
            return Ok(Some(HttpItem::Gap { cursor, requested, resumed_after }));
        }
        // Ids are unique in their channel.
        if !self.seen.insert(&format!("{} {}", envelope.channel, envelope.id)) {
            return Ok(None);
        }
        let channel = envelope.channel.clone();
        let event = (self.decode)(envelope).map_err(|error| error.on(&channel))?;
        Ok(Some(HttpItem::Event { cursor, event }))
    }
}

impl<P> Stream for HttpEvents<P> {
    type Item = Result<HttpItem<P>, CallError>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = &mut *self;
        loop {
            let Some(item) = ready!(Pin::new(&mut this.sse).poll_next(context)) else { return Poll::Ready(None) };
            return Poll::Ready(Some(match item {
                Ok(SseItem::Open) => Ok(HttpItem::Open),
                Ok(SseItem::Interrupted { error, pause }) => Ok(HttpItem::Interrupted { error, pause }),
                Ok(SseItem::Message(message)) => match this.read(&message.data, message.id) {
                    Ok(None) => continue,
                    Ok(Some(item)) => Ok(item),
                    Err(error) => Err(error.into()),
                },
                Err(error) => Err(error),
            }));
        }
    }
}
