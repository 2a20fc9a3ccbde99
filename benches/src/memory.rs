//! The memory adapter doing the same jobs.

use std::{sync::Arc, time::Instant};

use pubsub::{
    ChannelName, EventName, GroupName, PubSub,
    driver::{Batch, Item, PublishOptions, Publisher, SubscribeOptions, Subscriber, Subscription},
    memory::{Memory, MemoryOptions},
};
use smallvec::smallvec;
use tokio::task::JoinHandle;

use crate::{
    event::{Order, bytes, message, order},
    plain::CAPACITY,
};

/// Messages per enqueue in the batched form.
const BATCH: usize = 64;

fn memory() -> Arc<Memory> {
    Memory::open(MemoryOptions::new().capacity(CAPACITY)).unwrap()
}

async fn group(memory: &Memory, name: &str) -> Subscription {
    let channel = ChannelName::from_static("orders").unwrap();
    let mut options = SubscribeOptions::new(vec![channel.into()]);
    options.group = Some(GroupName::parse(name).unwrap());
    memory.subscribe(options).await.unwrap()
}

/// Reads and acknowledges `count` raw deliveries one by one.
async fn drain_raw(mut subscription: Subscription, count: usize) -> usize {
    let (mut seen, mut read) = (0, 0);
    while seen < count {
        if let Item::Delivery(delivery) = subscription.next().await.unwrap().unwrap() {
            read += delivery.message.payload().len();
            seen += 1;
            delivery.ack();
        }
    }
    read
}

async fn finish(
    started: Instant,
    tasks: Vec<JoinHandle<usize>>,
    publisher: JoinHandle<()>,
    count: usize,
    each: usize,
) -> f64 {
    publisher.await.unwrap();
    for task in tasks {
        assert_eq!(task.await.unwrap(), count * each);
    }
    count as f64 / started.elapsed().as_secs_f64()
}

/// Raw messages, one `enqueue` each, to `readers` groups.
pub async fn raw(readers: usize, size: usize, count: usize) -> f64 {
    raw_batched(readers, size, count, 1).await
}

/// Raw messages, 64 per `enqueue`, to `readers` groups.
pub async fn raw_batch(readers: usize, size: usize, count: usize) -> f64 {
    raw_batched(readers, size, count, BATCH).await
}

async fn raw_batched(readers: usize, size: usize, count: usize, batch: usize) -> f64 {
    let memory = memory();
    let count = count / batch * batch;
    let mut tasks = Vec::new();
    for reader in 0..readers {
        let subscription = group(&memory, &format!("g{reader}")).await;
        tasks.push(tokio::spawn(drain_raw(subscription, count)));
    }
    let (name, channel) =
        (EventName::from_static("orders:created").unwrap(), ChannelName::from_static("orders").unwrap());
    let body = bytes(size);
    let started = Instant::now();
    let publisher = tokio::spawn(async move {
        let options = PublishOptions::default();
        for _ in 0..count / batch {
            let messages: Batch = if batch == 1 {
                smallvec![Arc::new(message(&name, &channel, &body))]
            } else {
                (0..batch).map(|_| Arc::new(message(&name, &channel, &body))).collect()
            };
            for receipt in memory.enqueue(messages, &options).await.unwrap().await.unwrap() {
                receipt.unwrap();
            }
        }
    });
    finish(started, tasks, publisher, count, size).await
}

/// Typed events through the portable handle, one `publish` each, to `readers` groups.
pub async fn typed(readers: usize, size: usize, count: usize) -> f64 {
    let bus = PubSub::new(memory());
    let mut tasks = Vec::new();
    for reader in 0..readers {
        let mut events = bus.subscribe::<Order>().group(&format!("g{reader}")).await.unwrap();
        tasks.push(tokio::spawn(async move {
            let mut seen = 0;
            while seen < count {
                let order = events.next().await.unwrap().unwrap();
                seen += usize::from(order.total > 0.0);
                order.ack();
            }
            seen
        }));
    }
    let event = order(size);
    let started = Instant::now();
    let publisher = tokio::spawn(async move {
        for _ in 0..count {
            bus.publish(&event).await.unwrap();
        }
    });
    finish(started, tasks, publisher, count, 1).await
}

/// Deliveries that wait for their acknowledgement.
pub async fn leased(count: usize) -> Vec<pubsub::Delivery> {
    let memory = memory();
    let mut subscription = group(&memory, "g").await;
    let (name, channel) =
        (EventName::from_static("orders:created").unwrap(), ChannelName::from_static("orders").unwrap());
    let messages: Batch = (0..count).map(|_| Arc::new(message(&name, &channel, &bytes(256)))).collect();
    memory.enqueue(messages, &PublishOptions::default()).await.unwrap().await.unwrap();
    let mut deliveries = Vec::with_capacity(count);
    while deliveries.len() < count {
        if let Item::Delivery(delivery) = subscription.next().await.unwrap().unwrap() {
            deliveries.push(delivery);
        }
    }
    deliveries
}
