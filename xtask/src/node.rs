//! Packages of tests for Node. They lie in the tree; what they depend on is installed into a copy under `target`.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use crate::Fault;
use crate::log::Log;
use crate::report::{Counts, Outcome, Verdict};

const LOCK: &str = "package-lock.json";
const INSTALL: Duration = Duration::from_secs(5 * 60);
const RUN: Duration = Duration::from_secs(10 * 60);

pub(crate) struct Package {
    /// Where it lies in the tree.
    pub(crate) source: PathBuf,
    /// Its copy, which nothing else is in.
    pub(crate) home: PathBuf,
    /// The folders that it consists of, beside its manifest and its lock file.
    pub(crate) folders: &'static [&'static str],
}

impl Package {
    /// Runs its tests with these environment variables.
    pub(crate) fn test(&self, variables: &[(&str, PathBuf)], log: &mut Log) -> Outcome {
        self.prepare(log)?;
        let mut tests = Command::new("npm");
        tests.current_dir(&self.home).args(["test", "--silent"]).env("FORCE_COLOR", "0");
        tests.envs(variables.iter().map(|(name, value)| (name, value)));
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
    fn prepare(&self, log: &mut Log) -> Result<(), Fault> {
        let Self { source, home, folders } = self;
        for folder in *folders {
            copy(&source.join(folder), &home.join(folder))?;
        }
        let wanted = fs::read(source.join(LOCK))?;
        fs::copy(source.join("package.json"), home.join("package.json"))?;
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
}

fn copy(from: &Path, to: &Path) -> Result<(), Fault> {
    if to.exists() {
        // A test that is no longer there must not run.
        fs::remove_dir_all(to)?;
    }
    fs::create_dir_all(to)?;
    for file in fs::read_dir(from)? {
        let file = file?;
        fs::copy(file.path(), to.join(file.file_name()))?;
    }
    Ok(())
}

/// What the runner of Node says last: lines such as `ℹ pass 12`, or `# pass 12` where nobody looks on.
fn counts(log: &str) -> Counts {
    let number = |what: &str| {
        let mut lines = log.lines().rev().filter_map(|line| {
            let line = line.strip_prefix("ℹ ").or_else(|| line.strip_prefix("# "))?;
            line.strip_prefix(what)
        });
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
        assert_eq!(counts(&log.replace('ℹ', "#")), Counts { passed: 4, failed: 2, ignored: 2 });
        assert_eq!(counts("npm error\n"), Counts::default());
    }
}
