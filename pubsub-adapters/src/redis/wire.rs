//! How an event lies in a stream entry and in a pub/sub message, and how answers of the server are read.
//!
//! The frame: a version byte `1`, the length of the attributes in 32 bits, the attributes, the body. An attribute is its
//! number, the length of its value in 32 bits, and the value; numbers are big-endian.

use std::sync::LazyLock;

use ::redis::{RedisWrite, ToRedisArgs, Value};
use bytes::Bytes;
use pubsub_core::{
    ChannelName, Error, ErrorKind, EventId, Message, Position, Result, Timestamp,
    wire::{
        Arrival, WireFormat,
        attributes::{Attribute, Binding, HeaderText},
        document,
    },
};

use smallvec::SmallVec;

use super::{SCHEME, options::Fields};
use crate::common::unreadable::{self, ReadOut};

/// The field of a frame.
const FRAME: &[u8] = b"e";
/// The field of a JSON document.
const DOCUMENT: &[u8] = b"json";
/// The field of the body where each attribute has a field of its own.
const BODY: &[u8] = b"data";
const VERSION: u8 = 1;
/// Version and length of the attributes.
const HEAD: usize = 5;

static BINDING: LazyLock<Binding> = LazyLock::new(|| Binding::new("", HeaderText::Utf8));

/// The numbers of attributes in a frame. They are on disks: never change one, only add.
const NUMBERS: &[(u8, Attribute)] = &[
    (1, Attribute::SpecVersion),
    (2, Attribute::Id),
    (3, Attribute::Source),
    (4, Attribute::Type),
    (5, Attribute::Time),
    (6, Attribute::Subject),
    (7, Attribute::DataContentType),
    (8, Attribute::EventVersion),
    (9, Attribute::PartitionKey),
    (10, Attribute::CorrelationId),
    (11, Attribute::CausationId),
    (12, Attribute::ReplyTo),
    (13, Attribute::Deadline),
    (14, Attribute::ClientEventId),
    (15, Attribute::UserId),
    (16, Attribute::Origin),
    (17, Attribute::Traceparent),
    (18, Attribute::Tracestate),
    (19, Attribute::Attempt),
    (20, Attribute::FirstSeen),
    (21, Attribute::DeadReason),
    (22, Attribute::DeadAttempts),
    (23, Attribute::DeadSource),
    (24, Attribute::DeadTime),
    (25, Attribute::Meta),
    (26, Attribute::Tombstone),
];

/// The numbers by attribute.
static BY_ATTRIBUTE: LazyLock<[u8; 64]> = LazyLock::new(|| {
    let mut numbers = [0; 64];
    for (number, attribute) in NUMBERS {
        if let Some(place) = numbers.get_mut(*attribute as usize) {
            *place = *number;
        }
    }
    numbers
});

fn number_of(attribute: Attribute) -> Option<u8> {
    BY_ATTRIBUTE.get(attribute as usize).copied().filter(|number| *number != 0)
}

fn attribute_of(number: u8) -> Option<Attribute> {
    let (found, attribute) = NUMBERS.get(usize::from(number).checked_sub(1)?)?;
    (*found == number).then_some(*attribute)
}

/// Hands the fields of a stream entry to `put`, by name and value. Returns how many bytes they have.
///
/// # Errors
/// As the wire forms.
pub(super) fn encode(
    message: &Message,
    source: &str,
    wire: WireFormat,
    fields: Fields,
    mut put: impl FnMut(&[u8], &[u8]),
) -> Result<usize> {
    let envelope = message.envelope();
    if wire == WireFormat::Envelope {
        let text = document::encode(envelope)?;
        put(DOCUMENT, &text);
        return Ok(text.len());
    }
    let body: &[u8] = envelope.payload.data().map_or(&[], |bytes| bytes);
    if fields == Fields::CloudEvents {
        let mut size = body.len();
        BINDING.encode(envelope, source, |attribute, value| {
            size += value.len();
            put(BINDING.name(attribute).as_bytes(), value.as_bytes());
        })?;
        put(BODY, body);
        return Ok(size);
    }
    let frame = frame(message, source, body)?;
    put(FRAME, &frame);
    Ok(frame.len())
}

