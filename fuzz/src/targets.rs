//! The targets: each takes any bytes, and asserts what must hold of those that are accepted.
#![allow(clippy::missing_panics_doc, reason = "to panic on a broken promise is what a target is for")]

use std::{fmt::Display, str::FromStr, sync::LazyLock, time::SystemTime};

use bytes::Bytes;
use pubsub_adapters::{memory::MemoryOptions, url::BrokerUrl};
use pubsub_core::{
    ChannelName, ChannelPattern, Envelope, EventId, EventName, GroupName, Key, NamePattern, Payload, Position, Result,
    Timestamp,
    wire::{
        Arrival,
        attributes::{Binding, HeaderText},
        cloudevents as structured, document as json,
    },
};

/// Shows why an accepted event could not be written or read again.
macro_rules! must {
    ($result:expr) => {
        match $result {
            Ok(value) => value,
            Err(error) => unreachable!("{error}"),
        }
    };
}

/// The JSON document form: what is read can be written, and reads back equal.
pub fn document(input: &[u8]) -> bool {
    let Ok(envelope) = json::decode(input) else { return false };
    documents_agree(&envelope);
    true
}

fn documents_agree(envelope: &Envelope) {
    let first = must!(json::encode(envelope));
    let again = must!(json::decode(&first));
    assert_eq!(again, trimmed(envelope.clone()));
    assert_eq!(must!(json::encode(&again)), first);
    assert_eq!(must!(serde_json::from_slice::<Envelope>(&first)), again);
}

static ASCII: LazyLock<Binding> = LazyLock::new(|| Binding::new("ce_", HeaderText::Ascii));
static UTF8: LazyLock<Binding> = LazyLock::new(|| Binding::new("cloudEvents:", HeaderText::Utf8));
static UTF8_ALIKE: LazyLock<Binding> = LazyLock::new(|| Binding::new("ce_", HeaderText::Utf8));

/// The binary form, given as `header: value` lines, an empty line, and a body.
pub fn attributes(input: &[u8]) -> bool {
    let mut headers = Vec::new();
    let mut rest = input;
    let mut body = None;
    while !rest.is_empty() {
        let end = rest.iter().position(|&b| b == b'\n').unwrap_or(rest.len());
        let (line, after) = (&rest[..end], rest.get(end + 1..).unwrap_or_default());
        if line.is_empty() {
            body = Some(Bytes::copy_from_slice(after));
            break;
        }
        let colon = line.windows(2).position(|pair| pair == b": ").unwrap_or(line.len());
        let value = line.get(colon + 2..).unwrap_or_default();
        if let Ok(name) = std::str::from_utf8(&line[..colon]) {
            headers.push((name, value));
        }
        rest = after;
    }
    let mut accepted = false;
    for binding in [&*ASCII, &*UTF8_ALIKE] {
        let Ok(envelope) = arrived(|arrival| binding.decode(headers.iter().copied(), body.clone(), arrival)) else {
            continue;
        };
        assert_eq!(through_headers(&ASCII, &envelope), envelope);
        assert_eq!(through_headers(&UTF8, &envelope), envelope);
        documents_agree(&envelope);
        accepted = true;
    }
    accepted
}

fn through_headers(binding: &Binding, envelope: &Envelope) -> Envelope {
    let mut headers = Vec::new();
    must!(binding.encode(envelope, "/pubsub/fuzz", |attribute, text| headers.push((attribute, text.to_owned()))));
    let headers = headers.iter().map(|(attribute, text)| (binding.name(*attribute), text.as_bytes()));
    let body = envelope.payload.data().cloned();
    must!(arrived(|arrival| binding.decode(headers, body, arrival)))
}

/// CloudEvents structured JSON: what is read can be written, and reads back equal without its arrival.
pub fn cloudevents(input: &[u8]) -> bool {
    let Ok(envelope) = arrived(|arrival| structured::decode(input, Some(arrival))) else { return false };
    let first = must!(structured::encode(&envelope, "/pubsub/fuzz"));
    let again = must!(structured::decode(&first, None));
    assert_eq!(again, trimmed(envelope.clone()));
    assert_eq!(must!(structured::encode(&again, "/pubsub/fuzz")), first);
    documents_agree(&envelope);
    true
}

