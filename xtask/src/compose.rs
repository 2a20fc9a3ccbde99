//! Docker Compose as a source of servers, for machines that have an engine but not the programs.

use std::io;
use std::net::TcpListener;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;

use pubsub_testkit::broker::BrokerKind;

use crate::Fault;
use crate::log::Log;
use crate::workspace::Workspace;

const LIMIT: Duration = Duration::from_secs(10 * 60);
const PROJECT: &str = "pubsub-tests";

/// The client alone proves nothing: only the engine can start a container.
pub(crate) fn engine_answers() -> bool {
    let mut command = Command::new("docker");
    command.args(["version", "--format", "{{.Server.Version}}"]);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command.status().is_ok_and(|status| status.success())
}

/// Starts these servers of `compose.yaml` and returns their URLs.
pub(crate) fn up(
    workspace: &Workspace,
    kinds: &[BrokerKind],
    log: &mut Log,
) -> Result<Vec<(BrokerKind, String)>, Fault> {
    let mut command = compose();
    command.arg("--file").arg(file(workspace)).args(["up", "--detach", "--wait"]);
    let mut urls = Vec::new();
    for kind in kinds {
        let port = free_port()?;
        let variable = kind.url_variable().replace("TEST_", "").replace("_URL", "_PORT");
        command.env(variable, port.to_string()).arg(kind.name());
        let scheme = if *kind == BrokerKind::RabbitMq { "amqp" } else { kind.name() };
        urls.push((*kind, format!("{scheme}://127.0.0.1:{port}")));
    }
    log.run(&mut command, LIMIT)?;
    Ok(urls)
}

pub(crate) fn down(log: &mut Log) -> Result<(), Fault> {
    log.run(compose().args(["down", "--volumes"]), LIMIT)
}

fn compose() -> Command {
    let mut command = Command::new("docker");
    command.args(["compose", "--project-name", PROJECT]);
    command
}

fn file(workspace: &Workspace) -> PathBuf {
    workspace.root.join("compose.yaml")
}

fn free_port() -> io::Result<u16> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}
