//! What a router costs over a bare subscription, on one thread: a backlog on memory, per event.

#![allow(missing_docs, clippy::unwrap_used)]

use std::time::Duration;

use criterion::{Criterion, criterion_group, criterion_main};
use pubsub_benches::router::{self, Shape};

/// Events of a run; the rate of a run counts for all of its events.
const EVENTS: usize = 100_000;

fn routers(criterion: &mut Criterion) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let mut group = criterion.benchmark_group("router");
    group.sample_size(10);
    let shapes = [("bare", None), ("inline", Some(Shape::Inline)), ("lanes-8", Some(Shape::Lanes(8)))];
    for (name, shape) in shapes {
        group.bench_function(name, |bencher| {
            bencher.iter_custom(|events| {
                let rate = runtime.block_on(async {
                    match shape {
                        Some(shape) => router::routed(EVENTS, shape).await,
                        None => router::bare(EVENTS).await,
                    }
                });
                Duration::from_secs_f64(events as f64 / rate)
            });
        });
    }
    group.finish();
}

criterion_group!(benches, routers);
criterion_main!(benches);
