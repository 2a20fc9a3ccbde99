//! Reading streams: the history of channels.

use std::time::Duration;

use futures_util::StreamExt;
use lapin::{
    Channel, Consumer,
    options::{BasicAckOptions, BasicConsumeOptions, BasicQosOptions},
    types::{AMQPValue, FieldTable, ShortString},
};
use pubsub_core::{ChannelName, Error, ErrorKind, EventId, Position, Result, StartPosition, Timestamp};
use tokio::time::timeout;

use super::{
    error::{closed, convert, late},
    group::mark,
    lane::Unrouted,
    names::short,
    topology::{Topologist, within},
    wire::Raw,
};

/// The scheme of positions.
pub(super) const SCHEME: &str = "amqp";
/// How many messages the broker may send ahead.
const AHEAD: u16 = 256;
/// How long the first message after a time may take to come, if there is one.
const AFTER_TIME: Duration = Duration::from_secs(1);

/// How many messages of the last chunk are looked at, and how long each may take.
const MOST_OF_A_CHUNK: usize = 8_192;
const REST_OF_A_CHUNK: Duration = Duration::from_secs(2);

/// Which offsets a stream holds: the first one, and the next one to be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Bounds {
    pub(super) first: u64,
    pub(super) next: u64,
}

/// Where to start to read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum From {
    Offset(u64),
    /// The chunk that holds this time, and so perhaps earlier events, too.
    Time(Timestamp),
}

/// The position of an offset.
pub(super) fn position(offset: u64) -> Option<Position> {
    Position::pair(SCHEME, offset, 0).ok()
}

/// What a stream holds. The broker does not tell where a stream ends, so that a mark is written and looked for.
///
/// # Errors
/// `NotFound` if there is no such stream.
pub(super) async fn bounds(topology: &Topologist, channel: &ChannelName, operation: &'static str) -> Result<Bounds> {
    let name = short(&topology.names.stream(channel));
    let token = EventId::random().to_string();
    let sender = topology.sender().ok_or_else(|| closed(operation))?;
    let marked = sender.put(mark(&token), ShortString::default(), name.clone(), Unrouted::Refuse, channel).await;
    marked.map_err(|error| match error.kind() {
        ErrorKind::Unroutable => {
            let text = "there is no such channel, or it keeps no history";
            Error::new(ErrorKind::NotFound, operation, text).on(channel)
        }
        _ => error,
    })?;
    let mut start = Reader::open(topology.scratch(operation).await?, &name, Spec::First, 1, operation).await?;
    let first = within(operation, start.next()).await??.and_then(|raw| raw.offset());
    let first = first.ok_or_else(|| late(operation))?;
    drop(start);
    let mut end = Reader::open(topology.scratch(operation).await?, &name, Spec::Last, AHEAD, operation).await?;
    let last = within(operation, end.next()).await??.ok_or_else(|| late(operation))?;
    // Where the mark is not in the last chunk, it is before it.
    let mut next = last.offset().ok_or_else(|| late(operation))?;
    let mut read = Some(last);
    for _ in 0..MOST_OF_A_CHUNK {
        let Some(raw) = &read else { break };
        if raw.mark() == Some(token.as_bytes()) {
            next = raw.offset().unwrap_or(next);
            break;
        }
        read = timeout(REST_OF_A_CHUNK, end.next()).await.unwrap_or(Ok(None))?;
    }
    Ok(Bounds { first, next })
}

/// Resolves a start position.
///
/// # Errors
/// `PositionExpired` if events after the position are gone, `Invalid` for a foreign one.
pub(super) fn resolve(start: &StartPosition, bounds: Bounds, operation: &'static str) -> Result<From> {
    Ok(match start {
        StartPosition::Latest => From::Offset(bounds.next),
        StartPosition::After(position) => {
            let (offset, _) = position.as_pair(SCHEME)?;
            let wanted = offset.saturating_add(1);
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
            return within(self.operation, self.next()).await?;
        }
        timeout(AFTER_TIME, self.next()).await.unwrap_or(Ok(None))
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
