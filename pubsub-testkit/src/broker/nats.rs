//! NATS with JetStream on a file store.

use std::path::{Path, PathBuf};
use std::process::Command;

use super::launch::{Launch, Site};
use super::{BrokerError, BrokerKind, BrokerOptions, find};

/// Older servers lack parts of JetStream that the adapter uses; Debian 12 packages 2.9.
const OLDEST: (u32, u32) = (2, 11);

#[derive(Debug)]
struct Nats {
    server: PathBuf,
}

pub(super) fn find() -> Result<Box<dyn Launch>, BrokerError> {
    let missing = |looked_for: String| BrokerError::Missing { kind: BrokerKind::Nats, looked_for };
    let server = find::program("nats-server", &[]).ok_or_else(|| missing("nats-server".into()))?;
    let version = version(&server)?;
    let numbers: Vec<u32> = version.split('.').map_while(|number| number.parse().ok()).collect();
    match numbers[..] {
        [major, minor, ..] if (major, minor) >= OLDEST => Ok(Box::new(Nats { server })),
        _ => Err(missing(format!("nats-server {}.{} or newer and found \"{version}\"", OLDEST.0, OLDEST.1))),
    }
}

/// `nats-server: v2.15.1` → `2.15.1`
fn version(server: &Path) -> Result<String, BrokerError> {
    let output = Command::new(server).arg("--version").output().map_err(BrokerError::path("run", server))?;
    let text = String::from_utf8_lossy(&output.stdout);
    Ok(text.trim().rsplit('v').next().unwrap_or_default().to_owned())
}

impl Launch for Nats {
    fn prepare(&self, _: &Site, _: &BrokerOptions) -> Result<(), BrokerError> {
        Ok(())
    }

    fn commands(&self, site: &Site, options: &BrokerOptions) -> Vec<Command> {
        let mut command = Command::new(&self.server);
        command.args(["-a", "127.0.0.1", "-p", &site.port(0), "-js", "-sd"]).arg(site.data());
        if let Some((user, password)) = &options.credentials {
            command.args(["--user", user, "--pass", password]);
        }
        command.args(&options.extra);
        vec![command]
    }
}
