//! Chaos.

use std::process::ExitCode;

use super::FaultHarness;

/// Makes a test binary run chaos instead of cases.
pub(super) const VARIABLE: &str = "PUBSUB_CHAOS";

pub(super) fn main(_harness: &FaultHarness, _plan: &str) -> ExitCode {
    ExitCode::FAILURE
}
