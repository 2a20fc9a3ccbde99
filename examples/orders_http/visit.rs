//! What a customer's program does.

use std::{error::Error, net::SocketAddr};

use futures_util::StreamExt;
use pubsub::http::{HttpClient, HttpItem};

use crate::events::{ListOrders, OrderPlaced, PlaceOrder};

pub(crate) async fn visit(shop: SocketAddr) -> Result<(), Box<dyn Error>> {
    let ada = HttpClient::builder(&format!("http://{shop}/api")).token("ada-token").build()?;
    let mut live = ada.subscribe_to::<OrderPlaced>()?.earliest().start();

    let refused = ada.send(&PlaceOrder { item: "moon".to_owned(), quantity: 1 }).await;
    println!("no order: {}", refused.err().ok_or("the moon is not to be had")?);
    let answer = ada.send(&PlaceOrder { item: "lamp".to_owned(), quantity: 2 }).await?;
    println!("ordered: {}", answer.result);

    let order = loop {
        match live.next().await.ok_or("the stream is over")?? {
            HttpItem::Event { event, .. } => break event.payload,
            other => println!("the stream says {other:?}"),
        }
    };
    println!(
        "live: order {} of {} {}, {}.{:02}",
        order.number,
        order.quantity,
        order.item,
        order.cents / 100,
        order.cents % 100
    );
    let books = ada.request(&ListOrders {}).await?;
    println!("in the books: {} order", books.orders.len());
    let right = (order.number, order.cents, books.orders.len()) == (1, 9800, 1);
    if right { Ok(()) } else { Err("the shop has it otherwise".into()) }
}
