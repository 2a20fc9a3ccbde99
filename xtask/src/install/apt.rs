//! Debian and Ubuntu packages.

use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use pubsub_testkit::broker::BrokerKind;

use super::{Consent, runs};
use crate::Fault;
use crate::log::Log;

const LIMIT: Duration = Duration::from_secs(15 * 60);
/// Asked by every package before it starts a service; 101 means "do not".
const POLICY: &str = "/usr/sbin/policy-rc.d";
/// The services that come with our packages. Our servers are processes of our own.
const SERVICES: [(&str, &[&str]); 3] = [
    ("postgresql", &["postgresql.service"]),
    ("redis-server", &["redis-server.service"]),
    ("rabbitmq-server", &["rabbitmq-server.service", "epmd.socket", "epmd.service"]),
];

/// Installs the packages if that is allowed; otherwise says what is needed and how to get it.
pub(super) fn install_with(consent: Consent, packages: &[&str], log: &mut Log) -> Result<(), Fault> {
    let names = packages.join(", ");
    if !runs("apt-get", &["--version"]) {
        return Err(format!("apt-get is not on this machine; install the equivalent of {names}").into());
    }
    if !consent.allows(packages)? {
        return Err(format!("needs {names}: install them, or allow it with --yes").into());
    }
    install(packages, log)
}

/// What a broker needs from apt on this machine, beyond what is there.
pub(super) fn packages_for(kind: BrokerKind) -> Vec<&'static str> {
    let mut packages = Vec::new();
    match kind {
        BrokerKind::Redis => packages.push("redis-server"),
        BrokerKind::RabbitMq => packages.push("rabbitmq-server"),
        BrokerKind::Nats => {
            if !runs("python3", &["-m", "pip", "--version"]) {
                packages.push("python3-pip");
            }
        }
        BrokerKind::Kafka => {
            if !runs("java", &["-version"]) {
                packages.push("openjdk-17-jre-headless");
            }
            if !runs("mvn", &["--version"]) {
                packages.push("maven");
            }
        }
    }
    packages
}

/// Installs the packages without starting, now or at the next boot, the services that they bring.
fn install(packages: &[&str], log: &mut Log) -> Result<(), Fault> {
    let _policy = if is_root()? { Some(Policy::forbid_services()?) } else { None };
    // A new machine has no lists yet. Without network the lists that it has may do.
    log.try_run(apt_get().args(["update", "-qq"]), LIMIT)?;
    log.run(apt_get().args(["install", "--yes", "--no-install-recommends"]).args(packages), LIMIT)?;
    for (package, services) in SERVICES {
        if packages.contains(&package) && runs("systemctl", &["--version"]) {
            log.try_run(as_root("systemctl").arg("disable").args(services), LIMIT)?;
            if Path::new("/run/systemd/system").exists() {
                log.try_run(as_root("systemctl").arg("stop").args(services), LIMIT)?;
            }
        }
    }
    Ok(())
}

fn apt_get() -> Command {
    let mut command = as_root("env");
    command.args(["DEBIAN_FRONTEND=noninteractive", "apt-get"]);
    command
}

fn as_root(program: &str) -> Command {
    if is_root().unwrap_or(false) {
        return Command::new(program);
    }
    let mut command = Command::new("sudo");
    command.arg(program);
    command
}

fn is_root() -> io::Result<bool> {
    Ok(Command::new("id").arg("-u").output()?.stdout.starts_with(b"0\n"))
}

/// Forbids packages to start services for as long as it lives; leaves a policy that was there alone.
struct Policy {
    ours: bool,
}

impl Policy {
    fn forbid_services() -> io::Result<Self> {
        if Path::new(POLICY).exists() {
            return Ok(Self { ours: false });
        }
        fs::write(POLICY, "#!/bin/sh\nexit 101\n")?;
        fs::set_permissions(POLICY, fs::Permissions::from_mode(0o755))?;
        Ok(Self { ours: true })
    }
}

impl Drop for Policy {
    fn drop(&mut self) {
        if self.ours {
            fs::remove_file(POLICY).ok();
        }
    }
}
