//! The cases of one broker.

use std::{future::Future, time::Duration};

use pubsub_benches::{
    brokers::{
        ours::Ours,
        side::Json,
        work::{self, Figures},
    },
    calls::{self, ByHand, OurCalls},
    event, json,
    limit::{Back, Limit, Place},
    names,
    pairs::try_run,
};
use tokio::{runtime::Runtime, time::timeout};

use super::fresh;
use crate::{args::Options, case::Case};

/// No sample may take longer: what does so hangs.
const LONGEST: Duration = Duration::from_secs(120);

/// How many events of 256 bytes a sample has, so that it lasts about a second.
#[derive(Clone, Copy)]
struct Counts {
    publish: usize,
    consume: usize,
    e2e: usize,
    one: usize,
    latency: usize,
    calls: usize,
}

impl Counts {
    fn of(broker: &str) -> Self {
        let of = |publish, consume, e2e, one| Self { publish, consume, e2e, one, latency: 1_000, calls: one / 2 };
        match broker {
            "redis" => of(100_000, 100_000, 80_000, 10_000),
            "kafka" => of(200_000, 200_000, 150_000, 3_000),
            "nats" => of(80_000, 80_000, 50_000, 5_000),
            _ => of(16_000, 24_000, 16_000, 400),
        }
    }

    /// Those of a size, and of a quick run.
    fn scaled(self, size: usize, quick: bool) -> Self {
        let by = [size > 1_024, quick].into_iter().map(|less| if less { 4 } else { 1 }).product::<usize>();
        let [publish, consume, e2e, one] = [self.publish, self.consume, self.e2e, self.one].map(|count| count / by);
        let calls = self.calls / by;
        Self { publish, consume, e2e, one, latency: if quick { 250 } else { self.latency }, calls }
    }
}

/// What the cases of a broker share.
#[derive(Clone)]
struct Bench {
    url: String,
    limits: bool,
    cpu: bool,
    prompt: bool,
    history: bool,
}

impl Bench {
    fn plain(self) -> Self {
        Self { history: false, ..self }
    }

    fn prompt(self) -> Self {
        Self { prompt: true, ..self }
    }

    /// A case in events per second, with what this process spends on each in a row of its own where that is asked for.
    fn rate<L, A, B>(
        self,
        name: [String; 2],
        ours: impl Fn(Place) -> A + 'static,
        limit: impl Fn(Place) -> B + 'static,
    ) -> Case
    where
        L: Limit,
        A: Future<Output = Figures> + Send + 'static,
        B: Future<Output = Figures> + Send + 'static,
    {
        let shown = if self.cpu { 2 } else { 1 };
        let measure = move |pairs| {
            let runtime = runtime();
            let ours = || {
                if self.limits {
                    return Ok([f64::NAN; 2]);
                }
                self.sample::<L, _>(&runtime, &ours)
            };
            let limit = || self.sample::<L, _>(&runtime, &limit);
            Ok(try_run(pairs, ours, limit)?[..shown].to_vec())
        };
        let units = ["events/s", "cpu ns/event (less is better)"];
        Case { rows: name.into_iter().zip(units).take(shown).collect(), measure: Box::new(measure) }
    }

