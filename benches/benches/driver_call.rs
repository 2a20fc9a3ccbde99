//! The price of the object-safe driver: a boxed call beside one that is ready, a settlement beside a plain store.
#![allow(missing_docs)] // criterion's macros make public items
#![allow(clippy::unwrap_used)] // without a runtime there is nothing to measure

use std::{hint::black_box, sync::Arc};

use criterion::{BatchSize, Criterion, criterion_group, criterion_main};
use pubsub::{
    AckHandle,
    driver::{AckToken, Outcome, Settler},
};
use pubsub_benches::{
    driver::{Call, Counter},
    memory,
};
use tokio::runtime::Builder;

fn calls(criterion: &mut Criterion) {
    let runtime = Builder::new_current_thread().build().unwrap();
    let driver: Arc<dyn Call> = Arc::new(Counter::default());
    criterion.bench_function("driver-call/ready", |b| {
        b.to_async(&runtime).iter(|| async { driver.ready(black_box(1)).await });
    });
    criterion.bench_function("driver-call/boxed", |b| {
        b.to_async(&runtime).iter(|| async { driver.boxed(black_box(1)).await });
    });
}

fn acks(criterion: &mut Criterion) {
    let settler: Arc<dyn Settler> = Arc::new(Counter::default());
    let token = AckToken { index: 1, generation: 1 };
    criterion.bench_function("ack/handle", |b| {
        b.iter(|| AckHandle::new(settler.clone(), black_box(token)).settle(Outcome::Ack));
    });
    let runtime = Builder::new_current_thread().enable_all().build().unwrap();
    // 64 at a time: as many as the adapter leases in one pull.
    criterion.bench_function("ack/memory-64", |b| {
        b.iter_batched(
            || runtime.block_on(memory::leased(64)),
            |deliveries| deliveries.into_iter().for_each(pubsub::Delivery::ack),
            BatchSize::SmallInput,
        );
    });
}

criterion_group!(benches, calls, acks);
criterion_main!(benches);
