// `TcpStream` cannot be taken from a delivery
use std::net::TcpStream;

#[pubsub::event("orders:created")]
struct OrderCreated {
    number: u64,
}

async fn handle(_: OrderCreated, _: TcpStream) {}

fn main() {
    let _: pubsub::Router = pubsub::Router::new().on(handle);
}
