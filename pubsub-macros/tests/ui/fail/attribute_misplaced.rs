#[pubsub::event("orders:created")]
fn orders() {}

#[pubsub::event("orders", version = 0)]
union Orders {
    id: u64,
}

#[pubsub::event("orders:shipped")]
type Shipped = u64;

fn main() {
    orders();
}