    /// Two figures of the same samples, a row each.
    fn pair<L, A, B>(
        self,
        rows: [(String, &'static str); 2],
        ours: impl Fn(Place) -> A + 'static,
        limit: impl Fn(Place) -> B + 'static,
    ) -> Case
    where
        L: Limit,
        A: Future<Output = [f64; 2]> + Send + 'static,
        B: Future<Output = [f64; 2]> + Send + 'static,
    {
        let bench = self.prompt();
        let measure = move |pairs| {
            let runtime = runtime();
            let ours = || {
                if bench.limits {
                    return Ok([f64::NAN; 2]);
                }
                bench.sample::<L, _>(&runtime, &ours)
            };
            Ok(try_run(pairs, ours, || bench.sample::<L, _>(&runtime, &limit))?.to_vec())
        };
        Case { rows: rows.into(), measure: Box::new(measure) }
    }

    /// Runs one side at a fresh place, and takes away what it left.
    fn sample<L, F>(&self, runtime: &Runtime, work: impl Fn(Place) -> F) -> Result<F::Output, String>
    where
        L: Limit,
        F: Future<Output: Send> + Send + 'static,
    {
        let place = Place { url: self.url.clone(), name: fresh(), prompt: self.prompt, history: self.history };
        let sample = work(place.clone());
        let sample = runtime.spawn(async { timeout(LONGEST, sample).await });
        let taken = runtime.block_on(sample).map_err(|_| "a run failed as told above".to_owned())?;
        let sweep = runtime.spawn(async move { timeout(LONGEST, L::sweep(&place)).await });
        let swept = runtime.block_on(sweep);
        if !matches!(swept, Ok(Ok(()))) {
            return Err("what a run left could not be removed".to_owned());
        }
        taken.map_err(|_| format!("a run took longer than {LONGEST:?}"))
    }
}

fn runtime() -> Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap()
}

pub(super) fn cases<L: Back>(broker: &'static str, url: &str, options: &Options) -> Vec<Case> {
    let bench = Bench { url: url.to_owned(), limits: options.limits, cpu: options.cpu, prompt: false, history: true };
    let mut cases = Vec::new();
    for (operation, size) in names::OPERATIONS {
        let counts = Counts::of(broker).scaled(size, options.quick);
        let name = [operation.to_owned(), format!("{operation}-cpu")].map(|one| names::case(broker, &one, size));
        let bench = bench.clone();
        let wide = operation == "consume-wide";
        let (publish, consume, e2e, one) = (counts.publish, counts.consume, counts.e2e, counts.one);
        cases.push(match operation {
            "publish" => bench.rate::<L, _, _>(
                name,
                move |place| work::publish::<Ours>(place, publish, size),
                move |place| work::publish::<Json<L>>(place, publish, size),
            ),
            "publish-plain" => bench.plain().rate::<L, _, _>(
                name,
                move |place| work::publish::<Ours>(place, publish, size),
                move |place| work::publish::<Json<L>>(place, publish, size),
            ),
            "publish-all" => bench.rate::<L, _, _>(
                name,
                move |place| work::publish_all(place, publish, size),
                move |place| work::publish::<Json<L>>(place, publish, size),
            ),
            "publish-raw" => bench.rate::<L, _, _>(
                name,
                move |place| work::publish_raw(place, publish, event::bytes(size)),
                move |place| work::limit_raw::<L>(place, publish, json::encode(&event::order(size))),
            ),
            "consume" | "consume-wide" => bench.rate::<L, _, _>(
                name,
                move |place| work::consume::<Ours>(place, consume, size, wide),
                move |place| work::consume::<Json<L>>(place, consume, size, wide),
            ),
            // Against a bare subscription of the library.
            "router" => bench.rate::<L, _, _>(
                name,
                move |place| work::routed(place, consume, size),
                move |place| work::consume::<Ours>(place, consume, size, wide),
            ),
            "e2e" => bench.rate::<L, _, _>(
                name,
                move |place| work::e2e::<Ours>(place, e2e, size),
                move |place| work::e2e::<Json<L>>(place, e2e, size),
            ),
            "publish-one" => bench.prompt().rate::<L, _, _>(
                name,
                move |place| work::publish_one::<Ours>(place, one, size),
                move |place| work::publish_one::<Json<L>>(place, one, size),
            ),
            "latency-p50" => {
                let row = |operation| (names::case(broker, operation, size), "us (less is better)");
                bench.pair::<L, _, _>(
                    [row("latency-p50"), row("latency-p99")],
                    move |place| work::latency::<Ours>(place, counts.latency, size),
                    move |place| work::latency::<Json<L>>(place, counts.latency, size),
                )
            }
            "request" => bench.prompt().rate::<L, _, _>(
                name,
                move |place| calls::together::<OurCalls>(place, counts.calls * 4, size),
                move |place| calls::together::<ByHand<L>>(place, counts.calls * 4, size),
            ),
            "request-one" => {
                let row = |operation, unit| (names::case(broker, operation, size), unit);
                bench.pair::<L, _, _>(
                    [row("request-one", "calls/s"), row("request-p99", "us (less is better)")],
                    move |place| calls::one_by_one::<OurCalls>(place, counts.calls, size),
                    move |place| calls::one_by_one::<ByHand<L>>(place, counts.calls, size),
                )
            }
            // Measured together with another one.
            _ => continue,
        });
    }
    cases
}
