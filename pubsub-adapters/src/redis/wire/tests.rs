use pubsub_core::{ContentType, Envelope, EventName, Key, Payload};

use super::*;

fn samples() -> Vec<Envelope> {
    let channel = ChannelName::parse("orders").unwrap();
    let envelope = |payload| Envelope::new(EventName::parse("orders:created").unwrap(), channel.clone(), payload);
    let mut rich = envelope(Payload::json(r#"{"total": 9.5}"#));
    rich.key = Some(Key::new("ä/ö").unwrap());
    rich.version = 7;
    rich.meta.user_id = Some("u-1".to_owned());
    rich.meta.dead_reason = Some("no\nuse".to_owned());
    rich.meta.extra.insert("own key".to_owned(), "value".into());
    let bytes = Payload::Data { bytes: Bytes::from_static(b"\xff\x00e"), content_type: ContentType::BYTES };
    vec![rich, envelope(bytes), envelope(Payload::json("")), envelope(Payload::Tombstone)]
}

fn encoded(envelope: &Envelope, wire: WireFormat, fields: Fields) -> Pairs {
    let mut out = Vec::new();
    let message = Message::from(envelope.clone());
    encode(&message, "/pubsub/test", wire, fields, |name, value| {
        out.push((Bytes::copy_from_slice(name), Bytes::copy_from_slice(value)));
    })
    .unwrap();
    out.into()
}

#[test]
fn every_form_reads_back() {
    let channel = ChannelName::parse("orders").unwrap();
    for envelope in samples() {
        for (wire, fields) in [
            (WireFormat::Binary, Fields::Framed),
            (WireFormat::Binary, Fields::CloudEvents),
            (WireFormat::Envelope, Fields::Framed),
        ] {
            let fields = encoded(&envelope, wire, fields);
            let id = EntryId { ms: 1_700_000_000_000, seq: 1 };
            let (message, fault) = read(Entry { id, fields }, &channel);
            assert!(fault.is_none(), "{fault:?}");
            assert_eq!(message.envelope(), &envelope);
        }
    }
}

#[test]
fn every_attribute_has_one_number() {
    for attribute in Attribute::ALL {
        let number = number_of(attribute).unwrap();
        assert_eq!(attribute_of(number), Some(attribute));
    }
    assert_eq!((attribute_of(0), attribute_of(255)), (None, None));
}

/// Whatever bytes there are: an event or a fault, and never a panic.
#[test]
fn foreign_bytes_are_kept_as_they_came() {
    let channel = ChannelName::parse("orders").unwrap();
    let id = EntryId { ms: 7, seq: 1 };
    let mut random = 0x2545_f491_4f6c_dd1d_u64;
    let mut next = move || {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        random
    };
    let frames: Vec<Bytes> =
        samples().iter().map(|sample| encoded(sample, WireFormat::Binary, Fields::Framed)[0].1.clone()).collect();
    for round in 0..20_000 {
        let mut bytes = frames[round % frames.len()].to_vec();
        for _ in 0..=next() % 4 {
            match next() % 3 {
                0 => bytes.truncate(next() as usize % (bytes.len() + 1)),
                1 if !bytes.is_empty() => {
                    let index = next() as usize % bytes.len();
                    bytes[index] = next() as u8;
                }
                _ => bytes.push(next() as u8),
            }
        }
        let bytes = Bytes::from(bytes);
        let fields = smallvec::smallvec![(Bytes::from_static(FRAME), bytes.clone())];
        let (message, fault) = read(Entry { id, fields }, &channel);
        assert_eq!(message.channel(), &channel);
        if fault.is_some() {
            assert_eq!((message.payload().data(), message.id().to_string().as_str()), (Some(&bytes), "7-1"));
        }
        let _ = read_live(&bytes, &channel);
    }
}

#[test]
fn positions_read_back() {
    let id = EntryId { ms: 5, seq: 9 };
    for (shards, shard) in [(1, None), (4, Some(3))] {
        let position = position(id, 3, shards).unwrap();
        let again: Position = position.to_string().parse().unwrap();
        assert_eq!(parse_position(&again).unwrap(), (id, shard));
    }
    for foreign in ["mem:1-2", "redis:x", "redis:1-2@", "redis:1-2@a", "redis:1@2"] {
        assert!(parse_position(&foreign.parse().unwrap()).is_err(), "{foreign}");
    }
    assert_eq!(EntryId { ms: 5, seq: 0 }.before(), EntryId { ms: 4, seq: u64::MAX });
}

#[test]
fn answers_of_another_shape_are_nothing() {
    for value in [Value::Int(1), Value::Okay, Value::Array(vec![Value::Int(1)]), Value::Array(vec![Value::Nil])] {
        assert!(streams(value.clone()).is_none_or(|streams| streams.is_empty()), "{value:?}");
        assert!(entry(value).is_none());
    }
}

#[test]
fn ids_are_sent_as_they_are_shown() {
    for (ms, seq) in [(0, 0), (1_700_000_000_000, 7), (10, 90), (u64::MAX, u64::MAX)] {
        let id = EntryId { ms, seq };
        assert_eq!(id.to_redis_args(), [id.to_string().into_bytes()]);
        assert_eq!(EntryId::parse(id.to_string().as_bytes()), Some(id));
    }
}
