//! Batches that fail in part.
#![allow(clippy::unwrap_used)]

use std::time::Duration;

use pubsub::{
    ChannelName, Envelope, ErrorKind, EventName, Payload, PubSub,
    driver::{HistoryRange, PublishOptions},
    memory::{Memory, MemoryOptions},
};

fn on(channel: &str, n: usize) -> Envelope {
    let name = EventName::parse("test:event").unwrap();
    Envelope::new(name, ChannelName::parse(channel).unwrap(), Payload::json(n.to_string()))
}

async fn stored(bus: &PubSub, channel: &str) -> Vec<String> {
    let page = bus.history(&HistoryRange::new(ChannelName::parse(channel).unwrap()).limit(10_000)).await.unwrap();
    let text = |payload: &Payload| String::from_utf8(payload.data().unwrap().to_vec()).unwrap();
    page.events.iter().map(|stored| text(stored.message.payload())).collect()
}

/// The channel has room for one chunk of 256 and 44 single events: what comes after the chunk that fails would fit.
#[tokio::test]
async fn after_a_chunk_that_was_not_taken_nothing_more_is_sent_on_its_channel() {
    let mut options = PublishOptions::default();
    options.timeout = Duration::from_millis(20);
    let memory = Memory::open(MemoryOptions::new().capacity(300)).unwrap();
    let bus = PubSub::builder(memory).publish_options(options).build();
    for channel in ["full", "free"] {
        drop(bus.subscribe_channel(channel).group("g").await.unwrap());
    }
    let full = |range: std::ops::Range<usize>| range.map(|n| on("full", n));
    let batch = full(0..513).chain((0..10).map(|n| on("free", n))).chain(full(513..518)).chain([on("free", 10)]);
    let results = bus.publish_envelopes(batch).await.unwrap();
    assert_eq!(results.len(), 529);
    for (index, result) in results.iter().enumerate() {
        match index {
            256..513 | 523..528 => {
                let error = result.as_ref().unwrap_err();
                assert_eq!((error.kind(), error.maybe_applied()), (ErrorKind::Backpressure, false), "item {index}");
            }
            _ => assert!(result.is_ok(), "item {index}: {result:?}"),
        }
    }
    assert_eq!(stored(&bus, "full").await, (0..256).map(|n| n.to_string()).collect::<Vec<_>>());
    assert_eq!(stored(&bus, "free").await, (0..11).map(|n| n.to_string()).collect::<Vec<_>>());
}

#[pubsub::event("orders:created")]
struct Created {
    #[event(key)]
    id: String,
    #[serde(serialize_with = "short")]
    note: String,
}

/// A serializer that refuses some values, as those of users may.
fn short<S: pubsub::__private::serde::Serializer>(note: &str, serializer: S) -> Result<S::Ok, S::Error> {
    if note.len() > 3 {
        return Err(pubsub::__private::serde::ser::Error::custom("the note is too long"));
    }
    serializer.serialize_str(note)
}

#[tokio::test]
async fn every_fault_of_a_batch_names_its_item_and_channel() {
    let bus = PubSub::new(Memory::open(MemoryOptions::new()).unwrap());
    let order = |id: &str, note: &str| Created { id: id.to_owned(), note: note.to_owned() };
    let good = || order("A", "ok");
    for (batch, kind) in [
        ([good(), order(&"x".repeat(300), "ok")], ErrorKind::Invalid),
        ([good(), order("B", "long")], ErrorKind::Codec),
    ] {
        let error = bus.publish_all(&batch).await.unwrap_err();
        assert_eq!((error.kind(), error.channel().map(ChannelName::as_str)), (kind, Some("orders")));
        assert!(error.message().starts_with("item 1: "), "{error}");
        assert_eq!(kind == ErrorKind::Codec, std::error::Error::source(&error).is_some());
    }
    let mut old = on("orders", 2);
    old.version = 0;
    let error = bus.publish_envelopes([on("orders", 1), old]).await.unwrap_err();
    assert!(error.message().starts_with("item 1: "), "{error}");
    let range = HistoryRange::new(ChannelName::parse("orders").unwrap());
    assert_eq!(bus.history(&range).await.unwrap_err().kind(), ErrorKind::NotFound);
}
