//! Reading streams: the history of channels.

use std::time::Duration;

use futures_util::StreamExt;
use lapin::{
    Channel, Confirmation, Consumer,
    options::{
        BasicAckOptions, BasicConsumeOptions, BasicPublishOptions, BasicQosOptions, ConfirmSelectOptions,
        ExchangeDeleteOptions,
    },
    types::{AMQPValue, FieldTable, ShortString},
};
use pubsub_core::{ChannelName, Error, ErrorKind, EventId, Position, Result, StartPosition, Timestamp};
use tokio::time::timeout;

use super::{
    connection::Live,
    error::{closed, convert, late, unavailable},
    group::{exists, mark},
    lane::Unrouted,
    names::{hash, short},
    registry::{ready, ready_token},
    topology::{Topologist, within},
    wire::Raw,
};

/// The scheme of positions.
pub(super) const SCHEME: &str = "amqp";
/// How many messages the broker may send ahead.
const AHEAD: u16 = 256;
/// How long the first message after a time may take to come, if there is one.
const AFTER_TIME: Duration = Duration::from_secs(1);
/// How long the first message of a stream may take to come that is known not to be empty.
const FIRST_WITHIN: Duration = Duration::from_secs(3);

/// How long a stream that is ready may take to confirm something.
const KEEPS_WITHIN: Duration = Duration::from_secs(3);

/// Which offsets a stream holds: the first one, and the next one to be written; and which life of the stream it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Bounds {
    pub(super) first: u64,
    pub(super) next: u64,
    pub(super) born: u64,
}

/// Where to start to read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum From {
    Offset(u64),
    /// The chunk that holds this time, and so perhaps earlier events, too.
    Time(Timestamp),
}

/// The position of an offset in a stream of this life.
pub(super) fn position(offset: u64, born: u64) -> Option<Position> {
    Position::pair(SCHEME, offset, born).ok()
}

/// What tells the lives of a stream apart: it changes when the stream is made anew. Zero where nobody said.
pub(super) async fn born(topology: &Topologist, channel: &ChannelName, operation: &'static str) -> Result<u64> {
    let token = ready_token(topology, &topology.names.born(channel), operation).await?;
    // It travels in headers, too, whose numbers have a sign.
    let number = |token: String| u64::from_str_radix(&hash(&token)[..15], 16).unwrap_or(0).max(1);
    Ok(token.map_or(0, number))
}

/// Says that a stream is about to be made anew. Of several who say so at a time the last one counts.
pub(super) async fn bear(topology: &Topologist, channel: &ChannelName, operation: &'static str) -> Result<()> {
    let exchange = topology.names.born(channel);
    let scratch = topology.scratch(operation).await?;
    let deleted = scratch.exchange_delete(short(&exchange), ExchangeDeleteOptions::default());
    within(operation, deleted).await?.map_err(|error| convert(operation, error))?;
    match ready(&scratch, &exchange, &EventId::random().to_string()).await {
        Err(error) if error.kind() == ErrorKind::TopologyMismatch => Ok(()),
        said => said,
    }
}

/// Makes sure that a channel's stream keeps what is sent to the channel, as far as it is there at all.
///
/// A broker that has just been started lets publishers in before its streams are back. What they send goes to groups alone
/// then; and who writes while a stream comes back may have to do with a writer that is gone since: the broker (3.10) keeps
/// him waiting, and afterwards confirms events to him that it does not keep. So a mark goes ahead on a channel of the
/// protocol that is thrown away, and nothing else before the broker has confirmed it.
///
/// # Errors
/// `Unavailable` or `Timeout` while the stream is not ready.
pub(super) async fn keeps(topology: &Topologist, live: &Live, channel: &ChannelName) -> Result<()> {
    const OPERATION: &str = "publish";
    let queue = topology.names.stream(channel);
    let scratch = live.channel(OPERATION).await?;
    let marked = async {
        scratch.confirm_select(ConfirmSelectOptions::default()).await?;
        let (options, token) = (BasicPublishOptions { mandatory: true, immediate: false }, EventId::random());
        let Raw { properties, body, .. } = mark(&token.to_string());
        scratch.basic_publish(ShortString::default(), short(&queue), options, &body, properties).await?.await
    };
    let marked = timeout(KEEPS_WITHIN, marked).await.map_err(|_| late(OPERATION))?;
    match marked.map_err(|error| convert(OPERATION, error))? {
        Confirmation::Ack(None) | Confirmation::NotRequested => Ok(()),
        // Where it was never declared, or was deleted, what is sent comes back, too, and it is made then.
        Confirmation::Ack(Some(_)) if !exists(topology, &queue).await? => Ok(()),
        _ => Err(unavailable(OPERATION, "the stream was not ready")),
    }
}

