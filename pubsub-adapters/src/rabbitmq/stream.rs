//! Reading streams: the history of channels.

use std::time::Duration;

use futures_util::StreamExt;
use lapin::{
    Channel, Consumer,
    options::{BasicAckOptions, BasicConsumeOptions, BasicQosOptions, QueueDeclareOptions},
    types::{AMQPValue, FieldTable, ShortString},
};
use pubsub_core::{ChannelName, Error, ErrorKind, Position, Result, StartPosition, Timestamp};
use tokio::time::timeout;

use super::{
    error::{convert, is_missing, late},
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

/// What a stream holds.
///
/// # Errors
/// `NotFound` if there is no such stream.
pub(super) async fn bounds(topology: &Topologist, channel: &ChannelName, operation: &'static str) -> Result<Bounds> {
    let name = short(&topology.names.stream(channel));
    let scratch = topology.scratch(operation).await?;
    let look = QueueDeclareOptions { passive: true, durable: true, ..QueueDeclareOptions::default() };
    let found = within(operation, scratch.queue_declare(name.clone(), look, FieldTable::default())).await?;
    let count = match found {
        Ok(queue) => u64::from(queue.message_count()),
        Err(error) if is_missing(&error) => {
            let text = "there is no such channel, or it keeps no history";
            return Err(Error::new(ErrorKind::NotFound, operation, text).on(channel).because(error));
        }
        Err(error) => return Err(convert(operation, error)),
    };
    if count == 0 {
        return Ok(Bounds { first: 0, next: 0 });
    }
    let mut reader = Reader::open(scratch, &name, Spec::First, 1, operation).await?;
    let first = within(operation, reader.next()).await??;
    let first = first.and_then(|raw| raw.offset()).ok_or_else(|| late(operation))?;
    Ok(Bounds { first, next: first + count })
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
    At(From),
}

impl Spec {
    fn value(self) -> AMQPValue {
        match self {
            Self::First => AMQPValue::LongString("first".into()),
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
