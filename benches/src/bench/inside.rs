//! The cases that need no broker.

use std::{
    future::Future,
    hint::black_box,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use pubsub::{
    AckHandle,
    driver::{AckToken, Outcome, Settler},
};
use pubsub_benches::{
    calls::{self, Channels, OurCalls},
    codec,
    driver::{Call, Counter},
    event,
    limit::Place,
    memory, pairs, plain,
    router::{self, Shape},
};

use tokio::runtime::{Builder, Runtime};

use crate::case::Case;

/// The cases over so many events.
pub(crate) fn cases(count: usize) -> Vec<Case> {
    let mut cases: Vec<Case> = Vec::new();
    cases.extend(driver_cases(count));
    let shapes = [
        ("inline", Shape::Inline),
        ("timeout", Shape::Timeout),
        ("lanes-8", Shape::Lanes(8)),
        ("lanes-64", Shape::Lanes(64)),
    ];
    for (name, shape) in shapes {
        let count = count / 4;
        cases.push(case(
            format!("router/{name}/64"),
            move || router::routed(count, shape),
            move || router::bare(count),
        ));
        // Where no event goes from core to core, the difference is what a delivery costs.
        cases.push(case_on(
            one_thread,
            format!("router-one-thread/{name}/64"),
            move || router::routed(count, shape),
            move || router::bare(count),
        ));
    }
    cases.extend(call_cases("request", two_threads, count / 10));
    cases.extend(call_cases("request-one-thread", one_thread, count / 10));
    for size in [256, 4096] {
        for readers in [1, 8] {
            let count = count / readers / (1 + size / 2048);
            let rate = move |name: &str| format!("memory/{name}-1to{readers}/{size}");
            cases.push(case(
                rate("raw"),
                move || memory::raw(readers, size, count),
                move || plain::acked(readers, size, count),
            ));
            cases.push(case(
                rate("raw-batch"),
                move || memory::raw_batch(readers, size, count),
                move || plain::acked(readers, size, count),
            ));
            cases.push(case(
                rate("typed"),
                move || memory::typed(readers, size, count),
                move || plain::json(readers, size, count),
            ));
        }
        cases.extend(codec_cases(size, count / 10));
    }
    cases
}

fn two_threads() -> Runtime {
    Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap()
}

fn one_thread() -> Runtime {
    Builder::new_current_thread().enable_all().build().unwrap()
}

/// A case in events per second on two workers.
fn case<A, B>(name: String, ours: impl Fn() -> A + 'static, limit: impl Fn() -> B + 'static) -> Case
where
    A: Future<Output = f64> + Send + 'static,
    B: Future<Output = f64> + Send + 'static,
{
    case_on(two_threads, name, ours, limit)
}

/// A case in events per second.
fn case_on<A, B>(
    runtime: fn() -> Runtime,
    name: String,
    ours: impl Fn() -> A + 'static,
    limit: impl Fn() -> B + 'static,
) -> Case
where
    A: Future<Output = f64> + Send + 'static,
    B: Future<Output = f64> + Send + 'static,
{
    let measure = move |pairs| {
        let runtime = runtime();
        pairs::run(
            pairs,
            || runtime.block_on(runtime.spawn(ours())).unwrap(),
            || runtime.block_on(runtime.spawn(limit())).unwrap(),
        )
    };
    Case::one(name, "events/s", measure)
}

/// Questions and answers against two channels with a table of calls.
fn call_cases(name: &str, runtime: fn() -> Runtime, count: usize) -> Vec<Case> {
    let place = || {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let name = format!("calls-{}", NEXT.fetch_add(1, Ordering::Relaxed));
        Place { url: format!("memory://{name}"), name, prompt: true, history: true }
    };
    let together = move |pairs| {
        let runtime = runtime();
        pairs::run(
            pairs,
            || runtime.block_on(runtime.spawn(calls::together::<OurCalls>(place(), count, 256))).unwrap()[0],
            || runtime.block_on(runtime.spawn(calls::together::<Channels>(place(), count, 256))).unwrap()[0],
        )
    };
    let one_by_one = move |pairs| {
        let runtime = runtime();
        let rows = pairs::try_run(
            pairs,
            || runtime.block_on(runtime.spawn(calls::one_by_one::<OurCalls>(place(), count, 256))),
            || runtime.block_on(runtime.spawn(calls::one_by_one::<Channels>(place(), count, 256))),
        );
        Ok(rows.map_err(|_| "a run failed as told above".to_owned())?.to_vec())
    };
    let rows =
        vec![(format!("memory/{name}-one/256"), "calls/s"), (format!("memory/{name}-p99/256"), "us (less is better)")];
    vec![Case::one(format!("memory/{name}/256"), "calls/s", together), Case { rows, measure: Box::new(one_by_one) }]
}

/// A boxed call against one that is ready, and a settlement in the memory adapter against one that only counts.
fn driver_cases(count: usize) -> Vec<Case> {
    let call = move |pairs| {
        let runtime = Builder::new_current_thread().build().unwrap();
        let driver: Arc<dyn Call> = Arc::new(Counter::default());
        pairs::run(
            pairs,
            || per_second(count, || runtime.block_on(async { driver.boxed(black_box(1)).await })),
            || per_second(count, || runtime.block_on(async { driver.ready(black_box(1)).await })),
        )
    };
    let ack = move |pairs| {
        let runtime = Builder::new_current_thread().enable_all().build().unwrap();
        let settler: Arc<dyn Settler> = Arc::new(Counter::default());
        let token = AckToken { index: 1, generation: 1 };
        pairs::run(
            pairs,
            || {
                let mut spent = Duration::ZERO;
                for _ in 0..count / 640 {
                    let deliveries = runtime.block_on(memory::leased(64));
                    let started = Instant::now();
                    deliveries.into_iter().for_each(pubsub::Delivery::ack);
                    spent += started.elapsed();
                }
                (count / 640 * 64) as f64 / spent.as_secs_f64()
            },
            || per_second(count, || AckHandle::new(settler.clone(), black_box(token)).settle(Outcome::Ack)),
        )
    };
    vec![
        Case::one("driver/boxed-call/0".to_owned(), "calls/s", call),
        Case::one("memory/ack/256".to_owned(), "acks/s", ack),
    ]
}

/// The envelope against the bare payload, in calls per second.
fn codec_cases(size: usize, count: usize) -> Vec<Case> {
    let encode = move |pairs| {
        let (envelope, order) = (codec::envelope(size), event::order(size));
        pairs::run(
            pairs,
            || per_second(count, || pubsub::wire::document::encode(&envelope.encode().unwrap()).unwrap()),
            || per_second(count, || serde_json::to_vec(&order).unwrap()),
        )
    };
    let decode = move |pairs| {
        let (document, bare) = (codec::document(size), event::bytes(size));
        pairs::run(
            pairs,
            || per_second(count, || codec::read(&document)),
            || per_second(count, || serde_json::from_slice::<event::Order>(&bare).unwrap()),
        )
    };
    vec![
        Case::one(format!("envelope/encode/{size}"), "calls/s", encode),
        Case::one(format!("envelope/decode/{size}"), "calls/s", decode),
    ]
}

fn per_second<T>(count: usize, mut call: impl FnMut() -> T) -> f64 {
    let started = Instant::now();
    for _ in 0..count {
        black_box(call());
    }
    count as f64 / started.elapsed().as_secs_f64()
}
