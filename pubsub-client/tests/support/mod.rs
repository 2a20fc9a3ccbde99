//! What the tests share: questions, buses, and waiting for conditions.
#![allow(dead_code, missing_docs, clippy::unwrap_used, reason = "each test target uses its part")]

use std::time::{Duration, Instant};

use pubsub::{EventRpc, PubSub};

#[derive(Clone, Debug, PartialEq)]
#[pubsub::event(name = "sums:add", reply = Sum)]
pub(crate) struct Add {
    pub(crate) left: i64,
    pub(crate) right: i64,
}

#[derive(Clone, Debug, PartialEq)]
#[pubsub::payload]
pub(crate) struct Sum {
    pub(crate) sum: i64,
}

#[derive(Clone, Debug, PartialEq)]
#[pubsub::event(name = "counts:to", reply = u32)]
pub(crate) struct CountTo {
    pub(crate) last: u32,
}

pub(crate) async fn bus() -> PubSub {
    pubsub::connect("memory:").await.unwrap()
}

/// Waits until something holds.
pub(crate) async fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !holds() {
        assert!(begun.elapsed() < Duration::from_secs(10), "{what} did not come about");
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

pub(crate) fn nothing_waits(rpc: &EventRpc) {
    assert_eq!(rpc.stats().pending, 0, "{:?}", rpc.stats());
}
