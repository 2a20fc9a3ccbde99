//! Publish, consume and acknowledge on memory, beside bounded channels that do the same by hand.
#![allow(missing_docs)] // criterion's macros make public items
#![allow(clippy::unwrap_used)] // without a runtime there is nothing to measure

use std::time::Duration;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use pubsub_benches::{memory, plain};
use tokio::runtime::{Builder, Runtime};

/// Events per iteration.
const COUNT: usize = 20_000;
const SIZE: usize = 256;

/// One workload: its name, and a function of the number of readers.
type Workload = (&'static str, fn(&Runtime, usize) -> f64);

const WORKLOADS: &[Workload] = &[
    ("raw", |runtime, readers| runtime.block_on(memory::raw(readers, SIZE, COUNT))),
    ("raw-batch", |runtime, readers| runtime.block_on(memory::raw_batch(readers, SIZE, COUNT))),
    ("raw-limit", |runtime, readers| runtime.block_on(plain::acked(readers, SIZE, COUNT))),
    ("typed", |runtime, readers| runtime.block_on(memory::typed(readers, SIZE, COUNT))),
    ("typed-limit", |runtime, readers| runtime.block_on(plain::json(readers, SIZE, COUNT))),
];

fn fan_out(criterion: &mut Criterion) {
    let runtime = Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    for readers in [1, 8] {
        let mut group = criterion.benchmark_group(format!("memory-1to{readers}"));
        group.throughput(Throughput::Elements(COUNT as u64)).sample_size(10);
        for (name, run) in WORKLOADS {
            // The workloads measure themselves: what setting up costs is not theirs.
            group.bench_function(*name, |b| {
                b.iter_custom(|rounds| {
                    let seconds: f64 = (0..rounds).map(|_| COUNT as f64 / run(&runtime, readers)).sum();
                    Duration::from_secs_f64(seconds)
                });
            });
        }
        group.finish();
    }
}

criterion_group!(benches, fan_out);
criterion_main!(benches);
