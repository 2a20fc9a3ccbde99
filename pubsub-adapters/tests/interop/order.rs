//! The event that both sides know.

use std::borrow::Cow;

use pubsub_core::Event;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

pub(crate) const CHANNEL: &str = "orders";
pub(crate) const GROUP: &str = "billing";
/// What no header must mangle.
pub(crate) const CUSTOMER: &str = "Kühne & 50% = 100,5";

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
#[schemars(crate = "pubsub_core::__private::schemars")]
pub(crate) struct OrderCreated {
    pub(crate) customer: String,
    pub(crate) total: f64,
}

impl Event for OrderCreated {
    const NAME: &'static str = "orders:created";
    const CHANNEL: &'static str = CHANNEL;

    fn key(&self) -> Option<Cow<'_, str>> {
        Some(Cow::Borrowed(&self.customer))
    }
}

pub(crate) fn order() -> OrderCreated {
    OrderCreated { customer: CUSTOMER.to_owned(), total: 9.5 }
}

/// The order as the other side has it.
pub(crate) fn order_json() -> Value {
    json!({"customer": CUSTOMER, "total": 9.5})
}
