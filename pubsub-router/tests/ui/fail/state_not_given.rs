// no method named `run` found for struct `Router<Db>`
use pubsub::{Router, State};

#[pubsub::event("orders:created")]
struct OrderCreated {
    number: u64,
}

#[derive(Clone)]
struct Db;

async fn handle(_: OrderCreated, _: State<Db>) {}

async fn run(bus: &pubsub::PubSub) -> pubsub::Result<()> {
    Router::new().group("billing").on(handle).run(bus, std::future::pending()).await
}

fn main() {}
