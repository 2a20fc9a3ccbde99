//! The cost of the envelope beside that of the bare payload.

use bytes::Bytes;
use pubsub::{Envelope, wire::document};

use crate::event::{Order, order};

/// The event as a JSON document with its envelope.
pub fn document(size: usize) -> Bytes {
    document::encode(&envelope(size).encode().unwrap()).unwrap()
}

/// The event in its envelope.
pub fn envelope(size: usize) -> Envelope<Order> {
    Envelope::of(order(size)).unwrap()
}

/// Reads envelope and payload.
pub fn read(document: &[u8]) -> Order {
    let envelope = document::decode(document).unwrap();
    serde_json::from_slice(envelope.payload.data().unwrap()).unwrap()
}
