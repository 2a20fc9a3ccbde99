//! `cargo deny`: licences, duplicate versions and sources of everything we depend on; see `deny.toml`.

use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use super::{LIMIT, noted, passed};
use crate::Fault;
use crate::log::Log;
use crate::report::Outcome;
use crate::workspace::Workspace;

const VERSION: &str = "0.20.2";
/// Without internet a fetch may wait for ever.
const FETCH: Duration = Duration::from_secs(45);

pub(crate) fn check(workspace: &Workspace, log: &mut Log) -> Outcome {
    let program = installed(workspace, log)?;
    let deny = || {
        let mut command = Command::new(&program);
        command.current_dir(&workspace.root).args(["--color", "never", "--all-features"]);
        command
    };
    log.run(deny().args(["check", "licenses", "bans", "sources"]), LIMIT)?;
    if !log.try_run(deny().args(["fetch", "db"]), FETCH).is_ok_and(|status| status.success()) {
        return Ok(noted("advisories not checked: their database cannot be fetched from here"));
    }
    log.run(deny().args(["check", "--disable-fetch", "advisories"]), LIMIT)?;
    Ok(passed())
}

fn installed(workspace: &Workspace, log: &mut Log) -> Result<PathBuf, Fault> {
    let tools = workspace.target.join("tools");
    let ours = tools.join("bin/cargo-deny");
    for program in [ours.clone(), PathBuf::from("cargo-deny")] {
        if Command::new(&program).arg("--version").output().is_ok_and(|output| output.status.success()) {
            return Ok(program);
        }
    }
    let mut command = workspace.cargo();
    // Unoptimised: it is built more often than it has work worth optimising for.
    command.args(["install", "--debug", "--locked", "cargo-deny", "--version", VERSION, "--root"]).arg(tools);
    log.run(&mut command, LIMIT)?;
    Ok(ours)
}
