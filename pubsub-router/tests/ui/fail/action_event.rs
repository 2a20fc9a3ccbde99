// `OrderCreated` is an event without a reply
#[pubsub::event("orders:created")]
struct OrderCreated {
    number: u64,
}

async fn handle(_: OrderCreated) {}

fn main() {
    let _: pubsub::Router = pubsub::Router::new().action(handle);
}
