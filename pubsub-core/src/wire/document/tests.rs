use proptest::prelude::*;
use serde_json::{Value, json};

use super::{
    super::{FOREIGN_ID, MAX_EXTRA_ENTRIES, samples},
    decode, encode,
};
use crate::{ContentType, Envelope, ErrorKind, Payload};

const PLAIN: &str = r#"{"id":"e-1","name":"orders:created","channel":"orders","payload":{"total":9.5},"timestamp":"2023-11-14T22:13:20.000Z","meta":{"version":1,"key":"o-7","userId":"u-1","attempt":2,"tenant":"nörd"}}"#;

fn pointer(text: &str) -> String {
    let error = decode(text.as_bytes()).unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::Codec | ErrorKind::TooLarge), "{error}");
    error.faults()[0].pointer.clone()
}

/// A good document with one member replaced.
fn with(member: &str, value: Value) -> String {
    let mut document: Value = serde_json::from_str(PLAIN).unwrap();
    document[member] = value;
    document.to_string()
}

proptest! {
    #[test]
    fn any_envelope_survives(envelope in samples::envelope()) {
        let bytes = encode(&envelope).unwrap();
        prop_assert_eq!(&decode(&bytes).unwrap(), &envelope);
        prop_assert_eq!(&serde_json::to_vec(&envelope).unwrap(), &bytes);
        prop_assert_eq!(&serde_json::from_slice::<Envelope>(&bytes).unwrap(), &envelope);
    }

    #[test]
    fn foreign_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let _ = decode(&bytes);
    }

    #[test]
    fn damaged_documents_never_panic(envelope in samples::envelope(), at in any::<prop::sample::Index>(), byte: u8) {
        let mut bytes = encode(&envelope).unwrap().to_vec();
        let at = at.index(bytes.len());
        bytes[at] = byte;
        let _ = decode(&bytes);
    }
}

#[test]
fn members_come_in_the_documented_order() {
    assert_eq!(encode(&samples::example()).unwrap(), PLAIN);
    assert_eq!(decode(PLAIN.as_bytes()).unwrap(), samples::example());
}

#[test]
fn payloads_say_what_they_are() {
    for (payload, members) in [
        (Payload::json("null"), json!({"payload": null})),
        (Payload::Tombstone, json!({})),
        (Payload::json(""), json!({"payloadBase64": "", "contentType": "application/json"})),
        (Payload::json("{"), json!({"payloadBase64": "ew==", "contentType": "application/json"})),
        (Payload::bytes("1"), json!({"payloadBase64": "MQ==", "contentType": "application/octet-stream"})),
        (
            Payload::Data { bytes: "1".into(), content_type: ContentType::parse("text/json").unwrap() },
            json!({"payload": 1, "contentType": "text/json"}),
        ),
    ] {
        let mut envelope = samples::example();
        envelope.payload = payload;
        let bytes = encode(&envelope).unwrap();
        let document: Value = serde_json::from_slice(&bytes).unwrap();
        for member in ["payload", "payloadBase64", "contentType"] {
            assert_eq!(document.get(member), members.get(member), "{document}");
        }
        assert_eq!(decode(&bytes).unwrap(), envelope);
    }
}

#[test]
fn every_cut_is_an_error() {
    for end in 0..PLAIN.len() {
        let error = decode(&PLAIN.as_bytes()[..end]).unwrap_err();
        assert_eq!((error.kind(), error.faults().len()), (ErrorKind::Codec, 1), "{end}");
    }
}