fn frame(message: &Message, source: &str, body: &[u8]) -> Result<Vec<u8>> {
    let mut frame = Vec::with_capacity(384 + body.len());
    frame.extend_from_slice(&[VERSION, 0, 0, 0, 0]);
    BINDING.encode(message.envelope(), source, |attribute, value| {
        if let (Some(number), Ok(length)) = (number_of(attribute), u32::try_from(value.len())) {
            frame.push(number);
            frame.extend_from_slice(&length.to_be_bytes());
            frame.extend_from_slice(value.as_bytes());
        }
    })?;
    let length = u32::try_from(frame.len() - HEAD).map_err(|_| broken("has too many attributes"))?;
    frame[1..HEAD].copy_from_slice(&length.to_be_bytes());
    frame.extend_from_slice(body);
    Ok(frame)
}

/// The document form, for pub/sub messages; a frame where a document would not keep the white space around the body.
///
/// # Errors
/// As the wire forms.
pub(super) fn encode_live(message: &Message, source: &str) -> Result<Bytes> {
    let body: &[u8] = message.payload().data().map_or(&[], |bytes| bytes);
    if body.trim_ascii().len() != body.len() {
        return frame(message, source, body).map(Bytes::from);
    }
    document::encode(message.envelope())
}

/// An entry of a stream as the server gave it.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) id: EntryId,
    pub(super) fields: Pairs,
}

/// Names and values; an event of this library has one.
pub(super) type Pairs = SmallVec<[(Bytes, Bytes); 1]>;

/// The id of a stream entry: time and sequence.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct EntryId {
    pub(super) ms: u64,
    pub(super) seq: u64,
}

impl EntryId {
    pub(super) fn parse(text: &[u8]) -> Option<Self> {
        let (ms, seq) = std::str::from_utf8(text).ok()?.split_once('-')?;
        Some(Self { ms: ms.parse().ok()?, seq: seq.parse().ok()? })
    }

    /// The greatest id that is less.
    pub(super) fn before(self) -> Self {
        match (self.ms, self.seq) {
            (0, 0) => self,
            (ms, 0) => Self { ms: ms - 1, seq: u64::MAX },
            (ms, seq) => Self { ms, seq: seq - 1 },
        }
    }
}

impl ToRedisArgs for EntryId {
    fn write_redis_args<W: ?Sized + RedisWrite>(&self, out: &mut W) {
        // Two numbers of at most 20 digits, and what is between them.
        let mut text = [0; 41];
        let begin = digits(&mut text, 41, self.seq) - 1;
        text[begin] = b'-';
        let begin = digits(&mut text, begin, self.ms);
        out.write_arg(&text[begin..]);
    }
}

/// Writes a number that ends before `end`; says where it begins.
fn digits(text: &mut [u8; 41], end: usize, mut number: u64) -> usize {
    let mut begin = end;
    loop {
        begin -= 1;
        text[begin] = b'0' + (number % 10) as u8;
        number /= 10;
        if number == 0 {
            return begin;
        }
    }
}

impl std::fmt::Display for EntryId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}-{}", self.ms, self.seq)
    }
}

/// Where an entry lies: its id, and the shard where there are several.
pub(super) fn position(id: EntryId, shard: usize, shards: usize) -> Option<Position> {
    static PAIR: LazyLock<Option<Position>> = LazyLock::new(|| Position::pair(SCHEME, 0, 0).ok());
    if shards == 1 {
        return PAIR.as_ref().map(|pair| pair.with_pair(id.ms, id.seq));
    }
    Position::text(SCHEME, &format!("{id}@{shard}")).ok()
}

