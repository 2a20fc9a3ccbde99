//! Stock clients and a browser against the demonstration server: a package of tests for Node.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use crate::Fault;
use crate::install::{self, Consent};
use crate::log::Log;
use crate::report::{Counts, Outcome, Verdict};
use crate::workspace::Workspace;

const PACKAGE: &str = "pubsub-server/tests/node";
const FOLDERS: [&str; 2] = ["lib", "test"];
const LOCK: &str = "package-lock.json";
const BUILD: Duration = Duration::from_secs(20 * 60);
const INSTALL: Duration = Duration::from_secs(5 * 60);
const RUN: Duration = Duration::from_secs(10 * 60);

pub(crate) fn check(workspace: &Workspace, consent: Consent, log: &mut Log) -> Outcome {
    install::web::ensure(consent, log)?;
    let mut build = workspace.cargo();
    log.run(build.args(["build", "--workspace", "--all-features", "--example", "demo"]), BUILD)?;
    let home = workspace.target.join("web");
    prepare(&workspace.root.join(PACKAGE), &home, log)?;
    let mut tests = Command::new("npm");
    tests.current_dir(&home).args(["test", "--silent"]).env("FORCE_COLOR", "0");
    tests.env("PUBSUB_DEMO", workspace.target.join("debug/examples/demo"));
    let ended = log.try_run(&mut tests, RUN)?;
    let counts = counts(&log.text());
    let verdict = if ended.success() && counts.passed > 0 {
        Verdict::Passed
    } else {
        Verdict::Failed(format!("the tests of Node ended with {ended}"))
    };
    Ok((verdict, counts))
}

/// Copies the package to where its dependencies may lie, and gets those that its lock file names.
fn prepare(package: &Path, home: &Path, log: &mut Log) -> Result<(), Fault> {
    for folder in FOLDERS {
        let (from, to) = (package.join(folder), home.join(folder));
        if to.exists() {
            // A test that is no longer there must not run.
            fs::remove_dir_all(&to)?;
        }
        fs::create_dir_all(&to)?;
        for file in fs::read_dir(from)? {
            let file = file?;
            fs::copy(file.path(), to.join(file.file_name()))?;
        }
    }
    let wanted = fs::read(package.join(LOCK))?;
    fs::copy(package.join("package.json"), home.join("package.json"))?;
    // Written last: what is there only in part is got anew.
    let stamp = home.join("node_modules").join("complete");
    if fs::read(&stamp).is_ok_and(|there| there == wanted) {
        return Ok(());
    }
    fs::write(home.join(LOCK), &wanted)?;
    let mut install = Command::new("npm");
    install.current_dir(home).args(["ci", "--ignore-scripts", "--no-audit", "--no-fund"]);
    log.run(&mut install, INSTALL)?;
    Ok(fs::write(stamp, wanted)?)
}

/// What the runner of Node says last: lines such as `ℹ pass 12`.
fn counts(log: &str) -> Counts {
    let number = |what: &str| {
        let mut lines = log.lines().rev().filter_map(|line| line.strip_prefix("ℹ ")?.strip_prefix(what));
        lines.find_map(|rest| rest.trim().parse::<u64>().ok()).unwrap_or_default()
    };
    Counts {
        passed: number("pass "),
        failed: number("fail ") + number("cancelled "),
        ignored: number("skipped ") + number("todo "),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_are_read() {
        let log =
            "✔ one (3ms)\n✖ pass 9\nℹ tests 8\nℹ suites 0\nℹ pass 4\nℹ fail 1\nℹ cancelled 1\nℹ skipped 2\nℹ todo 0\n";
        assert_eq!(counts(log), Counts { passed: 4, failed: 2, ignored: 2 });
        assert_eq!(counts("npm error\n"), Counts::default());
    }
}
