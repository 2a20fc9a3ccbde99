use pubsub::Event;

#[derive(Event)]
#[pubsub::event("orders:created")]
struct OrderCreated;

#[derive(serde::Serialize)]
#[pubsub::event("orders:cancelled")]
struct OrderCancelled;

fn main() {}
