//! Where the programs of the brokers are.

use std::env;
use std::path::{Path, PathBuf};

use super::BrokerKind;

/// The server named by the environment, for tests that only need one that runs.
/// Tests that stop and kill brokers cannot use it: it is not theirs.
#[must_use]
pub fn url_from_environment(kind: BrokerKind) -> Option<String> {
    env::var(kind.url_variable()).ok().filter(|url| !url.is_empty())
}

/// Whether `PUBSUB_TEST_REQUIRE` makes the absence of this broker a failure: it is `all` or a list of names.
#[must_use]
pub fn is_required(kind: BrokerKind) -> bool {
    let required = env::var("PUBSUB_TEST_REQUIRE").unwrap_or_default();
    required.split(',').map(str::trim).any(|name| name == "all" || name == kind.name())
}

/// The folder into which `cargo xtask` puts what it fetches: `PUBSUB_BROKERS_DIR`, or `brokers` in the target folder.
#[must_use]
pub fn tools_folder() -> Option<PathBuf> {
    if let Some(folder) = env::var_os("PUBSUB_BROKERS_DIR") {
        return Some(folder.into());
    }
    if let Some(target) = env::var_os("CARGO_TARGET_DIR") {
        return Some(Path::new(&target).join("brokers"));
    }
    let program = env::current_exe().ok()?;
    program.ancestors().map(|folder| folder.join("brokers")).find(|folder| folder.is_dir())
}

/// The first of these programs in the tools folder, in `likely` folders or on `PATH`.
#[must_use]
pub fn program(name: &str, likely: &[&str]) -> Option<PathBuf> {
    // System folders are not on every user's PATH.
    const SYSTEM: [&str; 2] = ["/usr/sbin", "/usr/local/sbin"];
    let path = env::var_os("PATH").unwrap_or_default();
    tools_folder()
        .map(|folder| folder.join("bin"))
        .into_iter()
        .chain(likely.iter().map(PathBuf::from))
        .chain(env::split_paths(&path))
        .chain(SYSTEM.iter().map(PathBuf::from))
        .map(|folder| folder.join(name))
        .find(|file| is_executable(file))
}

fn is_executable(file: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt;
    file.metadata().is_ok_and(|found| found.is_file() && found.permissions().mode() & 0o111 != 0)
}
