//! Where the programs are, and as whom they run.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;

use rustix::process::geteuid;

use super::PostgresError;
use crate::broker::find;

/// The user that Debian's package makes.
const USER: &str = "postgres";

#[derive(Debug)]
pub(super) struct Programs {
    initdb: PathBuf,
    postgres: PathBuf,
}

impl Programs {
    pub(super) fn find() -> Result<Self, PostgresError> {
        // Debian keeps those of each version in a folder of its own, off the PATH.
        let mut versions: Vec<(u32, String)> = fs::read_dir("/usr/lib/postgresql")
            .into_iter()
            .flatten()
            .flatten()
            .filter_map(|entry| {
                let version = entry.file_name().to_str()?.parse().ok()?;
                Some((version, entry.path().join("bin").to_str()?.to_owned()))
            })
            .collect();
        versions.sort_unstable_by_key(|(version, _)| std::cmp::Reverse(*version));
        let likely: Vec<&str> = versions.iter().map(|(_, folder)| folder.as_str()).collect();
        let missing = |name: &str| PostgresError::Missing { looked_for: name.to_owned() };
        let initdb = find::program("initdb", &likely).ok_or_else(|| missing("initdb"))?;
        // Of the same version.
        let beside = initdb.with_file_name("postgres");
        if !beside.is_file() {
            return Err(missing("postgres"));
        }
        Ok(Self { initdb, postgres: beside })
    }

    /// Lets the programs write into this folder.
    pub(super) fn own(&self, folder: &Path) -> Result<(), PostgresError> {
        if !geteuid().is_root() {
            return Ok(());
        }
        let mut chown = Command::new("chown");
        output(chown.arg(USER).arg(folder), "chown")
    }

    pub(super) fn make_cluster(&self, home: &Path) -> Result<(), PostgresError> {
        let mut command = as_user(&self.initdb);
        command.args([
            "--auth=trust",
            "--encoding=UTF8",
            "--no-locale",
            "--no-sync",
            "--username=postgres",
            "--pgdata",
        ]);
        output(command.arg(data(home)).current_dir(home), "initdb")
    }

    pub(super) fn server(&self, home: &Path, address: SocketAddr, settings: &[String]) -> Command {
        let mut command = as_user(&self.postgres);
        command.arg("-D").arg(data(home)).arg("-p").arg(address.port().to_string());
        // Also its socket, which would otherwise lie where Debian's own server has it.
        command.arg("-k").arg(home).args(["-c", "listen_addresses=127.0.0.1"]);
        for setting in settings {
            command.args(["-c", setting]);
        }
        command.current_dir(home);
        command
    }
}

fn data(home: &Path) -> PathBuf {
    home.join("data")
}

/// As the user of the package, if this process is root: the programs refuse to run as such.
fn as_user(program: &Path) -> Command {
    if !geteuid().is_root() {
        return Command::new(program);
    }
    let mut command = Command::new("setpriv");
    command.args(["--reuid", USER, "--regid", USER, "--clear-groups", "--"]).arg(program);
    command
}

fn output(command: &mut Command, program: &'static str) -> Result<(), PostgresError> {
    let output = command.output().map_err(PostgresError::io("run its programs"))?;
    if output.status.success() {
        return Ok(());
    }
    let text = String::from_utf8_lossy(&output.stderr).trim().to_owned();
    Err(PostgresError::Failed { program, output: text })
}
