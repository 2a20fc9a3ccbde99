//! Every example is a program that ends by itself with success.

use std::time::Duration;

use crate::log::Log;
use crate::report::{Counts, Outcome, Verdict};
use crate::workspace::Workspace;

const PACKAGE: &str = "pubsub-examples";
const BUILD: Duration = Duration::from_secs(20 * 60);
const RUN: Duration = Duration::from_secs(60);

pub(crate) fn check(workspace: &Workspace, log: &mut Log) -> Outcome {
    let mut examples = workspace.targets("example");
    examples.retain(|example| example.package == PACKAGE);
    if examples.is_empty() {
        return Err(format!("{PACKAGE} has no examples").into());
    }
    // Those that name features are built with them when they run.
    log.run(workspace.cargo().args(["build", "-p", PACKAGE, "--examples"]), BUILD)?;
    let mut counts = Counts::default();
    let mut faults = Vec::new();
    for example in &examples {
        let mut command = workspace.cargo();
        command.args(["run", "--quiet", "-p", PACKAGE, "--example", &example.name]);
        let mut limit = RUN;
        if !example.features.is_empty() {
            command.args(["--features", &example.features.join(",")]);
            limit += BUILD;
        }
        match log.run(&mut command, limit) {
            Ok(()) => counts.passed += 1,
            Err(fault) => {
                counts.failed += 1;
                faults.push(fault.to_string());
            }
        }
    }
    let verdict = if faults.is_empty() { Verdict::Passed } else { Verdict::Failed(faults.join("; ")) };
    Ok((verdict, counts))
}
