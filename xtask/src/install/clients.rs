//! Plain clients of the brokers, to which the tests of interoperability speak: `redis-cli`, and packages of Python in an
//! environment of their own. Kafka brings its own.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use super::{Consent, apt, runs};
use crate::Fault;
use crate::log::Log;
use crate::report::{Counts, Outcome, Verdict};
use crate::workspace::Workspace;

/// All of them with what they need, so that nothing changes by itself.
const PACKAGES: &[&str] = &[
    "cloudevents==2.2.0",
    "deprecation==2.1.0",
    "nats-py==2.16.0",
    "packaging==26.4",
    "pika==1.4.4",
    "python-dateutil==4.0.0",
    "tzdata==2026.6",
];
const LIMIT: Duration = Duration::from_secs(5 * 60);

/// Gets what is missing.
pub(crate) fn ensure(workspace: &Workspace, consent: Consent, log: &mut Log) -> Outcome {
    let packages = missing(runs);
    if !packages.is_empty() {
        apt::install_with(consent, &packages, log)
            .map_err(|fault| format!("the plain clients are redis-cli and packages of Python 3: {fault}"))?;
    }
    let folder = workspace.brokers_folder().join("python");
    let wanted = PACKAGES.join("\n");
    // Written last: what is there only in part is made anew.
    let stamp = folder.join("packages.txt");
    if fs::read_to_string(&stamp).is_ok_and(|there| there == wanted) {
        return noted("all on the machine");
    }
    make(&folder, log)?;
    fs::write(stamp, wanted)?;
    noted("got the packages of Python")
}

fn make(folder: &Path, log: &mut Log) -> Result<(), Fault> {
    fs::create_dir_all(folder)?;
    log.run(Command::new("python3").args(["-m", "venv", "--clear"]).arg(folder), LIMIT)?;
    let mut install = Command::new(folder.join("bin/python3"));
    install.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps"]);
    install.args(["--only-binary", ":all:"]).args(PACKAGES);
    log.run(&mut install, LIMIT)
}

fn noted(text: &str) -> Outcome {
    Ok((Verdict::Noted(text.into()), Counts::default()))
}

/// What is missing, by Debian's packages.
fn missing(runs: impl Fn(&str, &[&str]) -> bool) -> Vec<&'static str> {
    let mut packages = Vec::new();
    if !runs("python3", &["-c", "import venv, ensurepip"]) {
        packages.push("python3-venv");
    }
    if !runs("redis-cli", &["--version"]) {
        packages.push("redis-tools");
    }
    packages
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_is_named_by_its_package() {
        assert!(missing(|_, _| true).is_empty());
        assert_eq!(missing(|program, _| program != "python3"), ["python3-venv"]);
        assert_eq!(missing(|program, _| program != "redis-cli"), ["redis-tools"]);
    }
}
