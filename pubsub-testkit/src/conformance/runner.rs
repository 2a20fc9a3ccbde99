//! Running cases: one by one as tests, or all at once for a report.

use std::{
    process::ExitCode,
    sync::Arc,
    time::{Duration, Instant},
};

use libtest_mimic::{Arguments, Trial};
use pubsub_core::driver::{Capabilities, Feature};
use tokio::{runtime::Builder, time::timeout};

use super::{Case, Failure, Harness, Outcome, Report, Size, Verdict, World, cases, unsupported};

/// The complete `main` of a test target with `harness = false`: every case is a test of its own.
#[macro_export]
macro_rules! conformance_tests {
    ($harness:expr) => {
        fn main() -> ::std::process::ExitCode {
            $crate::conformance::main($harness)
        }
    };
}

/// Runs the suite as the arguments of the test binary say.
pub fn main(harness: impl Harness + 'static) -> ExitCode {
    let harness: Arc<dyn Harness> = Arc::new(harness);
    let mut arguments = Arguments::from_args();
    // Cases wait far more than they work.
    arguments.test_threads.get_or_insert(8);
    // Without a connection every case says why it could not be had.
    let declared = on_runtime(declared(harness.clone())).and_then(|inner| inner).ok();
    let minimum = harness.clone();
    let declaration = move || declaration(minimum).map_err(Into::into);
    let refusing = harness.clone();
    let refusals = move || refusals(refusing).map_err(Into::into);
    let mut trials = vec![
        Trial::test("capabilities: the adapter declares at least its minimum", declaration),
        Trial::test("capabilities: what it does not declare is refused when it is asked for", refusals),
    ];
    for case in cases() {
        let mark = match &declared {
            Some(declared) if !missing(&case, declared).is_empty() => " [unsupported]",
            _ => "",
        };
        let harness = harness.clone();
        let run =
            move || Ok(execute(harness, case, Size::from_env()).verdict.map_err(|failure| failure.to_string())?);
        trials.push(Trial::test(format!("{}{mark}: {}", case.id, case.title), run));
    }
    libtest_mimic::run(&arguments, trials).exit_code()
}

/// Runs all cases one after the other.
pub fn run(harness: impl Harness + 'static) -> Report {
    let harness: Arc<dyn Harness> = Arc::new(harness);
    let size = Size::from_env();
    let declaration = declaration(harness.clone());
    let outcomes = cases().into_iter().map(|case| execute(harness.clone(), case, size)).collect();
    Report::new(harness.name().to_owned(), declaration, outcomes)
}

/// Runs one case in a world and a runtime of its own. Must not be called from within a runtime.
pub fn execute(harness: Arc<dyn Harness>, case: Case, size: Size) -> Outcome {
    let started = Instant::now();
    let result = on_runtime(async move {
        let world = World::new(harness, size);
        let factor = if size == Size::Long { 10 } else { 1 };
        let limit = world.bounds().case * factor;
        let (judged, judging) = (world.clone(), case);
        let mut task = tokio::spawn(async move { judge(&judged, judging).await });
        let (unsupported, verdict) = match timeout(limit, &mut task).await {
            Ok(Ok(ended)) => ended,
            Ok(Err(panic)) => (false, Err(Failure::new("no panic", panic))),
            Err(_) => {
                task.abort();
                (false, Err(Failure::new(format!("an end within {limit:?}"), "the case was still running")))
            }
        };
        let closed = world.close().await;
        (unsupported, verdict.and(closed))
    });
    let (unsupported, verdict) = result.unwrap_or_else(|failure| (false, Err(failure)));
    Outcome::new(case, unsupported, verdict, started.elapsed())
}

/// The case itself, or the assertion that what it needs is refused.
async fn judge(world: &Arc<World>, case: Case) -> (bool, Verdict) {
    let missing = match offered(world, case.needs.contains(&Feature::StrictChannels)).await {
        Ok(capabilities) => missing(&case, &capabilities),
        Err(failure) => return (false, Err(failure)),
    };
    if missing.is_empty() {
        return (false, (case.run)(world.clone()).await);
    }
    for feature in missing {
        if let Err(failure) = unsupported::probe(world, feature).await {
            return (true, Err(failure));
        }
    }
    (true, Ok(()))
}

/// What the adapter declares; its strict form, if that is a mode of its own, is asked only on demand.
pub(crate) async fn offered(world: &World, strict: bool) -> Verdict<Capabilities> {
    let capabilities = world.capabilities().await?;
    if !strict || capabilities.has(Feature::StrictChannels) {
        return Ok(capabilities);
    }
    let Ok(adapter) = world.harness().strict(world.name()).await else { return Ok(capabilities) };
    let support = adapter.capabilities().support(Feature::StrictChannels);
    adapter.close(world.bounds().close).await?;
    Ok(capabilities.with(support, &[Feature::StrictChannels]))
}

fn missing(case: &Case, capabilities: &Capabilities) -> Vec<Feature> {
    case.needs.iter().copied().filter(|feature| !capabilities.has(*feature)).collect()
}

fn declaration(harness: Arc<dyn Harness>) -> Verdict {
    let minimum = harness.minimum();
    minimum.check(&on_runtime(declared(harness))??)
}

/// Also of features that no case of the suite needs: what is not declared is not there.
fn refusals(harness: Arc<dyn Harness>) -> Verdict {
    on_runtime(async {
        let world = World::new(harness, Size::Default);
        let capabilities = offered(&world, true).await?;
        for feature in Feature::ALL.iter().copied().filter(|feature| !capabilities.has(*feature)) {
            unsupported::probe(&world, feature).await?;
        }
        world.close().await
    })?
}

async fn declared(harness: Arc<dyn Harness>) -> Verdict<Capabilities> {
    let world = World::new(harness, Size::Default);
    let capabilities = offered(&world, true).await?;
    world.close().await?;
    Ok(capabilities)
}

/// A runtime with threads of its own, so that one case's leftovers never reach another.
fn on_runtime<T>(future: impl Future<Output = T>) -> Verdict<T> {
    let runtime = Builder::new_multi_thread().worker_threads(2).enable_all().build();
    let runtime = runtime.map_err(|error| Failure::new("a runtime", error))?;
    let result = runtime.block_on(future);
    runtime.shutdown_timeout(Duration::from_secs(1));
    Ok(result)
}
