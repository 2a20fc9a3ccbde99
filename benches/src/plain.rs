//! The limits: bounded tokio channels that do the same job by hand.

use std::{collections::VecDeque, time::Instant};

use bytes::Bytes;
use tokio::sync::{mpsc, oneshot};

use crate::event::{Order, bytes, order};

/// The bound of every channel.
pub const CAPACITY: usize = 1024;
/// How many events may wait for their acknowledgement.
const WINDOW: usize = 256;

/// `count` events of `size` bytes from one task to `readers` tasks, each acknowledged by a oneshot.
pub async fn acked(readers: usize, size: usize, count: usize) -> f64 {
    let body = bytes(size);
    let mut senders = Vec::new();
    let mut tasks = Vec::new();
    for _ in 0..readers {
        let (sender, mut receiver) = mpsc::channel::<(Bytes, oneshot::Sender<()>)>(CAPACITY);
        senders.push(sender);
        tasks.push(tokio::spawn(async move {
            let mut read = 0;
            while let Some((body, ack)) = receiver.recv().await {
                read += body.len();
                let _ = ack.send(());
            }
            read
        }));
    }
    let started = Instant::now();
    let publisher = tokio::spawn(async move {
        let mut open = VecDeque::with_capacity(WINDOW * readers);
        for _ in 0..count {
            for sender in &senders {
                let (ack, acked) = oneshot::channel();
                sender.send((body.clone(), ack)).await.unwrap();
                open.push_back(acked);
            }
            while open.len() >= WINDOW * readers {
                if let Some(acked) = open.pop_front() {
                    acked.await.unwrap();
                }
            }
        }
        for acked in open {
            acked.await.unwrap();
        }
    });
    publisher.await.unwrap();
    for task in tasks {
        assert_eq!(task.await.unwrap(), count * size);
    }
    count as f64 / started.elapsed().as_secs_f64()
}

/// `count` events from one task to `readers` tasks: encoded once, decoded by each reader, not acknowledged.
pub async fn json(readers: usize, size: usize, count: usize) -> f64 {
    let event = order(size);
    let mut senders = Vec::new();
    let mut tasks = Vec::new();
    for _ in 0..readers {
        let (sender, mut receiver) = mpsc::channel::<Bytes>(CAPACITY);
        senders.push(sender);
        tasks.push(tokio::spawn(async move {
            let mut read = 0;
            while let Some(body) = receiver.recv().await {
                let order: Order = serde_json::from_slice(&body).unwrap();
                read += usize::from(order.total > 0.0);
            }
            read
        }));
    }
    let started = Instant::now();
    let publisher = tokio::spawn(async move {
        for _ in 0..count {
            let body = Bytes::from(serde_json::to_vec(&event).unwrap());
            for sender in &senders {
                sender.send(body.clone()).await.unwrap();
            }
        }
    });
    publisher.await.unwrap();
    for task in tasks {
        assert_eq!(task.await.unwrap(), count);
    }
    count as f64 / started.elapsed().as_secs_f64()
}