fn arrived<T>(read: impl FnOnce(Arrival<'_>) -> Result<T>) -> Result<T> {
    let channel = ChannelName::from_static("arrived")?;
    read(Arrival { channel: &channel, time: Timestamp::EPOCH })
}

/// Without the white space around JSON, which the JSON forms do not keep.
fn trimmed(mut envelope: Envelope) -> Envelope {
    if let Payload::Data { bytes, content_type } = &mut envelope.payload
        && content_type.is_json()
        && serde_json::from_slice::<&serde_json::value::RawValue>(bytes).is_ok()
    {
        *bytes = Bytes::copy_from_slice(bytes.trim_ascii());
    }
    envelope
}

/// Names, patterns, ids and keys: what is read prints as it came.
pub fn names(input: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(input) else { return false };
    let channel = prints_as_it_came::<ChannelName>(text);
    let event = prints_as_it_came::<EventName>(text);
    let internal = ChannelName::parse_internal(text).ok();
    if let (Some(pattern), Some(event)) = (prints_as_it_came::<NamePattern>(text), &event) {
        assert!(pattern.matches(event));
        let category = must!(NamePattern::parse(&format!("{}:*", event.category())));
        assert!(category.matches(event) && NamePattern::All.matches(event));
    }
    if let (Some(pattern), Some(channel)) = (prints_as_it_came::<ChannelPattern>(text), &channel) {
        assert!(pattern.matches(channel) && ChannelPattern::All.matches(channel) && !channel.is_internal());
        assert_eq!(internal.as_ref(), Some(channel));
    }
    if let Some(group) = prints_as_it_came::<GroupName>(text) {
        let dead = must!(ChannelName::parse("orders")).dead_letter(&group);
        assert!(dead.is_internal() && !ChannelPattern::All.matches(&dead));
        assert_eq!(must!(ChannelName::parse_internal(dead.as_str())), dead);
    }
    let id = prints_as_it_came::<EventId>(text);
    let key = Key::new(text).is_ok_and(|key| key.as_str() == text);
    channel.is_some() || event.is_some() || internal.is_some() || id.is_some() || key
}

fn prints_as_it_came<T: FromStr + Display>(text: &str) -> Option<T> {
    let value: T = text.parse().ok()?;
    assert_eq!(value.to_string(), text);
    Some(value)
}

/// Positions: one text per position, and none is taken for another adapter's.
pub fn positions(input: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(input) else { return false };
    let Some(position) = prints_as_it_came::<Position>(text) else { return false };
    let scheme = position.scheme();
    assert_ne!(position.as_pair(scheme).is_ok(), position.as_text(scheme).is_ok());
    assert!(position.as_pair("other-one").is_err() && position.as_text("other-one").is_err());
    let json = must!(serde_json::to_string(&position));
    assert_eq!(must!(serde_json::from_str::<Position>(&json)), position);
    true
}

/// Timestamps: whatever is read has one text, which reads back equal; so has every number in the range.
pub fn timestamps(input: &[u8]) -> bool {
    let number = input.first_chunk().map(|bytes| Timestamp::from_millis(i64::from_le_bytes(*bytes)));
    let text = std::str::from_utf8(input).ok().map(Timestamp::parse);
    let mut accepted = false;
    for time in [number, text].into_iter().flatten().flatten() {
        let text = time.to_string();
        assert_eq!((text.len(), must!(Timestamp::parse(&text))), (24, time));
        assert_eq!(Timestamp::from(SystemTime::from(time)), time);
        assert_eq!(must!(Timestamp::from_millis(time.as_millis())), time);
        accepted = true;
    }
    accepted
}

/// Broker addresses: what is shown of one never holds its password, and reads back as an address of the same broker.
pub fn urls(input: &[u8]) -> bool {
    let Some(url) = std::str::from_utf8(input).ok().and_then(|text| BrokerUrl::parse(text).ok()) else { return false };
    let shown = format!("{url} {url:?}");
    if let Some(password) = url.password().filter(|password| password.len() > 3 && !password.contains('*')) {
        let elsewhere = [url.scheme(), url.path(), url.user().unwrap_or_default()];
        let hosts = url.hosts().iter().map(|(host, _)| host.as_str());
        let options = url.options().flat_map(|(name, value)| [name, value]);
        let mut others = elsewhere.into_iter().chain(hosts).chain(options);
        let shape = "BrokerUrl(://:***@";
        assert!(
            !shown.contains(password)
                || others.any(|part| part.contains(password))
                || overlaps(&url, password)
                || shape.contains(password)
        );
    }
    // Reading options must not panic either, whatever they hold.
    let _ = MemoryOptions::from_url(&url);
    true
}

/// Whether the password happens to stand across the borders of parts that are shown.
fn overlaps(url: &BrokerUrl, password: &str) -> bool {
    [':', '/', '@', '?', '&', '=', ',', '[', ']'].iter().any(|border| password.contains(*border))
        || url.hosts().iter().any(|(_, port)| port.is_some_and(|port| port.to_string().contains(password)))
}
