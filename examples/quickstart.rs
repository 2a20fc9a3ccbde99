//! One event, published and consumed: `cargo run --example quickstart`.
#![allow(clippy::print_stdout)] // it talks to a terminal

#[pubsub::event("orders:created")]
struct OrderCreated {
    #[event(key)]
    order_id: String,
    total: f64,
}

#[tokio::main]
async fn main() -> pubsub::Result<()> {
    let bus = pubsub::connect("memory:").await?;
    let mut orders = bus.subscribe::<OrderCreated>().group("billing").await?;

    bus.publish(&OrderCreated { order_id: "A-1".into(), total: 49.90 }).await?;

    if let Some(order) = orders.next().await.transpose()? {
        println!("billing {} for {:.2}", order.order_id, order.total);
        order.ack();
    }
    bus.close(std::time::Duration::from_secs(5)).await
}
