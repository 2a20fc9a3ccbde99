// its future must be `Send`
use std::rc::Rc;

#[pubsub::event("orders:created")]
struct OrderCreated {
    number: u64,
}

async fn handle(_: OrderCreated) {
    let shared = Rc::new(1);
    std::future::ready(()).await;
    drop(shared);
}

fn main() {
    let _: pubsub::Router = pubsub::Router::new().on(handle);
}