/// What a stream holds. The broker does not tell where a stream ends, so that a mark is written and looked for. Whoever
/// looks for it stands at the end before it is written, and so comes past it however much is published meanwhile.
///
/// # Errors
/// `NotFound` if there is no such stream.
pub(super) async fn bounds(topology: &Topologist, channel: &ChannelName, operation: &'static str) -> Result<Bounds> {
    let queue = topology.names.stream(channel);
    let missing = async |error: Error| {
        // It comes back, too, from one that is there and not ready; what the broker says of that is the error then.
        let is_absent = match error.kind() {
            ErrorKind::Unroutable => exists(topology, &queue).await.map(|exists| !exists),
            kind => Ok(kind == ErrorKind::NotFound),
        };
        let text = "there is no such channel, or it keeps no history";
        match is_absent {
            Ok(true) => Error::new(ErrorKind::NotFound, operation, text).on(channel),
            Ok(false) if error.kind() == ErrorKind::Unroutable => unavailable(operation, "the stream was not ready"),
            Ok(false) => error,
            Err(unsaid) => unsaid,
        }
    };
    let name = short(&queue);
    let token = EventId::random().to_string();
    let sender = topology.sender().ok_or_else(|| closed(operation))?;
    let unrouted = || Unrouted::Stream(channel.clone());
    let put = async || match sender.put(mark(&token), ShortString::default(), name.clone(), unrouted(), channel).await {
        Err(error) => Err(missing(error).await),
        done => done,
    };
    // Only what has been written to can be read: one that was just declared is refused to readers.
    put().await?;
    let mut end = match Reader::open(topology.scratch(operation).await?, &name, Spec::Last, AHEAD, operation).await {
        Err(error) => return Err(missing(error).await),
        Ok(end) => end,
    };
    // The first one may lie before the last chunk by now, this one does not.
    put().await?;
    let mut start = Reader::open(topology.scratch(operation).await?, &name, Spec::First, 1, operation).await?;
    // A reader that stood on a segment that was just removed says nothing any more: another one is asked.
    let first = timeout(FIRST_WITHIN, start.next_or_lost()).await.map_err(|_| late(operation))??;
    let first = first.offset().ok_or_else(|| late(operation))?;
    drop(start);
    let next = within(operation, async {
        loop {
            let raw = end.next_or_lost().await?;
            if raw.mark() == Some(token.as_bytes()) {
                return raw.offset().ok_or_else(|| late(operation));
            }
        }
    });
    Ok(Bounds { first, next: next.await??, born: born(topology, channel, operation).await? })
}

/// Resolves a start position.
///
/// # Errors
/// `PositionExpired` if events after the position are gone, `Invalid` for a foreign one.
pub(super) fn resolve(start: &StartPosition, bounds: Bounds, operation: &'static str) -> Result<From> {
    Ok(match start {
        StartPosition::Latest => From::Offset(bounds.next),
        StartPosition::After(position) => {
            let (offset, born) = position.as_pair(SCHEME)?;
            let wanted = offset.saturating_add(1);
            if bounds.born != 0 && born != bounds.born {
                let text = format!("position `{position}` is of a stream that is gone");
                return Err(Error::new(ErrorKind::PositionExpired, operation, text));
            }
            if wanted < bounds.first || wanted > bounds.next {
                let text = format!("events after position `{position}` are gone");
                return Err(Error::new(ErrorKind::PositionExpired, operation, text));
            }
            From::Offset(wanted)
        }
        StartPosition::Time(time) => From::Time(*time),
        _ => From::Offset(bounds.first),
    })
}