/// The entry that a position names, and its shard.
///
/// # Errors
/// `Invalid` for a position of another adapter.
pub(super) fn parse_position(position: &Position) -> Result<(EntryId, Option<usize>)> {
    if let Ok((ms, seq)) = position.as_pair(SCHEME) {
        return Ok((EntryId { ms, seq }, None));
    }
    let text = position.as_text(SCHEME)?;
    let parsed = text.split_once('@').and_then(|(id, shard)| {
        let shard: usize = shard.parse().ok()?;
        Some((EntryId::parse(id.as_bytes())?, Some(shard)))
    });
    parsed.ok_or_else(|| {
        let message = format!("field `position` is not one that the adapter `{SCHEME}` made: {position}");
        Error::new(ErrorKind::Invalid, "parse position", message)
    })
}

/// Reads an event from a stream entry; what is no event is kept as bytes.
#[allow(clippy::needless_pass_by_value, reason = "an entry is read once, and let go with that")]
pub(super) fn read(entry: Entry, channel: &ChannelName) -> ReadOut {
    let time = i64::try_from(entry.id.ms).ok().and_then(|ms| Timestamp::from_millis(ms).ok());
    let arrival = Arrival { channel, time: time.unwrap_or(Timestamp::EPOCH) };
    let whole = match entry.fields.as_slice() {
        [(_, value)] => value.clone(),
        fields => join(fields),
    };
    let message = decode(&entry.fields, arrival);
    unreadable::or_raw(message, channel, || entry_event_id(entry.id), &whole)
}

/// Reads an event from a pub/sub message.
pub(super) fn read_live(bytes: &Bytes, channel: &ChannelName) -> ReadOut {
    let arrival = Arrival { channel, time: Timestamp::now() };
    // No document begins with the byte of a frame.
    let message = if bytes.first() == Some(&VERSION) {
        decode_frame(bytes, arrival)
    } else {
        document::decode_arrived(bytes, arrival).map(|mut envelope| {
            envelope.channel = channel.clone();
            Message::from(envelope)
        })
    };
    unreadable::or_raw(message, channel, EventId::random, bytes)
}

/// Foreign bytes are named by their place, so that a redelivery has the same id.
fn entry_event_id(id: EntryId) -> EventId {
    EventId::parse(&id.to_string()).unwrap_or_else(|_| EventId::random())
}

fn join(fields: &[(Bytes, Bytes)]) -> Bytes {
    let mut all = Vec::new();
    for (name, value) in fields {
        all.extend_from_slice(name);
        all.push(b'=');
        all.extend_from_slice(value);
        all.push(b'\n');
    }
    all.into()
}

fn decode(fields: &[(Bytes, Bytes)], arrival: Arrival<'_>) -> Result<Message> {
    let mut envelope = match fields {
        [(name, value)] if name.as_ref() == FRAME => return decode_frame(value, arrival),
        [(name, value)] if name.as_ref() == DOCUMENT => document::decode_arrived(value, arrival)?,
        fields => {
            let body = fields.iter().find(|(name, _)| name.as_ref() == BODY).map(|(_, value)| value.clone());
            let headers = fields.iter().filter(|(name, _)| name.as_ref() != BODY);
            let headers = headers.filter_map(|(name, value)| Some((std::str::from_utf8(name).ok()?, value.as_ref())));
            BINDING.decode(headers, body, arrival)?
        }
    };
    envelope.channel = arrival.channel.clone();
    Ok(envelope.into())
}

