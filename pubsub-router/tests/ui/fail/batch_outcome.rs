// `u64` is not the outcome of a batch handler
use pubsub::{Batch, Batching};

#[pubsub::event("orders:created")]
struct OrderCreated {
    number: u64,
}

async fn handle(_: Batch<OrderCreated>) -> u64 {
    7
}

fn main() {
    let (router, batching) = (pubsub::Router::new(), Batching::new(10, std::time::Duration::ZERO));
    let _: pubsub::Router = router.on_batch(handle, batching);
}
