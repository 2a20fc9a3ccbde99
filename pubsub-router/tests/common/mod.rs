//! Events and waits that the tests share.
#![allow(dead_code, unreachable_pub, reason = "each test uses its part")]
#![allow(clippy::unwrap_used, clippy::panic, missing_docs, reason = "a test fails by panicking")]

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use pubsub::{ErrorKind, PubSub, StartPosition, driver::Stored};
use tokio::time::{Instant, sleep};

#[pubsub::event("orders:created")]
#[derive(Clone, Debug, PartialEq)]
pub struct OrderCreated {
    #[event(key)]
    pub customer: String,
    pub number: u64,
}

#[pubsub::event("orders:cancelled")]
#[derive(Clone, Debug, PartialEq)]
pub struct OrderCancelled {
    #[event(key)]
    pub customer: String,
    pub number: u64,
}

#[pubsub::event("payments:charged")]
#[derive(Clone, Debug, PartialEq)]
pub struct Charged {
    pub number: u64,
}

pub fn order(number: u64) -> OrderCreated {
    OrderCreated { customer: "C-1".to_owned(), number }
}

pub fn order_of(customer: &str, number: u64) -> OrderCreated {
    OrderCreated { customer: customer.to_owned(), number }
}

/// What handlers write down.
#[derive(Clone, Debug)]
pub struct Log<T>(Arc<Mutex<Vec<T>>>);

impl<T> Default for Log<T> {
    fn default() -> Self {
        Self(Arc::default())
    }
}

impl<T: Clone> Log<T> {
    pub fn add(&self, entry: T) {
        self.0.lock().unwrap().push(entry);
    }

    pub fn all(&self) -> Vec<T> {
        self.0.lock().unwrap().clone()
    }

    pub fn len(&self) -> usize {
        self.0.lock().unwrap().len()
    }

    /// Waits until there are this many entries.
    pub async fn reach(&self, count: usize) -> Vec<T> {
        until(&format!("{count} entries"), || self.len() >= count).await;
        self.all()
    }
}

/// Waits for a condition, with a deadline.
pub async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(10);
    while !holds() {
        assert!(Instant::now() < deadline, "{what} did not come about");
        sleep(Duration::from_millis(2)).await;
    }
}

/// The dead letters of a group, once there are so many.
pub async fn letters(bus: &PubSub, channel: &str, group: &str, count: usize) -> Vec<Stored> {
    let deadline = Instant::now() + Duration::from_secs(10);
    loop {
        let found = match bus.dead_letters(channel, group, StartPosition::Earliest).await {
            Ok(page) => page.events,
            Err(error) if error.kind() == ErrorKind::NotFound => Vec::new(),
            Err(error) => panic!("{error}"),
        };
        if found.len() >= count {
            return found;
        }
        assert!(Instant::now() < deadline, "{} of {count} dead letters", found.len());
        sleep(Duration::from_millis(2)).await;
    }
}
