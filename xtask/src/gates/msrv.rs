//! The oldest Rust that the manifest promises.

use std::process::Command;

use super::{LIMIT, noted};
use crate::Fault;
use crate::log::Log;
use crate::report::{Counts, Outcome, Verdict};
use crate::workspace::{FACADE, Workspace};

pub(crate) fn check(workspace: &Workspace, log: &mut Log) -> Outcome {
    let promised = workspace.package(FACADE)?["rust_version"].as_str().ok_or("no rust-version")?.to_owned();
    if is_version(&output("rustc", &["--version"])?.replace("rustc ", ""), &promised) {
        log.run(workspace.cargo().args(["check", "--workspace", "--all-targets", "--all-features"]), LIMIT)?;
        return Ok(noted(format!("Rust {promised} is the one in use")));
    }
    let toolchains = output("rustup", &["toolchain", "list"]).unwrap_or_default();
    let Some(toolchain) = toolchains.lines().find(|line| is_version(line, &promised)) else {
        let note = format!("rustup has no toolchain {promised}: `rustup toolchain install {promised}`");
        return Ok((Verdict::Absent(note), Counts::default()));
    };
    let name = toolchain.split_whitespace().next().unwrap_or_default();
    let mut command = Command::new("rustup");
    command.current_dir(&workspace.root).args(["run", name, "cargo", "check", "--workspace", "--all-features"]);
    // Set by the cargo that runs this program; they would lead back to its own toolchain.
    command.env_remove("RUSTUP_TOOLCHAIN").env_remove("CARGO").env("CARGO_TERM_COLOR", "never");
    log.run(&mut command, LIMIT)?;
    Ok(noted(format!("checked with {name}")))
}

/// Whether `1.95.0-x86_64-…` is a `1.95`.
fn is_version(text: &str, promised: &str) -> bool {
    text.strip_prefix(promised).is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '-', ' ']))
}

fn output(program: &str, arguments: &[&str]) -> Result<String, Fault> {
    let output = Command::new(program).args(arguments).output()?;
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_promised_version_counts() {
        assert!(is_version("1.95.0 (59807616e 2026-03-21)", "1.95"));
        assert!(is_version("1.95-x86_64-unknown-linux-gnu", "1.95"));
        assert!(!is_version("1.96.0", "1.95"));
        assert!(!is_version("1.950.0", "1.95"));
        assert!(!is_version("stable-x86_64-unknown-linux-gnu", "1.95"));
    }
}
