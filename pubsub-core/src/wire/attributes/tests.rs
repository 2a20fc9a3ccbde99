use bytes::Bytes;
use proptest::prelude::*;

use super::{
    super::{Arrival, FOREIGN_ID, FOREIGN_SOURCE, WireFormat, document, samples},
    Attribute, Binding, HeaderText,
};
use crate::{ChannelName, Envelope, ErrorKind, Payload, Result, Timestamp};

type Headers = Vec<(String, Vec<u8>)>;

fn headers(binding: &Binding, envelope: &Envelope) -> Headers {
    let mut out = Headers::new();
    binding
        .encode(envelope, "/pubsub/test", |attribute, text| out.push((binding.name(attribute).into(), text.into())))
        .unwrap();
    out
}

fn read(binding: &Binding, headers: &Headers, body: Option<Bytes>) -> Result<Envelope> {
    let channel = ChannelName::parse("arrived").unwrap();
    let arrival = Arrival { channel: &channel, time: Timestamp::EPOCH };
    binding.decode(headers.iter().map(|(name, value)| (name.as_str(), value.as_slice())), body, arrival)
}

fn foreign(headers: &[(&str, &str)], body: &str) -> Result<Envelope> {
    let headers = headers.iter().map(|&(name, value)| (name.into(), value.into())).collect();
    read(&Binding::new("ce_", HeaderText::Ascii), &headers, Some(Bytes::copy_from_slice(body.as_bytes())))
}

proptest! {
    #[test]
    fn any_envelope_survives(envelope in samples::envelope(), ascii: bool, null_body: bool) {
        let text = if ascii { HeaderText::Ascii } else { HeaderText::Utf8 };
        for prefix in ["ce_", "ce-", "cloudEvents:", ""] {
            let binding = Binding::new(prefix, text);
            let headers = headers(&binding, &envelope);
            if ascii {
                prop_assert!(headers.iter().all(|(_, value)| value.iter().all(|b| b.is_ascii_graphic() || *b == b' ')));
            }
            let body = envelope.payload.data().cloned().or((!null_body).then(Bytes::new));
            prop_assert_eq!(&read(&binding, &headers, body).unwrap(), &envelope);
        }
    }

    #[test]
    fn foreign_headers_never_panic(
        headers in proptest::collection::vec(("(ce_)?[a-z]{2,15}|ce_(id|type|time|subject|pubsubmeta|deadline)",
            proptest::collection::vec(any::<u8>(), 0..40)), 0..8),
        body in proptest::option::of(proptest::collection::vec(any::<u8>(), 0..40)),
    ) {
        let _ = read(&Binding::new("ce_", HeaderText::Ascii), &headers, body.map(Bytes::from));
    }
}

#[test]
fn headers_have_the_names_of_cloudevents() {
    let binding = Binding::new("ce_", HeaderText::Ascii);
    let headers = headers(&binding, &samples::example());
    let headers: Vec<_> =
        headers.iter().map(|(name, value)| (name.as_str(), std::str::from_utf8(value).unwrap())).collect();
    let expected = [
        ("ce_specversion", "1.0"),
        ("ce_id", "e-1"),
        ("ce_source", "/pubsub/test"),
        ("ce_type", "orders:created"),
        ("ce_time", "2023-11-14T22:13:20.000Z"),
        ("ce_subject", "orders"),
        ("content-type", "application/json"),
        ("ce_eventversion", "1"),
        ("ce_partitionkey", "o-7"),
        ("ce_userid", "u-1"),
        ("ce_attempt", "2"),
        ("ce_pubsubmeta", "{%22tenant%22:%22n%C3%B6rd%22}"),
    ];
    assert_eq!(headers, expected);
}

