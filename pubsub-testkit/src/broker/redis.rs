//! Redis with its append-only file on; no configuration file is read.

use std::path::PathBuf;
use std::process::Command;

use super::launch::{Launch, Site};
use super::{BrokerError, BrokerKind, BrokerOptions, find};

#[derive(Debug)]
struct Redis {
    server: PathBuf,
}

pub(super) fn find() -> Result<Box<dyn Launch>, BrokerError> {
    match find::program("redis-server", &[]) {
        Some(server) => Ok(Box::new(Redis { server })),
        None => Err(BrokerError::Missing { kind: BrokerKind::Redis, looked_for: "redis-server".into() }),
    }
}

impl Launch for Redis {
    fn prepare(&self, _: &Site, _: &BrokerOptions) -> Result<(), BrokerError> {
        Ok(())
    }

    fn commands(&self, site: &Site, options: &BrokerOptions) -> Vec<Command> {
        let mut command = Command::new(&self.server);
        command
            .args(["--port", &site.port(0), "--bind", "127.0.0.1", "--appendonly", "yes", "--save", ""])
            .args(["--appendfsync", if options.fsync_always { "always" } else { "everysec" }])
            .arg("--dir")
            .arg(site.data());
        if let Some((_, password)) = &options.credentials {
            command.args(["--requirepass", password]);
        }
        command.args(&options.extra);
        vec![command]
    }
}
