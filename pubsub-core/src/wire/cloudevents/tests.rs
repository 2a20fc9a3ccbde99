use proptest::prelude::*;
use serde_json::{Value, json};

use super::{
    super::{Arrival, FOREIGN_SOURCE, document, samples},
    decode, encode,
};
use crate::{ChannelName, ErrorKind, Payload, Timestamp};

proptest! {
    #[test]
    fn any_envelope_survives(envelope in samples::envelope()) {
        let bytes = encode(&envelope, "/pubsub/test").unwrap();
        prop_assert_eq!(&decode(&bytes, None).unwrap(), &envelope);
        prop_assert_eq!(&document::decode(&bytes).unwrap(), &envelope);
    }

    #[test]
    fn damaged_events_never_panic(envelope in samples::envelope(), at in any::<prop::sample::Index>(), byte: u8) {
        let mut bytes = encode(&envelope, "/pubsub/test").unwrap().to_vec();
        let at = at.index(bytes.len());
        bytes[at] = byte;
        let _ = decode(&bytes, None);
    }
}

/// What the Python, Go and JavaScript SDKs write, with a type of our grammar.
const FOREIGN: [&str; 3] = [
    r#"{"specversion": "1.0", "id": "b96267e2-87be-4f7a-b87c-82f64360d954", "source": "https://example.com/source", "type": "sample:event", "time": "2022-07-16T12:03:20.519216+00:00", "datacontenttype": "application/json", "subject": "a subject", "data": {"message": "Hello World!"}}"#,
    r#"{"specversion":"1.0","id":"A234-1234-1234","source":"/mycontext","type":"sample:event","subject":null,"time":"2018-04-05T17:31:00Z","comexampleextension1":"value","comexampleothervalue":5,"datacontenttype":"application/xml","data":"<much wow=\"xml\"/>"}"#,
    r#"{"id":"6f5d","time":"2020-08-08T14:48:09.769Z","type":"sample:event","source":"/","specversion":"1.0","datacontenttype":"application/octet-stream","data_base64":"3q2+7w","name":7,"meta":true,"payload":false}"#,
];

#[test]
fn events_of_other_libraries_are_read() {
    let [python, go, js] = FOREIGN.map(|text| document::decode(text.as_bytes()).unwrap());
    assert_eq!(python.payload, Payload::json(r#"{"message": "Hello World!"}"#));
    assert_eq!((python.channel.as_str(), &python.meta.extra["subject"]), ("sample", &json!("a subject")));
    assert_eq!(python.timestamp.to_string(), "2022-07-16T12:03:20.519Z");
    assert_eq!(go.payload.data().map(|bytes| &bytes[..]), Some(&br#"<much wow="xml"/>"#[..]));
    assert_eq!(
        (&go.meta.extra["comexampleothervalue"], &go.meta.extra[FOREIGN_SOURCE]),
        (&json!(5), &json!("/mycontext"))
    );
    assert_eq!(js.payload, Payload::bytes([0xde, 0xad, 0xbe, 0xef].to_vec()));
    assert_eq!(js.meta.extra["name"], 7);
    for event in [python, go, js] {
        assert_eq!(decode(&encode(&event, "/pubsub/x").unwrap(), None).unwrap(), event);
        assert_eq!(document::decode(&document::encode(&event).unwrap()).unwrap(), event);
    }
}

#[test]
fn the_arrival_fills_what_is_missing() {
    let text = br#"{"specversion":"1.0","id":"1","source":"/x","type":"a:b"}"#;
    assert_eq!(decode(text, None).unwrap_err().faults()[0].pointer, "/time");
    let channel = ChannelName::parse("arrived").unwrap();
    let event = decode(text, Some(Arrival { channel: &channel, time: Timestamp::EPOCH })).unwrap();
    assert_eq!((event.channel, event.timestamp), (channel, Timestamp::EPOCH));
    assert_eq!(event.payload, Payload::json(""), "no data is not a deletion");
}

#[test]
fn every_cut_is_an_error() {
    let bytes = encode(&samples::example(), "/pubsub/test").unwrap();
    for end in 0..bytes.len() {
        assert_eq!(decode(&bytes[..end], None).unwrap_err().kind(), ErrorKind::Codec, "{end}");
    }
}

#[test]
fn faults_are_located() {
    let good: Value = serde_json::from_slice(&encode(&samples::example(), "/pubsub/test").unwrap()).unwrap();
    for (member, value, expected) in [
        ("specversion", json!("0.3"), "/specversion"),
        ("specversion", json!(null), "/specversion"),
        ("type", json!("com.example"), "/type"),
        ("type", json!({}), "/type"),
        ("id", json!(null), "/id"),
        ("subject", json!("a b"), "/subject"),
        ("data_base64", json!("AA=="), "/data_base64"),
        ("data_base64", json!({}), "/data_base64"),
        ("eventversion", json!(1.5), "/eventversion"),
        ("pubsubmeta", json!("{\"a\":{\"b\":}}"), "/pubsubmeta"),
        ("pubsubmeta", json!("{\"a\":1,\"a\":2}"), "/pubsubmeta/a"),
        ("pubsubtombstone", json!(true), "/pubsubtombstone"),
    ] {
        let mut event = good.clone();
        event[member] = value.clone();
        let error = decode(event.to_string().as_bytes(), None).unwrap_err();
        assert_eq!(
            (error.kind(), error.faults()[0].pointer.as_str()),
            (ErrorKind::Codec, expected),
            "{value}: {error}"
        );
    }
    assert!(decode(&[b"{\"specversion\":".as_slice(), &[b'['; 100_000]].concat(), None).is_err());
    assert!(decode(br#"{"specversion":"1.0","data":1,"data":2}"#, None).is_err());
}
