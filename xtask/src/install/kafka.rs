//! Kafka's jars by Maven, from the coordinates in `kafka-pom.xml`.

use std::fs;
use std::process::Command;
use std::time::Duration;

use crate::Fault;
use crate::log::Log;
use crate::workspace::Workspace;

const LIMIT: Duration = Duration::from_secs(15 * 60);

pub(super) fn fetch(workspace: &Workspace, log: &mut Log) -> Result<(), Fault> {
    let (jars, scratch) = (workspace.brokers_folder().join("kafka"), workspace.brokers_folder().join("kafka-jars"));
    fs::remove_dir_all(&jars).ok();
    fs::remove_dir_all(&scratch).ok();
    let mut command = Command::new("mvn");
    command.args(["--batch-mode", "--quiet", "--file"]).arg(workspace.root.join("xtask/kafka-pom.xml"));
    command.arg("dependency:copy-dependencies").arg(format!("-DoutputDirectory={}", scratch.display()));
    log.run(&mut command, LIMIT)?;
    // Only a whole set of jars gets the name that is looked for.
    Ok(fs::rename(scratch, jars)?)
}