/// How the broker is told where to start.
#[derive(Clone, Copy, Debug)]
pub(super) enum Spec {
    First,
    /// The beginning of the last chunk.
    Last,
    At(From),
}

impl Spec {
    fn value(self) -> AMQPValue {
        match self {
            Self::First => AMQPValue::LongString("first".into()),
            Self::Last => AMQPValue::LongString("last".into()),
            Self::At(From::Offset(offset)) => AMQPValue::LongLongInt(i64::try_from(offset).unwrap_or(i64::MAX)),
            // In whole seconds, and rather too early.
            Self::At(From::Time(time)) => {
                AMQPValue::Timestamp(u64::try_from(time.as_millis().div_euclid(1_000)).unwrap_or(0))
            }
        }
    }
}

/// A reader of one stream.
#[derive(Debug)]
pub(super) struct Reader {
    channel: Channel,
    consumer: Consumer,
    unacked: u16,
    ahead: u16,
    /// Whether something came.
    begun: bool,
    operation: &'static str,
}

impl Reader {
    /// Begins to read.
    pub(super) async fn open(
        channel: Channel,
        stream: &ShortString,
        spec: Spec,
        ahead: u16,
        operation: &'static str,
    ) -> Result<Self> {
        let failed = |error| convert(operation, error);
        within(operation, channel.basic_qos(ahead, BasicQosOptions::default())).await?.map_err(failed)?;
        let mut arguments = FieldTable::default();
        arguments.insert(short("x-stream-offset"), spec.value());
        let consume = channel.basic_consume(stream.clone(), short(""), BasicConsumeOptions::default(), arguments);
        let consumer = within(operation, consume).await?.map_err(failed)?;
        Ok(Self { channel, consumer, unacked: 0, ahead, begun: false, operation })
    }

    /// As [`Reader::open`], for a channel's stream.
    pub(super) async fn of(
        topology: &Topologist,
        channel: &ChannelName,
        from: From,
        operation: &'static str,
    ) -> Result<Self> {
        let scratch = topology.scratch(operation).await?;
        Self::open(scratch, &short(&topology.names.stream(channel)), Spec::At(from), AHEAD, operation).await
    }

    /// The next message of those that are there; none after a time at which nothing was sent.
    pub(super) async fn next_stored(&mut self, from: From) -> Result<Option<Raw>> {
        if self.begun || matches!(from, From::Offset(_)) {
            return within(self.operation, self.next_or_lost()).await?.map(Some);
        }
        timeout(AFTER_TIME, self.next()).await.unwrap_or(Ok(None))
    }

    /// The next message of a stream that has one.
    async fn next_or_lost(&mut self) -> Result<Raw> {
        // The broker ends a reader under which retention has removed a segment, too.
        let operation = self.operation;
        let lost = || Error::new(ErrorKind::Unavailable, operation, "the broker has ended the reader of a stream");
        match self.next().await? {
            Some(raw) => Ok(raw),
            None => Err(lost()),
        }
    }

    /// The next message; none once the stream was deleted. Cancel safe.
    pub(super) async fn next(&mut self) -> Result<Option<Raw>> {
        let delivery = match self.consumer.next().await {
            Some(delivery) => delivery.map_err(|error| convert(self.operation, error))?,
            None => return Ok(None),
        };
        self.begun = true;
        let tag = delivery.delivery_tag;
        self.unacked += 1;
        if self.unacked >= self.ahead.div_ceil(2) {
            self.unacked = 0;
            // Not awaited to the end: it is on its way, and a lost connection shows in the deliveries.
            let channel = self.channel.clone();
            let ack = async move { channel.basic_ack(tag, BasicAckOptions { multiple: true }).await };
            let mut ack = Box::pin(ack);
            let _ = futures_util::future::poll_immediate(&mut ack).await;
        }
        Ok(Some(Raw::of(delivery)))
    }
}