#[test]
fn attributes_are_found_under_any_spelling() {
    let binding = Binding::new("cloudEvents:", HeaderText::Utf8);
    for name in ["cloudEvents:id", "cloudEvents_id", "CLOUDEVENTS:Id"] {
        assert_eq!(binding.attribute(name), Some(Attribute::Id), "{name}");
    }
    for name in ["id", "cloudEventsid", "cloudEvents:", "ü", "cloudEvents:other"] {
        assert_eq!(binding.attribute(name), None, "{name}");
    }
    assert_eq!(binding.attribute("Content-Type"), Some(Attribute::DataContentType));
    for attribute in Attribute::ALL {
        assert_eq!(binding.attribute(binding.name(attribute)), Some(attribute));
        assert_eq!(Attribute::ALL[attribute as usize], attribute);
    }
}

#[test]
fn a_foreign_event_is_adopted() {
    let mut headers = vec![
        ("ce_specversion", "1.0"),
        ("ce_id", "A 7"),
        ("ce_type", "orders:created"),
        ("ce_source", "https://shop.example/api"),
        ("ce_subject", "orders/7"),
        ("ce_sequence", "12"),
        ("key", "taken"),
        ("traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"),
        ("content-type", "text/plain"),
    ];
    let event = foreign(&headers, "hello").unwrap();
    assert_eq!((event.channel.as_str(), event.version, event.timestamp), ("arrived", 1, Timestamp::EPOCH));
    assert_eq!(event.payload.content_type().map(ToString::to_string).as_deref(), Some("text/plain"));
    assert!(event.meta.traceparent.as_deref().is_some_and(|text| text.starts_with("00-")));
    for (key, value) in [
        (FOREIGN_ID, "A 7"),
        (FOREIGN_SOURCE, "https://shop.example/api"),
        ("subject", "orders/7"),
        ("sequence", "12"),
        ("key", "taken"),
    ] {
        assert_eq!(event.meta.extra[key], value, "{key}");
    }
    assert_eq!(foreign(&headers, "hello").unwrap().id, event.id, "a redelivered event keeps its id");
    headers[3].1 = "https://other.example";
    assert_ne!(foreign(&headers, "hello").unwrap().id, event.id, "ids are unique per source");
    assert_eq!(document::decode(&document::encode(&event).unwrap()).unwrap(), event);
}

#[test]
fn foreign_attributes_are_unescaped_and_other_headers_are_not() {
    let headers = [
        ("ce_id", "1"),
        ("ce_type", "a:b"),
        ("ce_region", "Z%C3%BCrich"),
        ("ce_broken", "50%ff"),
        ("ce_rest", "50% off"),
        ("x-path", "a%20b"),
    ];
    let extra = foreign(&headers, "{}").unwrap().meta.extra.clone();
    let expected = [("region", "Zürich"), ("broken", "50%ff"), ("rest", "50% off"), ("x-path", "a%20b")];
    assert_eq!(extra, expected.map(|(name, text)| (name.to_owned(), text.into())).into());
}

#[test]
fn faults_name_the_attribute() {
    let good = [("ce_specversion", "1.0"), ("ce_id", "1"), ("ce_type", "a:b"), ("ce_source", "/x")];
    assert!(foreign(&good, "{}").is_ok());
    for (name, value) in [
        ("ce_specversion", "0.3"),
        ("ce_type", "com.example.created"),
        ("ce_id", ""),
        ("ce_time", "yesterday"),
        ("ce_eventversion", "one"),
        ("ce_partitionkey", &"k".repeat(257)),
        ("ce_deadline", "1"),
        ("ce_attempt", "-1"),
        ("ce_pubsubmeta", "[]"),
        ("ce_pubsubmeta", "{"),
        ("ce_userid", "%ff"),
        ("ce_pubsuborigin", "moon"),
        ("ce_pubsubtombstone", "true"),
    ] {
        let mut headers: Vec<_> = good.into_iter().filter(|(other, _)| *other != name).collect();
        headers.push((name, value));
        let error = foreign(&headers, "{}").unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Codec);
        assert_eq!(error.faults()[0].pointer, name.replace("ce_", "/"), "{value}");
    }
    let doubled = [&good[..], &good[..1]].concat();
    assert_eq!(foreign(&doubled, "").unwrap_err().faults()[0].pointer, "/specversion");
}

