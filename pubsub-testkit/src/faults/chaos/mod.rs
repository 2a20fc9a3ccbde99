//! Chaos: for a given time, whatever can fail fails, at random and by a seed; then all is mended, and the tally judges.
//!
//! A test binary of the fault suite becomes this when [`VARIABLE`] holds a plan; `cargo xtask chaos` does that for one
//! broker after the other. Two groups are at work, one of them ordered; all publishers and consumers are processes.

mod plan;
mod row;
mod run;

use std::{io::Write, process::ExitCode, sync::Arc};

use super::{FaultBounds, FaultHarness, Rig, Scene, harness::on_runtime};
use crate::{
    broker::find,
    conformance::{Failure, Size, Verdict},
};

/// Makes a test binary run chaos instead of cases: `seed=1 seconds=60 rate=400`.
pub(super) const VARIABLE: &str = "PUBSUB_CHAOS";

/// Runs a plan (`seed=1 seconds=60 rate=400`) on a broker. Must not be called from within a runtime.
///
/// # Errors
/// If something confirmed is lost, comes in a wrong order or more often than the faults explain.
pub fn chaos(rig: Arc<dyn Rig>, bounds: FaultBounds, plan: &str) -> Verdict {
    let plan = plan::Plan::parse(plan).ok_or_else(|| Failure::new("a plan", plan))?;
    let row = on_runtime(async move { run::run(Scene::new(rig, bounds, Size::Long), plan).await }).flatten()?;
    row.failure.map_or(Ok(()), Err)
}

/// Runs a plan and prints one row; fails if something was lost, or came in a wrong order.
pub(super) fn main(harness: &FaultHarness, plan: &str) -> ExitCode {
    let mut out = std::io::stdout().lock();
    let Some(plan) = plan::Plan::parse(plan) else {
        writeln!(out, "not a plan: {plan}").ok();
        return ExitCode::from(2);
    };
    if let Err(missing) = crate::broker::Broker::is_installed(harness.kind()) {
        writeln!(out, "{missing}").ok();
        return if find::is_required(harness.kind()) { ExitCode::FAILURE } else { ExitCode::SUCCESS };
    }
    let bounds = harness.limits();
    let row = harness.with_rig(|rig| {
        let run = on_runtime(async move { run::run(Scene::new(rig, bounds, Size::Long), plan).await });
        (run.flatten(), false)
    });
    match row {
        Ok(row) => {
            writeln!(out, "{row}").ok();
            if row.failure.is_none() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
        }
        Err(failure) => {
            writeln!(out, "chaos could not be run (seed {}): {failure}", plan.seed).ok();
            ExitCode::FAILURE
        }
    }
}
