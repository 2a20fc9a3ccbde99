//! The attribute adds all derives; attributes of the fields keep working.

use pubsub::{Event, Request};
use schemars::schema_for;

#[pubsub::event("orders:created")]
struct OrderCreated {
    #[event(key)]
    #[serde(rename = "orderId")]
    order_id: String,
    #[serde(default)]
    #[schemars(range(min = 1, max = 9))]
    items: u32,
}

/// An order left the house.
#[pubsub::event(name = "orders:shipped", channel = "shipping", version = 2, reply = Receipt)]
#[derive(Debug, Clone, PartialEq)]
#[serde(rename_all = "camelCase")]
pub(crate) struct OrderShipped {
    pub tracking_code: String,
}

#[pubsub::event("orders:receipt")]
#[serde(tag = "kind")]
enum Receipt {
    Paper,
    Mail { to: String },
}

fn receives<T: serde::Serialize + serde::de::DeserializeOwned>() {}
fn replies<R: Request<Reply = Receipt>>() {}

fn main() {
    assert_eq!((OrderCreated::NAME, OrderCreated::CHANNEL), ("orders:created", "orders"));
    let order = OrderCreated { order_id: "o-1".to_owned(), items: 2 };
    assert_eq!((order.key().as_deref(), order.items), (Some("o-1"), 2));
    let schema = schema_for!(OrderCreated);
    assert!(schema.pointer("/properties/orderId").is_some(), "{schema:?}");
    assert!(schema.pointer("/properties/items/maximum").is_some(), "{schema:?}");

    assert_eq!((OrderShipped::CHANNEL, OrderShipped::VERSION), ("shipping", 2));
    assert_eq!(OrderShipped::DESCRIPTION, Some("An order left the house."));
    let shipped = OrderShipped { tracking_code: "t".to_owned() };
    assert_eq!(shipped.clone(), shipped);
    assert!(schema_for!(OrderShipped).pointer("/properties/trackingCode").is_some());
    assert_eq!(Receipt::NAME, "orders:receipt");
    let _ = (Receipt::Paper, Receipt::Mail { to: String::new() });

    receives::<OrderCreated>();
    receives::<OrderShipped>();
    replies::<OrderShipped>();
}
