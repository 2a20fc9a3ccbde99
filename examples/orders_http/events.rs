//! What the shop and its customers tell each other.

use pubsub::{Catalog, server::User};

/// Who sees the orders of all customers.
pub(crate) const DESK: &str = "desk";

/// A customer wants something.
#[pubsub::event("orders:place", direction = "cse", reply = OrderPlaced)]
pub(crate) struct PlaceOrder {
    #[schemars(length(min = 1, max = 100))]
    pub(crate) item: String,
    #[schemars(range(min = 1, max = 1000))]
    pub(crate) quantity: i64,
}

/// An order is in the books.
#[pubsub::event("orders:placed", direction = "sse")]
#[derive(Clone, Debug)]
pub(crate) struct OrderPlaced {
    pub(crate) number: i64,
    #[event(key)]
    pub(crate) customer: String,
    pub(crate) item: String,
    pub(crate) quantity: i64,
    pub(crate) cents: i64,
}

/// A customer wants to know what is in the books.
#[pubsub::event("orders:list", direction = "cse", reply = Orders, read_only)]
pub(crate) struct ListOrders {}

/// The orders that somebody may see, by their numbers.
#[pubsub::payload]
pub(crate) struct Orders {
    pub(crate) orders: Vec<OrderPlaced>,
}

pub(crate) fn catalog() -> Result<Catalog, pubsub::Error> {
    Catalog::new().with::<PlaceOrder>()?.with::<OrderPlaced>()?.with::<ListOrders>()
}

/// The people that the example knows, by token.
pub(crate) const PEOPLE: [(&str, &str, &[&str]); 3] = [
    ("ada-token", "ada", &["customer"]),
    ("bob-token", "bob", &["customer"]),
    ("desk-token", "desk", &["customer", DESK]),
];

/// Whose orders somebody sees; those of all customers for nobody's name.
pub(crate) fn sees(user: &User) -> Option<&str> {
    (!user.has_role(DESK)).then_some(&*user.id)
}
