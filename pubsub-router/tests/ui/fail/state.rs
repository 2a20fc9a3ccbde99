// the router's state `Db` has no `String`
use pubsub::{Router, State};

#[pubsub::event("orders:created")]
struct OrderCreated {
    number: u64,
}

#[derive(Clone)]
struct Db;

async fn handle(_: OrderCreated, _: State<String>) {}

fn main() {
    let _: Router<Db> = Router::<Db>::new().on(handle);
}
