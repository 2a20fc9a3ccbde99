// does not have the shape of a handler
#[pubsub::event("orders:created")]
struct OrderCreated {
    number: u64,
}

fn handle(_: OrderCreated) {}

fn main() {
    let _: pubsub::Router = pubsub::Router::new().on(handle);
}
