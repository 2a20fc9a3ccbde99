//! Envelopes of every shape, for the property tests of the wire forms.

use proptest::{collection, option, prelude::*};
use serde_json::Value;

use crate::{
    ChannelName, ContentType, Envelope, EventId, EventName, GroupName, Key, Meta, MetaFields, Origin, Payload,
    Timestamp,
};

/// Any text, and often text that headers and JSON find difficult.
pub(super) fn text() -> impl Strategy<Value = String> {
    prop_oneof![
        any::<String>(),
        "[ -~]{0,40}",
        Just("a/b.c \"d\" 100% 'e'\\\r\n\u{0}\u{7f}\t;=,".to_owned()),
        Just("größe 🦀 \u{feff}\u{202e}".to_owned()),
        (0_u8..128).prop_map(|byte| char::from(byte).to_string()),
    ]
}

fn value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        // Fractions with a short decimal form: see the note on floats in serde_json's features.
        any::<i32>().prop_map(|n| Value::from(f64::from(n) / 4.0)),
        text().prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 16, 4, |inner| {
        prop_oneof![
            collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            collection::btree_map(text(), inner, 0..4).prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

fn payload() -> impl Strategy<Value = Payload> {
    let content_type = prop_oneof![
        Just("application/json"),
        Just("application/json; charset=utf-8"),
        Just("application/vnd.shop+json"),
        Just("application/octet-stream"),
        Just("text/plain"),
    ];
    let bytes = prop_oneof![
        value().prop_map(|value| value.to_string().into_bytes()),
        value().prop_map(|value| serde_json::to_vec_pretty(&value).unwrap()),
        collection::vec(any::<u8>(), 0..64),
        Just(Vec::new()),
        Just(b"null".to_vec()),
        Just(b"{\"a\":1".to_vec()),
        Just(b"\"\\ud800\"".to_vec()),
        Just("[".repeat(1000).into_bytes()),
        Just(format!("{}{}", "[".repeat(1000), "]".repeat(1000)).into_bytes()),
    ];
    prop_oneof![
        1 => Just(Payload::Tombstone),
        9 => (bytes, content_type).prop_map(|(bytes, content_type)| {
            // White space around JSON text is what the document forms do not keep.
            let padded = bytes.first().is_some_and(|b| b" \t\r\n".contains(b)) || bytes.last().is_some_and(|b| b" \t\r\n".contains(b));
            let bytes = if padded { b"0".to_vec() } else { bytes };
            Payload::Data { bytes: bytes.into(), content_type: ContentType::parse(content_type).unwrap() }
        }),
    ]
}

fn time() -> impl Strategy<Value = Timestamp> {
    prop_oneof![
        Just(Timestamp::MIN),
        Just(Timestamp::MAX),
        (Timestamp::MIN.as_millis()..=Timestamp::MAX.as_millis()).prop_map(|ms| Timestamp::from_millis(ms).unwrap()),
    ]
}

fn channel() -> impl Strategy<Value = ChannelName> {
    ("[A-Za-z0-9][A-Za-z0-9._-]{0,30}", option::of("[a-z]{1,8}")).prop_map(|(channel, group)| {
        let channel = ChannelName::parse(&channel).unwrap();
        group.map_or(channel.clone(), |group| channel.dead_letter(&GroupName::parse(&group).unwrap()))
    })
}

fn id() -> impl Strategy<Value = EventId> {
    prop_oneof![Just(EventId::random()), "[!-~]{1,128}".prop_map(|text| EventId::parse(&text).unwrap()),]
}

fn extra_key() -> impl Strategy<Value = String> {
    prop_oneof![
        text(),
        "[~]{0,2}(version|key|source|deadline|correlationId|correlationid|foreignId|subject|traceparent)",
    ]
}

fn meta() -> impl Strategy<Value = Meta> {
    let texts = collection::vec(option::of(text()), 8);
    let others = (
        option::of(time()),
        option::of(prop_oneof![Just(Origin::Api), Just(Origin::Action)]),
        option::of(any::<u32>()),
        option::of(time()),
        option::of(any::<u32>()),
        option::of(channel()),
        option::of(time()),
    );
    let full = (texts, others, collection::btree_map(extra_key(), value(), 0..6));
    let full = full.prop_map(|(mut texts, others, extra)| {
        let mut meta = Meta::default();
        let mut next = || texts.pop().flatten();
        let fields: &mut MetaFields = &mut meta;
        fields.correlation_id = next();
        fields.causation_id = next();
        fields.reply_to = next();
        fields.client_event_id = next();
        fields.user_id = next();
        fields.traceparent = next();
        fields.tracestate = next();
        fields.dead_reason = next();
        let (deadline, origin, attempt, first_seen, dead_attempts, dead_source, dead_time) = others;
        (fields.deadline, fields.origin, fields.attempt, fields.first_seen) = (deadline, origin, attempt, first_seen);
        (fields.dead_attempts, fields.dead_source, fields.dead_time) = (dead_attempts, dead_source, dead_time);
        fields.extra = extra;
        meta
    });
    prop_oneof![1 => Just(Meta::default()), 4 => full]
}

/// Any envelope.
pub(super) fn envelope() -> impl Strategy<Value = Envelope> {
    let name = "[^:\\s\\pC]{1,12}:[^:\\s\\pC]{1,12}".prop_map(|text| EventName::parse(&text).unwrap());
    let key = option::of(text().prop_filter("short enough for a key", |text| text.len() <= 256));
    (id(), name, channel(), any::<u32>(), key, payload(), time(), meta()).prop_map(
        |(id, name, channel, version, key, payload, timestamp, meta)| {
            let key = key.map(|key| Key::new(&key).unwrap());
            Envelope { id, name, channel, version, key, payload, timestamp, meta }
        },
    )
}

/// A small envelope with something in every kind of field.
pub(super) fn example() -> Envelope {
    let mut envelope = Envelope::new(
        EventName::parse("orders:created").unwrap(),
        ChannelName::parse("orders").unwrap(),
        Payload::json(r#"{"total":9.5}"#),
    );
    envelope.id = EventId::parse("e-1").unwrap();
    envelope.timestamp = Timestamp::from_millis(1_700_000_000_000).unwrap();
    envelope.key = Some(Key::new("o-7").unwrap());
    envelope.meta.user_id = Some("u-1".into());
    envelope.meta.attempt = Some(2);
    envelope.meta.extra.insert("tenant".into(), "nörd".into());
    envelope
}