#[test]
fn headers_are_bounded_and_need_not_be_text() {
    let good: Headers = vec![("ce_id".into(), b"1".into()), ("ce_type".into(), b"a:b".into())];
    let binding = Binding::new("ce_", HeaderText::Utf8);
    let with = |more: Headers| read(&binding, &[good.clone(), more].concat(), None);
    assert!(with(vec![("binary".into(), vec![0xff])]).unwrap().meta.extra.is_empty());
    assert_eq!(with(vec![("ce_userid".into(), vec![0xff])]).unwrap_err().faults()[0].pointer, "/userid");
    let many = (0..200).map(|n| (format!("h{n}"), Vec::new())).collect();
    assert_eq!(with(many).unwrap_err().kind(), ErrorKind::TooLarge);
    for len in [70_000, 1_000_000] {
        assert_eq!(with(vec![("long".into(), vec![b'x'; len])]).unwrap_err().kind(), ErrorKind::TooLarge);
        assert_eq!(
            with(vec![("ce_pubsubmeta".into(), format!(r#"{{"a":"{}"}}"#, "x".repeat(len)).into())])
                .unwrap_err()
                .kind(),
            ErrorKind::TooLarge
        );
    }
}

#[test]
fn tombstones_and_empty_bodies_are_two_things() {
    let binding = Binding::new("ce-", HeaderText::Ascii);
    let mut event = samples::example();
    event.payload = Payload::json("");
    assert_eq!(read(&binding, &headers(&binding, &event), Some(Bytes::new())).unwrap(), event);
    event.payload = Payload::Tombstone;
    assert_eq!(read(&binding, &headers(&binding, &event), Some(Bytes::new())).unwrap(), event);
    assert_eq!(read(&binding, &headers(&binding, &event), None).unwrap(), event);
}

#[test]
fn documents_in_the_body_are_read() {
    let event = samples::example();
    let document = document::encode(&event).unwrap();
    let text = std::str::from_utf8(&document).unwrap();
    let read = foreign(&[("x-region", "eu"), ("tenant", "other"), ("content-type", "application/json")], text).unwrap();
    assert_eq!(read.meta.extra["x-region"], "eu");
    assert_eq!(read.meta.extra["tenant"], "nörd", "the document wins");
    let structured = super::super::cloudevents::encode(&event, "/pubsub/test").unwrap();
    let text = std::str::from_utf8(&structured).unwrap();
    assert_eq!(foreign(&[("content-type", "application/cloudevents+json; charset=utf-8")], text).unwrap(), event);
    assert_eq!(foreign(&[], "hello").unwrap_err().kind(), ErrorKind::Codec);
}

#[test]
fn a_document_of_our_own_source_is_not_foreign() {
    let event = samples::example();
    let (body, content_type) = WireFormat::Structured.document(&event, "urn:shop").unwrap().unwrap();
    let headers = vec![("content-type".to_owned(), content_type.as_bytes().to_vec())];
    let binding = Binding::new("ce-", HeaderText::Ascii);
    let foreign = read(&binding, &headers, Some(body.clone())).unwrap();
    assert_eq!(foreign.meta.extra.get(FOREIGN_SOURCE).and_then(|source| source.as_str()), Some("urn:shop"));
    assert_eq!(read(&binding.of_source("urn:shop"), &headers, Some(body)).unwrap(), event);
}

#[test]
fn what_a_document_would_not_keep_goes_by_attributes() {
    let written = |payload| {
        let event = Envelope { payload, ..samples::example() };
        WireFormat::Structured.document(&event, "/pubsub/test").unwrap().is_some()
    };
    assert!(written(Payload::json("{}")));
    assert!(!written(Payload::json("{} ")) && !written(Payload::Tombstone));
}
