//! Plain clients that the tests of interoperability speak to: two Python packages beside the brokers' own tools.

use std::fs;
use std::process::Command;
use std::time::Duration;

use super::{Consent, apt, runs};
use crate::Fault;
use crate::log::Log;
use crate::report::{Counts, Outcome, Verdict};
use crate::workspace::Workspace;

const PACKAGES: &[&str] = &["nats-py==2.16.0", "pika==1.4.4"];
const LIMIT: Duration = Duration::from_secs(5 * 60);

pub(crate) fn fetch(workspace: &Workspace, consent: Consent, log: &mut Log) -> Outcome {
    let folder = workspace.brokers_folder().join("python-clients");
    let done = folder.join("versions");
    let wanted = PACKAGES.join("\n");
    if fs::read_to_string(&done).is_ok_and(|versions| versions == wanted) {
        return Ok((Verdict::Passed, Counts::default()));
    }
    get(workspace, consent, log).map_err(|fault| format!("the Python clients: {fault}"))?;
    fs::write(done, wanted)?;
    Ok((Verdict::Passed, Counts::default()))
}

fn get(workspace: &Workspace, consent: Consent, log: &mut Log) -> Result<(), Fault> {
    let folder = workspace.brokers_folder().join("python-clients");
    if !runs("python3", &["-m", "pip", "--version"]) {
        apt::install_with(consent, &["python3-pip"], log)?;
    }
    fs::remove_dir_all(&folder).ok();
    // Into a folder of their own: a machine's Python is not ours to change.
    let mut install = Command::new("python3");
    install.args(["-m", "pip", "install", "--quiet", "--no-deps", "--only-binary", ":all:", "--target"]);
    log.run(install.arg(folder).args(PACKAGES), LIMIT)
}