#[test]
fn faults_are_located() {
    for (member, value, expected) in [
        ("id", json!(""), "/id"),
        ("id", json!(7), "/id"),
        ("id", Value::Null, "/id"),
        ("name", json!("created"), "/name"),
        ("channel", json!("a b"), "/channel"),
        ("timestamp", json!("now"), "/timestamp"),
        ("timestamp", json!(1_700_000_000), "/timestamp"),
        ("meta", json!([]), "/meta"),
        ("meta", json!({"version": -1}), "/meta/version"),
        ("meta", json!({"key": "k".repeat(257)}), "/meta/key"),
        ("meta", json!({"attempt": "2"}), "/meta/attempt"),
        ("meta", json!({"deadline": "soon"}), "/meta/deadline"),
        ("meta", json!({"source": "elsewhere"}), "/meta/source"),
        ("meta", json!({"userId": "u".repeat(10_000)}), "/meta/userId"),
        ("meta", json!({"big": "x".repeat(70_000)}), "/meta"),
        ("payloadBase64", json!("AA=="), "/payloadBase64"),
        ("contentType", json!("text/plain"), "/contentType"),
        ("contentType", json!("plain"), "/contentType"),
    ] {
        assert_eq!(pointer(&with(member, value.clone())), expected, "{member}: {value}");
    }
    assert_eq!(pointer(r#"{"id":"1","id":"2"}"#), "");
    assert_eq!(pointer(&PLAIN.replace("\"userId\":\"u-1\"", "\"key\":\"o-8\"")), "/meta/key");
    assert_eq!(pointer(&PLAIN.replace("\"userId\":\"u-1\"", "\"tenant\":1")), "/meta/tenant");
    assert_eq!(pointer(&PLAIN.replace("\"tenant\":\"nörd\"", "\"a/b\":[1,]")), "/meta/a~1b");
}

#[test]
fn too_much_metadata_is_refused_by_both_sides() {
    let mut envelope = samples::example();
    let mut deep = Value::Null;
    for _ in 0..65 {
        deep = Value::Array(vec![deep]);
    }
    envelope.meta.extra.insert("deep".into(), deep.clone());
    assert_eq!(encode(&envelope).unwrap_err().kind(), ErrorKind::TooLarge);
    assert!(serde_json::to_string(&envelope).is_err());
    assert_eq!(pointer(&with("meta", json!({"deep": deep}))), "/meta/deep");

    envelope.meta.extra = (0..=MAX_EXTRA_ENTRIES).map(|n| (n.to_string(), Value::Null)).collect();
    assert_eq!(encode(&envelope).unwrap_err().kind(), ErrorKind::TooLarge);
    let many: serde_json::Map<_, _> = (0..500).map(|n| (n.to_string(), Value::Null)).collect();
    assert_eq!(decode(with("meta", many.into()).as_bytes()).unwrap_err().kind(), ErrorKind::TooLarge);
}

#[test]
fn depth_is_no_danger() {
    let open = "[".repeat(100_000);
    assert!(decode(open.as_bytes()).is_err());
    assert!(decode(PLAIN.replace("9.5", &open).as_bytes()).is_err());
    assert!(decode(PLAIN.replace("\"nörd\"", &open).as_bytes()).is_err());
    let balanced = format!("{open}{}", "]".repeat(100_000));
    // As a payload it is just bytes, which the event's own type will refuse.
    assert_eq!(decode(PLAIN.replace("9.5", &balanced).as_bytes()).unwrap().payload.len(), 200_010);
    assert_eq!(pointer(&PLAIN.replace("\"nörd\"", &balanced)), "/meta/tenant");
    assert!(decode(PLAIN.replacen('{', &format!("{{\"unknown\":{balanced},"), 1).as_bytes()).is_ok());
}

#[test]
fn seeds_of_other_writers_are_read() {
    let envelope = decode(
        br#" { "id": "not visible \u00e4scii", "name": "orders:created", "timestamp": "2023-11-14T23:13:20+01:00",
             "payload" : [1, 2] , "unknown": {"id": 1}, "meta": {"~key": 1, "key": null, "userId": null, "b": null} }"#,
    )
    .unwrap();
    assert_eq!((envelope.channel.as_str(), envelope.version, &envelope.key), ("orders", 1, &None));
    assert_eq!(envelope.payload, Payload::json("[1, 2]"));
    assert_eq!(envelope.timestamp, samples::example().timestamp);
    assert_eq!(envelope.meta.extra["key"], 1);
    assert_eq!(envelope.meta.extra["b"], Value::Null);
    assert_eq!(envelope.meta.extra[FOREIGN_ID], "not visible äscii");
    assert_eq!(decode(&encode(&envelope).unwrap()).unwrap(), envelope);
}

#[test]
fn white_space_around_json_is_not_kept() {
    let mut envelope = samples::example();
    envelope.payload = Payload::json(" {\"a\": 1}\n");
    assert_eq!(decode(&encode(&envelope).unwrap()).unwrap().payload, Payload::json("{\"a\": 1}"));
}

#[test]
fn a_typed_event_is_the_same_document() {
    #[derive(Debug, serde::Serialize, serde::Deserialize, schemars::JsonSchema)]
    struct Created {
        total: f64,
    }
    impl crate::Event for Created {
        const NAME: &'static str = "orders:created";
        const CHANNEL: &'static str = "orders";
    }
    let example = samples::example();
    let typed = example.with_payload(Created { total: 9.5 });
    assert_eq!(serde_json::to_string(&typed).unwrap(), PLAIN);
    let value = serde_json::to_value(&example).unwrap();
    assert_eq!(serde_json::from_value::<Envelope>(value).unwrap(), example);
}
