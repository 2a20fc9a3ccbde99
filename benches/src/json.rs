//! The JSON limit: an event with its envelope as one JSON document, written and read as one would by hand.
//!
//! It is fixed on purpose. Whatever form the library gives an event on the wire, what it is held against stays the same.

use std::collections::HashMap;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::event::Order;

#[derive(Serialize)]
struct Written<'a> {
    id: &'a str,
    name: &'a str,
    channel: &'a str,
    payload: &'a Order,
    timestamp: String,
    meta: Meta<'a>,
}

#[derive(Serialize)]
struct Meta<'a> {
    source: &'a str,
    correlation_id: &'a str,
}

/// The document as its reader has it: everything owned.
#[derive(Clone, Debug, Deserialize)]
pub struct Document {
    /// Which event.
    pub id: String,
    /// Of which type.
    pub name: String,
    /// On which channel.
    pub channel: String,
    /// The event itself.
    pub payload: Order,
    /// When it happened.
    pub timestamp: String,
    /// What else is known.
    pub meta: HashMap<String, String>,
}

/// A new id, the time of day, and everything as JSON.
pub fn encode(order: &Order) -> Bytes {
    let mut id = Uuid::encode_buffer();
    let document = Written {
        id: Uuid::now_v7().hyphenated().encode_lower(&mut id),
        name: "orders:created",
        channel: "orders",
        payload: order,
        timestamp: jiff::Timestamp::now().to_string(),
        meta: Meta { source: "/b", correlation_id: "01890a5d-ac96-774b-bcce" },
    };
    serde_json::to_vec(&document).unwrap().into()
}

/// The document with its event, owned.
pub fn decode(bytes: &[u8]) -> Document {
    serde_json::from_slice(bytes).unwrap()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::order;

    #[test]
    fn the_document_is_as_large_as_the_targets_say() {
        // The fraction of a second has up to nine digits.
        let size = |bytes| encode(&order(bytes)).len();
        assert!((455..=467).contains(&size(256)), "{}", size(256));
        assert!((4295..=4307).contains(&size(4096)), "{}", size(4096));
        let document = decode(&encode(&order(256)));
        assert_eq!(document.payload.order_id, "order-000001");
        assert_eq!(document.meta.len(), 2);
    }
}
