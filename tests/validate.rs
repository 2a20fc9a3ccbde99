//! With the feature `validate`, payloads are held against their JSON Schema wherever they enter or leave.
#![cfg(feature = "validate")]
#![allow(clippy::unwrap_used)]

use pubsub::{ChannelName, Envelope, ErrorKind, EventName, Payload};

#[pubsub::event("orders:created")]
#[derive(Debug)]
struct Created {
    #[schemars(range(min = 1))]
    quantity: u32,
    #[schemars(length(max = 3))]
    currency: String,
}

#[tokio::test]
async fn typed_events_are_held_against_their_schema() {
    let bus = pubsub::connect("memory:").await.unwrap();
    let error = bus.publish(&Created { quantity: 0, currency: "EURO".into() }).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Codec);
    let mut pointers: Vec<_> = error.faults().iter().map(|fault| fault.pointer.as_str()).collect();
    pointers.sort_unstable();
    assert_eq!(pointers, ["/currency", "/quantity"]);
    bus.publish(&Created { quantity: 1, currency: "EUR".into() }).await.unwrap();
}

#[tokio::test]
async fn foreign_events_are_refused_with_every_fault() {
    let bus = pubsub::connect("memory:").await.unwrap();
    let mut orders = bus.subscribe::<Created>().await.unwrap();
    let (name, channel) =
        (EventName::from_static("orders:created").unwrap(), ChannelName::from_static("orders").unwrap());
    let foreign = Envelope::new(name, channel, Payload::json(r#"{"quantity":"many","currency":7}"#));
    bus.publish_envelope(foreign).await.unwrap();
    let error = orders.next().await.unwrap().unwrap_err();
    assert_eq!(error.faults().len(), 2, "{error}");
    assert!(std::error::Error::source(&error).is_some(), "{error:?}");
}

#[tokio::test]
async fn upcast_events_are_held_against_the_schema_too() {
    #[pubsub::event("orders:priced", version = 2)]
    #[derive(Debug)]
    struct Priced {
        #[schemars(range(min = 1))]
        cents: u64,
    }
    let mut catalog = pubsub::Catalog::new();
    catalog.insert(pubsub::EventDefinition::of::<Priced>().unwrap().upcast(1, Ok)).unwrap();
    let bus = pubsub::builder("memory:").await.unwrap().catalog(catalog).build();
    let mut orders = bus.subscribe::<Priced>().await.unwrap();
    for payload in [r#"{"cents":0}"#, r#"{"cents":5}"#] {
        let name = EventName::from_static("orders:priced").unwrap();
        let channel = ChannelName::from_static("orders").unwrap();
        let mut old = Envelope::new(name, channel, Payload::json(payload));
        old.version = 1;
        bus.publish_envelope(old).await.unwrap();
    }
    let error = orders.next().await.unwrap().unwrap_err();
    assert_eq!((error.kind(), error.faults()[0].pointer.as_str()), (ErrorKind::Codec, "/cents"));
    assert_eq!(orders.next().await.unwrap().unwrap().cents, 5);
}
