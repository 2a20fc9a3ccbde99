//! `cargo xtask codegen`: what is written from the events of the examples, and whether it is what is in the tree.

use std::process::Command;
use std::time::Duration;

use crate::Fault;
use crate::install::{self, Consent};
use crate::log::Log;
use crate::node::Package;
use crate::report::{Counts, Outcome, Verdict};
use crate::workspace::Workspace;

/// The example that offers its catalog, and the folder of what is written from it.
const EXAMPLE: &str = "contracts";
const FOLDER: &str = "examples/contracts";
const LIMIT: Duration = Duration::from_secs(20 * 60);

/// Writes the files, or says which are stale.
pub(crate) fn run(workspace: &Workspace, check: bool) -> Result<bool, Fault> {
    Ok(command(workspace, check).status()?.success())
}

fn command(workspace: &Workspace, check: bool) -> Command {
    let mut command = workspace.cargo();
    command.args(["run", "--quiet", "-p", "pubsub-examples", "--example", EXAMPLE, "--"]);
    command.args(["codegen", "--out", FOLDER]);
    if check {
        command.arg("--check");
    }
    command
}

/// A part of `test`: nothing in the tree is stale.
pub(crate) fn fresh(workspace: &Workspace, log: &mut Log) -> Outcome {
    log.run(&mut command(workspace, true), LIMIT).map_err(|fault| format!("{fault}; see `cargo xtask codegen`"))?;
    Ok((Verdict::Passed, Counts::default()))
}

/// A part of `test`: compilers, clients and validators of others take what is written.
pub(crate) fn accepted(workspace: &Workspace, _: Consent, log: &mut Log) -> Outcome {
    install::web::ensure_node()?;
    let (sources, tests) = (workspace.root.join("pubsub-codegen/src"), workspace.root.join("pubsub-codegen/tests"));
    let package = Package {
        source: tests.join("node"),
        home: workspace.target.join("codegen"),
        folders: &["test", "types", "wrong"],
    };
    let contracts = std::env::join_paths([tests.join("golden"), workspace.root.join(FOLDER)])?;
    let client = sources.join("typescript/client.ts");
    package.test(&[("PUBSUB_CONTRACTS", contracts.into()), ("PUBSUB_CLIENT", client)], log)
}
