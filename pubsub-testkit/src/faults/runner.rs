//! Running the cases of the fault suite.

use std::{
    io::Write,
    process::ExitCode,
    sync::Arc,
    time::{Duration, Instant},
};

use libtest_mimic::{Arguments, Failed, Trial};
use pubsub_core::driver::Feature;
use tokio::time::timeout;

use super::{Action, FaultBounds, FaultCase, FaultHarness, Rig, Scene, Stage, cases, harness::on_runtime};
use crate::{
    broker::{Broker, BrokerKind, find},
    conformance::{Failure, Size, Verdict, runner::offered, unsupported},
};

/// The complete `main` of a test target with `harness = false`: every case is a test of its own.
#[macro_export]
macro_rules! fault_tests {
    ($harness:expr) => {
        fn main() -> ::std::process::ExitCode {
            $crate::faults::FaultHarness::main($harness)
        }
    };
}

/// Runs the suite as the arguments of the test binary say.
pub(super) fn main(harness: FaultHarness) -> ExitCode {
    // Brokers that are heavy are used by one case at a time.
    let threads = if matches!(harness.kind(), BrokerKind::Kafka | BrokerKind::RabbitMq) { 1 } else { 3 };
    run(vec![harness], &cases(), threads, |_, case| name(case))
}

/// The `main` of a test target with cases of its own, each on a broker of each harness: for what is built over the
/// adapters. Without a broker's programs its cases are shown as ignored, or fail where `PUBSUB_TEST_REQUIRE` demands it.
pub fn main_of(harnesses: Vec<FaultHarness>, cases: &[FaultCase]) -> ExitCode {
    run(harnesses, cases, 1, |kind, case| format!("{kind}::{}", name(case)))
}

fn run(
    harnesses: Vec<FaultHarness>,
    cases: &[FaultCase],
    threads: usize,
    name: impl Fn(BrokerKind, &FaultCase) -> String,
) -> ExitCode {
    let mut arguments = Arguments::from_args();
    arguments.test_threads.get_or_insert(threads);
    let mut trials = Vec::new();
    for harness in harnesses.into_iter().map(Arc::new) {
        let kind = harness.kind();
        let missing = Broker::is_installed(kind).err().map(|missing| missing.to_string());
        for case in cases.iter().filter(|case| case.on.contains(&kind)).copied() {
            let name = name(kind, &case);
            trials.push(match &missing {
                Some(missing) => {
                    let fault = missing.clone();
                    let trial = Trial::test(name, move || Err(Failed::from(fault)));
                    trial.with_ignored_flag(!find::is_required(kind))
                }
                None => trial(&harness, case, name),
            });
        }
    }
    libtest_mimic::run(&arguments, trials).exit_code()
}

fn trial(harness: &Arc<FaultHarness>, case: FaultCase, name: String) -> Trial {
    let (harness, gap) = (harness.clone(), harness.gap(case.id));
    let run = move || {
        let bounds = harness.limits();
        let run = |rig| {
            let verdict = execute(rig, case, bounds, Size::from_env());
            let whole = verdict.is_ok();
            (verdict, whole)
        };
        Ok(harness.with_rig(run).map_err(|failure| failure.to_string())?)
    };
    match gap {
        Some(why) => Trial::test(format!("{name} [open: {why}]"), run).with_ignored_flag(true),
        None => Trial::test(name, run),
    }
}

fn name(case: &FaultCase) -> String {
    format!("{}: {}", case.id, case.title)
}

/// Runs one case in a world and a runtime of its own, and prints what it counted. Must not be called from within a
/// runtime.
///
/// # Errors
/// What the case expected, and what it saw.
pub fn execute(rig: Arc<dyn Rig>, case: FaultCase, bounds: FaultBounds, size: Size) -> Verdict {
    let started = Instant::now();
    let (verdict, report) = on_runtime(async move {
        let stage = Scene::new(rig, bounds, size);
        let limit = bounds.case * if size == Size::Long { 20 } else { 1 };
        let judged = stage.clone();
        let mut task = tokio::spawn(async move { judge(judged, case).await });
        let verdict = match timeout(limit, &mut task).await {
            Ok(Ok(verdict)) => verdict,
            Ok(Err(panic)) => Err(Failure::new("no panic", panic)),
            Err(_) => {
                task.abort();
                Err(Failure::new(format!("an end within {limit:?}"), "the case was still running"))
            }
        };
        // What is closed with the broker whole must close well; what the broker's absence does to it has its own case.
        let closed = mend(&stage).await.and(stage.world().close().await);
        (verdict.and(closed), stage.report())
    })?;
    let outcome = if verdict.is_ok() { "" } else { " (failed)" };
    let mut out = std::io::stderr().lock();
    for line in report {
        writeln!(out, "{}{outcome}: {line} [{:.1} s]", case.id, started.elapsed().as_secs_f64()).ok();
    }
    if let Err(failure) = &verdict {
        // Said at once, since the list of failures comes only when all cases are through.
        writeln!(out, "{}{outcome}: {failure}", case.id).ok();
    }
    verdict
}

async fn mend(stage: &Stage) -> Verdict {
    // It may be stopped or ended.
    stage.act(Action::Resume).await.ok();
    stage.act(Action::Start).await?;
    stage.act(Action::Heal).await?;
    tokio::time::sleep(Duration::from_millis(50)).await;
    Ok(())
}

/// The case itself, or the assertion that what it needs is refused.
async fn judge(stage: Stage, case: FaultCase) -> Verdict {
    let capabilities = offered(stage.world(), case.needs.contains(&Feature::StrictChannels)).await?;
    let missing: Vec<Feature> = case.needs.iter().copied().filter(|feature| !capabilities.has(*feature)).collect();
    if missing.is_empty() {
        return (case.run)(stage).await;
    }
    for feature in missing {
        unsupported::probe(stage.world(), feature).await?;
        stage.say(format_args!("{} is refused, as it is not declared", feature.as_str()));
    }
    Ok(())
}
