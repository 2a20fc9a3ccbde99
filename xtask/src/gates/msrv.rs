//! The oldest Rust that the manifest promises.

use std::process::Command;

use super::{LIMIT, noted};
use crate::Fault;
use crate::install::Consent;
use crate::log::Log;
use crate::report::Outcome;
use crate::workspace::{FACADE, Workspace};

/// A toolchain that is missing is installed, or the gate fails: no check is no pass.
pub(crate) fn check(workspace: &Workspace, consent: Consent, log: &mut Log) -> Outcome {
    let promised = workspace.package(FACADE)?["rust_version"].as_str().ok_or("no rust-version")?.to_owned();
    if is_version(&output("rustc", &["--version"])?.replace("rustc ", ""), &promised) {
        log.run(workspace.cargo().args(["check", "--workspace", "--all-targets", "--all-features"]), LIMIT)?;
        return Ok(noted(format!("Rust {promised} is the one in use")));
    }
    let name = match installed(&promised) {
        Some(name) => name,
        None if consent == Consent::Given => {
            let mut install = Command::new("rustup");
            log.run(install.args(["toolchain", "install", "--profile", "minimal", &promised]), LIMIT)?;
            installed(&promised).ok_or(format!("rustup installed no toolchain {promised}"))?
        }
        None => {
            let text = format!("needs Rust {promised}: `rustup toolchain install {promised}`, or allow it with --yes");
            return Err(text.into());
        }
    };
    let mut command = Command::new("rustup");
    command.current_dir(&workspace.root).args(["run", &name, "cargo", "check", "--workspace", "--all-features"]);
    // Set by the cargo that runs this program; they would lead back to its own toolchain.
    command.env_remove("RUSTUP_TOOLCHAIN").env_remove("CARGO").env("CARGO_TERM_COLOR", "never");
    log.run(&mut command, LIMIT)?;
    Ok(noted(format!("checked with {name}")))
}

/// The name of the toolchain of this version, if rustup has one.
fn installed(promised: &str) -> Option<String> {
    named(&output("rustup", &["toolchain", "list"]).ok()?, promised)
}

/// The first toolchain of this version in what rustup lists.
fn named(list: &str, promised: &str) -> Option<String> {
    let line = list.lines().find(|line| is_version(line, promised))?;
    line.split_whitespace().next().map(str::to_owned)
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
    fn the_toolchain_is_found_in_the_list() {
        let list = "stable-x86_64-unknown-linux-gnu (default)\n1.95.0-x86_64-unknown-linux-gnu (active)\n";
        assert_eq!(named(list, "1.95").as_deref(), Some("1.95.0-x86_64-unknown-linux-gnu"));
        assert_eq!(named(list, "1.94"), None);
    }

    #[test]
    fn only_the_promised_version_counts() {
        assert!(is_version("1.95.0 (59807616e 2026-03-21)", "1.95"));
        assert!(is_version("1.95-x86_64-unknown-linux-gnu", "1.95"));
        assert!(!is_version("1.96.0", "1.95"));
        assert!(!is_version("1.950.0", "1.95"));
        assert!(!is_version("stable-x86_64-unknown-linux-gnu", "1.95"));
    }
}
