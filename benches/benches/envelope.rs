//! What the envelope costs beside serde_json on the bare payload.
#![allow(missing_docs)] // criterion's macros make public items
#![allow(clippy::unwrap_used)] // what cannot be encoded cannot be measured

use std::hint::black_box;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use pubsub::wire::document;
use pubsub_benches::{codec, event};

fn envelope(criterion: &mut Criterion) {
    for size in [256, 4096] {
        let (envelope, order) = (codec::envelope(size), event::order(size));
        let (document, bare) = (codec::document(size), event::bytes(size));
        let mut group = criterion.benchmark_group("envelope");
        group.throughput(Throughput::Elements(1));
        group.bench_function(BenchmarkId::new("encode", size), |b| {
            b.iter(|| document::encode(&black_box(&envelope).encode().unwrap()).unwrap());
        });
        group.bench_function(BenchmarkId::new("encode-bare", size), |b| {
            b.iter(|| serde_json::to_vec(black_box(&order)).unwrap());
        });
        group.bench_function(BenchmarkId::new("decode", size), |b| b.iter(|| codec::read(black_box(&document))));
        group.bench_function(BenchmarkId::new("decode-bare", size), |b| {
            b.iter(|| serde_json::from_slice::<event::Order>(black_box(&bare)).unwrap());
        });
        group.finish();
    }
}

criterion_group!(benches, envelope);
criterion_main!(benches);
