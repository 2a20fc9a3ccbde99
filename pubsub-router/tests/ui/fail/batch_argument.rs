// expected function signature `fn(Batch<Made>, pubsub::State<_>) -> _`
use pubsub::{Attempt, Batch, Batching};

#[pubsub::event("orders:made")]
struct Made {
    number: u64,
}

async fn handle(_: Batch<Made>, _: Attempt) {}

fn main() {
    let (router, batching) = (pubsub::Router::new(), Batching::new(10, std::time::Duration::ZERO));
    let _: pubsub::Router = router.on_batch(handle, batching);
}
