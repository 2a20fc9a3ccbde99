//! The event of every workload: seven fields, 256 bytes or 4 KiB as JSON.

use bytes::Bytes;
use pubsub::{ChannelName, Envelope, EventName, Message, Payload};

/// An order as shops send it.
#[pubsub::event("orders:created")]
#[derive(Clone, Debug)]
pub struct Order {
    /// Which order.
    #[event(key)]
    pub order_id: String,
    /// Whose.
    pub user_id: String,
    /// How much.
    pub total: f64,
    /// In what.
    pub currency: String,
    /// When, in milliseconds.
    pub placed_at: u64,
    /// What for.
    pub items: Vec<String>,
    /// Anything else.
    pub note: String,
}

/// An order whose JSON has `bytes` bytes.
pub fn order(bytes: usize) -> Order {
    let mut order = Order {
        order_id: "order-000001".into(),
        user_id: "user-4711".into(),
        total: 129.95,
        currency: "EUR".into(),
        placed_at: 1_700_000_000_000,
        items: vec!["sku-1".into(), "sku-2".into()],
        note: String::new(),
    };
    let bare = serde_json::to_vec(&order).unwrap().len();
    order.note = "n".repeat(bytes.saturating_sub(bare));
    order
}

/// The same order as the bytes of a raw message.
pub fn bytes(size: usize) -> Bytes {
    serde_json::to_vec(&order(size)).unwrap().into()
}

/// A raw message with these bytes.
pub fn message(name: &EventName, channel: &ChannelName, bytes: &Bytes) -> Message {
    Envelope::new(name.clone(), channel.clone(), Payload::json(bytes.clone())).into()
}
