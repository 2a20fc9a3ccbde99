//! A backlog on memory, consumed by a bare typed subscription and by handlers.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use pubsub::{
    PubSub, Router, StartPosition, State, Timeout,
    memory::{Memory, MemoryOptions},
};
use tokio::sync::Notify;

/// Events wait on this many ordering keys.
const KEYS: usize = 64;

#[pubsub::event("bench:created")]
#[derive(Clone, Debug)]
struct Created {
    #[event(key)]
    id: String,
    number: u64,
    name: String,
}

/// How the events are handled.
#[derive(Clone, Copy, Debug)]
pub enum Shape {
    /// One after the other.
    Inline,
    /// One after the other, within a time limit.
    Timeout,
    /// So many workers, in order per key.
    Lanes(usize),
}

async fn backlog(count: usize) -> PubSub {
    let bus = PubSub::new(Memory::open(MemoryOptions::new().capacity(count.next_power_of_two())).unwrap());
    // The group exists before its backlog.
    drop(bus.subscribe::<Created>().group("bench").await.unwrap());
    for number in 0..count {
        let event = Created {
            id: format!("key-{}", number % KEYS),
            number: number as u64,
            name: "a name of some length".into(),
        };
        bus.publish(&event).await.unwrap();
    }
    bus
}

/// Events per second of a bare subscription that decodes, looks and acknowledges, in a task of its own as a router's are:
/// on the thread that published, memory is given back for less.
pub async fn bare(count: usize) -> f64 {
    let bus = backlog(count).await;
    let started = Instant::now();
    let read = async move {
        let mut events = bus.subscribe::<Created>().group("bench").await.unwrap();
        for number in 0..count {
            let event = events.next().await.unwrap().unwrap();
            assert_eq!(event.number, number as u64);
            event.ack();
        }
        bus
    };
    let bus = tokio::spawn(read).await.unwrap();
    let rate = count as f64 / started.elapsed().as_secs_f64();
    drop(bus);
    rate
}

#[derive(Clone)]
struct Left(Arc<(AtomicUsize, Notify)>);

/// Events per second of a router.
pub async fn routed(count: usize, shape: Shape) -> f64 {
    let bus = backlog(count).await;
    let left = Left(Arc::new((AtomicUsize::new(count), Notify::new())));
    let handler = |event: Created, State(left): State<Left>| async move {
        assert!(!event.name.is_empty());
        if left.0.0.fetch_sub(1, Ordering::AcqRel) == 1 {
            left.0.1.notify_one();
        }
    };
    let mut router = Router::new().group("bench").start_at(StartPosition::Earliest).on(handler);
    match shape {
        Shape::Inline => {}
        Shape::Timeout => router = router.layer(Timeout::after(Duration::from_secs(30))),
        Shape::Lanes(workers) => router = router.concurrency(workers),
    }
    let router: Router = router.with_state(left.clone());
    let started = Instant::now();
    let running = router.start(&bus).await.unwrap();
    left.0.1.notified().await;
    let rate = count as f64 / started.elapsed().as_secs_f64();
    running.drain(Duration::from_secs(5)).await.unwrap();
    rate
}
