//! `cargo xtask codegen`: what is written from the events of the examples, and whether it is what is in the tree.

use std::fs;
use std::process::{Command, Stdio};
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
/// The example that a program in TypeScript is written for, and what that program knows of it.
const SERVER: &str = "sse_axum";
const CLIENT: &str = "examples/trpc_client";
const TYPES: &str = "examples/trpc_client/src/chat.d.ts";

/// Writes the files, or says which are stale.
pub(crate) fn run(workspace: &Workspace, check: bool) -> Result<bool, Fault> {
    let written = command(workspace, check).status()?.success();
    let (types, file) = (types(workspace)?, workspace.root.join(TYPES));
    if fs::read_to_string(&file).is_ok_and(|there| there == types) {
        return Ok(written);
    }
    if check {
        eprintln!("stale: {TYPES}");
        return Ok(false);
    }
    println!("{TYPES}");
    fs::write(file, types)?;
    Ok(written)
}

/// What the server says of itself in TypeScript.
fn types(workspace: &Workspace) -> Result<String, Fault> {
    let output = workspace
        .cargo()
        .args(["run", "--quiet", "-p", "pubsub-examples", "--features", "web", "--example", SERVER, "--", "--types"])
        .stderr(Stdio::inherit())
        .output()?;
    if !output.status.success() {
        return Err(format!("the example `{SERVER}` ended with {}", output.status).into());
    }
    Ok(String::from_utf8(output.stdout)?)
}

/// A part of `test`: the program in TypeScript compiles by what the server says of itself, and works with it.
pub(crate) fn program(workspace: &Workspace, _: Consent, log: &mut Log) -> Outcome {
    install::web::ensure_node()?;
    if fs::read_to_string(workspace.root.join(TYPES))? != types(workspace)? {
        return Err(format!("{TYPES} is stale; see `cargo xtask codegen`").into());
    }
    let mut build = workspace.cargo();
    log.run(build.args(["build", "-p", "pubsub-examples", "--features", "web", "--example", SERVER]), LIMIT)?;
    let package = Package {
        source: workspace.root.join(CLIENT),
        home: workspace.target.join("trpc_client"),
        folders: &["src", "test"],
    };
    package.test(&[("PUBSUB_SSE_AXUM", workspace.target.join("debug/examples").join(SERVER))], log)
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
