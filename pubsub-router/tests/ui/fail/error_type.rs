// the trait bound `NoError: std::error::Error` is not satisfied
#[pubsub::event("orders:created")]
struct OrderCreated {
    number: u64,
}

struct NoError;

async fn handle(_: OrderCreated) -> Result<(), NoError> {
    Err(NoError)
}

fn main() {
    let _: pubsub::Router = pubsub::Router::new().on(handle);
}
