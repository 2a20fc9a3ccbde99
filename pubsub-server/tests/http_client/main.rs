//! The client over HTTP before the real server, with a network between them that fails.
#![allow(clippy::expect_used, clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod calls;
#[path = "../common/mod.rs"]
mod common;
mod streams;

use std::time::Duration;

use common::{PATIENCE, Site};
use futures_util::{Stream, StreamExt};
use pubsub::{
    CallError,
    http::{HttpClient, HttpClientBuilder, HttpItem},
};
use pubsub_testkit::proxy::FaultProxy;
use tokio::time::timeout;

/// What [`Site::publish`] puts on `demo.a`.
#[pubsub::event("demo:number", channel = "demo.a", direction = "sse")]
#[derive(Debug)]
struct Number {
    n: u64,
}

/// A client, and the network between it and its server.
async fn behind(site: &Site) -> (FaultProxy, HttpClientBuilder) {
    let proxy = FaultProxy::start(site.address().parse().unwrap()).await.unwrap();
    let client = quick(&format!("http://{}", proxy.address()));
    (proxy, client)
}

/// A client that waits for little.
fn quick(url: &str) -> HttpClientBuilder {
    HttpClient::builder(url).backoff(Duration::from_millis(10), Duration::from_millis(100))
}

async fn next<T>(stream: &mut (impl Stream<Item = T> + Unpin)) -> Option<T> {
    timeout(PATIENCE, stream.next()).await.unwrap()
}

/// What came before the next event, or the next gap, and that.
async fn until_event<P: std::fmt::Debug>(
    stream: &mut (impl Stream<Item = Result<HttpItem<P>, CallError>> + Unpin),
) -> (Vec<HttpItem<P>>, HttpItem<P>) {
    let mut before = Vec::new();
    loop {
        match next(stream).await.expect("the stream ended").unwrap() {
            item @ (HttpItem::Open | HttpItem::Interrupted { .. }) => before.push(item),
            item => return (before, item),
        }
    }
}

/// The next numbers.
async fn numbers(
    stream: &mut (impl Stream<Item = Result<HttpItem<Number>, CallError>> + Unpin),
    count: usize,
) -> Vec<u64> {
    let mut numbers = Vec::new();
    while numbers.len() < count {
        match until_event(stream).await.1 {
            HttpItem::Event { event, .. } => numbers.push(event.payload.n),
            other => panic!("{other:?} after {numbers:?}"),
        }
    }
    numbers
}
