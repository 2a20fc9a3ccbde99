#[derive(serde::Serialize, serde::Deserialize)]
struct Money(f64);

#[pubsub::event("orders:created")]
struct OrderCreated {
    #[event(key)]
    total: Money,
}

fn main() {}