fn decode_frame(frame: &Bytes, arrival: Arrival<'_>) -> Result<Message> {
    let head: [u8; HEAD] = frame.get(..HEAD).and_then(|head| head.try_into().ok()).ok_or_else(cut)?;
    let [version, a, b, c, d] = head;
    if version != VERSION {
        return Err(broken(&format!("is of version {version}, which is unknown here")));
    }
    let length = u32::from_be_bytes([a, b, c, d]) as usize;
    let end = HEAD.checked_add(length).filter(|end| *end <= frame.len()).ok_or_else(cut)?;
    let mut rest = frame.get(HEAD..end).ok_or_else(cut)?;
    let mut headers = SmallVec::<[(&str, &[u8]); 16]>::new();
    while let Some((number, after)) = rest.split_first() {
        let (length, after) = after.split_first_chunk::<4>().ok_or_else(cut)?;
        let (value, after) = after.split_at_checked(u32::from_be_bytes(*length) as usize).ok_or_else(cut)?;
        // An attribute of a later version is passed over.
        headers.extend(attribute_of(*number).map(|attribute| (BINDING.name(attribute), value)));
        rest = after;
    }
    let mut envelope = BINDING.decode(headers, Some(frame.slice(end..)), arrival)?;
    envelope.channel = arrival.channel.clone();
    Ok(envelope.into())
}

fn cut() -> Error {
    broken("is cut off")
}

fn broken(problem: &str) -> Error {
    Error::new(ErrorKind::Codec, "decode", format!("the frame {problem}"))
}

/// The bytes of a text answer.
pub(super) fn text(value: Value) -> Option<Bytes> {
    match value {
        Value::BulkString(bytes) => Some(bytes.into()),
        Value::SimpleString(text) => Some(text.into_bytes().into()),
        Value::Okay => Some(Bytes::from_static(b"OK")),
        Value::Int(number) => Some(number.to_string().into_bytes().into()),
        _ => None,
    }
}

/// The number of an answer.
pub(super) fn int(value: &Value) -> Option<i64> {
    match value {
        Value::Int(number) => Some(*number),
        Value::BulkString(bytes) => std::str::from_utf8(bytes).ok()?.parse().ok(),
        _ => None,
    }
}

/// The items of a list answer; none for nil.
pub(super) fn list(value: Value) -> Option<Vec<Value>> {
    match value {
        Value::Array(items) | Value::Set(items) => Some(items),
        Value::Map(pairs) => Some(pairs.into_iter().map(|(key, value)| Value::Array(vec![key, value])).collect()),
        Value::Nil => Some(Vec::new()),
        _ => None,
    }
}

/// The id of an entry.
pub(super) fn entry_id(value: &Value) -> Option<EntryId> {
    match value {
        Value::BulkString(bytes) => EntryId::parse(bytes),
        Value::SimpleString(text) => EntryId::parse(text.as_bytes()),
        _ => None,
    }
}

/// An entry: id and fields. `None` for anything else, as for entries that are deleted.
pub(super) fn entry(value: Value) -> Option<Entry> {
    let mut parts = list(value)?.into_iter();
    let (id, fields) = (entry_id(&parts.next()?)?, parts.next()?);
    Some(Entry { id, fields: fields_of(fields)? })
}

/// The fields of an entry.
pub(super) fn fields_of(value: Value) -> Option<Pairs> {
    let Value::Array(items) = value else { return None };
    let mut fields = Pairs::with_capacity(items.len() / 2);
    let mut items = items.into_iter();
    while let (Some(name), Some(value)) = (items.next(), items.next()) {
        let name = match name {
            Value::BulkString(name) if name == FRAME => Bytes::from_static(FRAME),
            name => text(name)?,
        };
        fields.push((name, text(value)?));
    }
    Some(fields)
}

/// What XREAD and XREADGROUP answer: entries per stream.
pub(super) fn streams(value: Value) -> Option<Vec<(Bytes, Vec<Entry>)>> {
    let mut streams = Vec::new();
    for stream in list(value)? {
        let mut parts = list(stream)?.into_iter();
        let key = text(parts.next()?)?;
        let entries = list(parts.next()?)?.into_iter().filter_map(entry).collect();
        streams.push((key, entries));
    }
    Some(streams)
}

#[cfg(test)]
mod tests;
