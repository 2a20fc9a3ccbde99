//! A question and its answer on memory: on one thread, where no wake-up crosses to another, and on two.
#![allow(missing_docs, clippy::unwrap_used)]

use criterion::{Criterion, criterion_group, criterion_main};
use pubsub_benches::{
    calls::{Calls, Channels, OurCalls},
    event::order,
    limit::Place,
};
use tokio::runtime::{Builder, Runtime};

fn one<C: Calls>(criterion: &mut Criterion, name: &str, runtime: &Runtime) {
    let place = Place { url: format!("memory://{name}"), name: "calls".to_owned(), prompt: true, history: true };
    let calls = runtime.block_on(C::open(&place, usize::MAX));
    let order = order(256);
    criterion.bench_function(name, |bencher| bencher.to_async(runtime).iter(|| calls.call(order.clone())));
    runtime.block_on(calls.close());
}

fn all(criterion: &mut Criterion) {
    let single = Builder::new_current_thread().enable_all().build().unwrap();
    let double = Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    one::<OurCalls>(criterion, "calls-ours-1-thread", &single);
    one::<Channels>(criterion, "calls-channels-1-thread", &single);
    one::<OurCalls>(criterion, "calls-ours-2-threads", &double);
    one::<Channels>(criterion, "calls-channels-2-threads", &double);
}

criterion_group!(benches, all);
criterion_main!(benches);
