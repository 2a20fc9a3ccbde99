#[pubsub::event("orders:created")]
#[pubsub::event("orders:placed")]
struct OrderCreated;

fn main() {}
