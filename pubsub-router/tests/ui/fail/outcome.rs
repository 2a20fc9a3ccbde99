// `u32` is not a handler outcome
#[pubsub::event("orders:created")]
struct OrderCreated {
    number: u64,
}

async fn handle(_: OrderCreated) -> u32 {
    7
}

fn main() {
    let _: pubsub::Router = pubsub::Router::new().on(handle);
}
