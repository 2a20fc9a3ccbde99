//! Live push over HTTP, beside bare axum; each sample has a server in a process of its own.

use std::time::Duration;

use pubsub_benches::{
    names, pairs,
    sse::{Side, load, process, publish},
};

use crate::{args::Options, case::Case};

/// Files that a process needs beside one per stream.
const OTHERS: u64 = 200;

/// The cases.
pub(crate) fn cases(options: &Options) -> Vec<Case> {
    let files = process::raise_file_limit();
    eprintln!("sse: {files} files may be open");
    let time = Duration::from_millis(if options.quick { 1_500 } else { 5_000 });
    let limits = options.limits;
    let mut cases = Vec::new();
    for streams in names::STREAMS {
        // As many as the machine lets one process have.
        let count = if streams as u64 + OTHERS > files { streams / 2 } else { streams };
        let row = |operation, unit| (names::case("sse", operation, count), unit);
        cases.push(case(
            vec![
                row("fan-out", "deliveries/s"),
                row("cpu", "us/delivery (less is better)"),
                row("latency-p50", "us (less is better)"),
                row("latency-p99", "us (less is better)"),
                row("idle", "KiB/stream (less is better)"),
            ],
            limits,
            move |side| load::fan_out(side, count, time),
            [Side::Ours, Side::Limit],
        ));
    }
    cases.push(case(
        vec![
            (names::case("sse", "trpc", 1_000), "deliveries/s"),
            (names::case("sse", "trpc-cpu", 1_000), "us/delivery (less is better)"),
        ],
        limits,
        move |side| async move {
            let [rate, cpu, ..] = load::fan_out(side, 1_000, time).await?;
            Ok([rate, cpu])
        },
        // Against the plain stream.
        [Side::Trpc, Side::Ours],
    ));
    for (operation, connections) in [("publish", 1), ("publish", 64), ("send", 64)] {
        cases.push(case(
            vec![(names::case("sse", operation, connections), "requests/s")],
            limits,
            move |side| publish::requests(side, operation == "send", connections, time),
            [Side::Ours, Side::Limit],
        ));
    }
    cases.push(case(
        vec![(names::case("sse", "resume", 1_000), "ms (less is better)")],
        limits,
        |side| load::resume(side, 1_000, 1_000),
        [Side::Ours, Side::Limit],
    ));
    cases
}

fn case<const N: usize, F>(
    rows: Vec<(String, &'static str)>,
    limits: bool,
    sample: impl Fn(Side) -> F + 'static,
    [ours, limit]: [Side; 2],
) -> Case
where
    F: Future<Output = Result<[f64; N], String>> + Send + 'static,
{
    let measure = move |pairs| {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        let run = |side| {
            let taken = runtime.block_on(runtime.spawn(sample(side)));
            taken.map_err(|_| "a run failed as told above".to_owned())?
        };
        let first = || if limits { Ok([f64::NAN; N]) } else { run(ours) };
        pairs::try_run(pairs, first, || run(limit)).map(|rows| rows.to_vec())
    };
    Case { rows, measure: Box::new(measure) }
}
