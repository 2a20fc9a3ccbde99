// is not an event
use pubsub::User;

#[pubsub::event("orders:created")]
struct OrderCreated {
    number: u64,
}

async fn handle(_: User, _: OrderCreated) {}

fn main() {
    let _: pubsub::Router = pubsub::Router::new().on(handle);
}
