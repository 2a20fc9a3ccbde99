//! NATS with JetStream on a file store.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use serde_json::{Map, Value, json};

use super::handshake::{self, Endpoint, handshake_at};
use super::launch::{Launch, Site};
use super::{BrokerError, BrokerKind, BrokerOptions, HandshakeError, Listener, Security, ServerInfo, find};

/// Older servers lack parts of JetStream that the adapter uses; Debian 12 packages 2.9.
const OLDEST: (u32, u32) = (2, 11);

/// The port at which a server tells its health that does not let this crate in.
const MONITOR: usize = 1;
const SETTINGS: &str = "nats.conf";

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
    fn ports(&self, options: &BrokerOptions) -> usize {
        if options.security.is_some() || options.monitored { MONITOR + 1 } else { 1 }
    }

    fn port_of(&self, listener: Listener) -> Option<usize> {
        (listener == Listener::Tls).then_some(0)
    }

    fn probe(&self, site: &Site, options: &BrokerOptions, within: Duration) -> Result<ServerInfo, HandshakeError> {
        match site.addresses.get(MONITOR) {
            Some(monitor) => handshake::monitored(*monitor, within),
            None => handshake_at(BrokerKind::Nats, &Endpoint::of(site.client_address(), options), within),
        }
    }

    fn prepare(&self, site: &Site, options: &BrokerOptions) -> Result<(), BrokerError> {
        let mut settings = Map::new();
        if let Some(Security { certificates, user, password }) = &options.security {
            settings.insert("http".into(), json!(format!("127.0.0.1:{}", site.port(MONITOR))));
            settings.insert("authorization".into(), json!({ "user": user, "password": password }));
            let tls = json!({ "cert_file": certificates.server(), "key_file": certificates.server_key() });
            settings.insert("tls".into(), tls);
        }
        if let Some(room) = options.room {
            settings.insert("jetstream".into(), json!({ "max_file_store": room }));
        }
        // Its configuration language takes JSON.
        site.write(SETTINGS, &Value::from(settings).to_string()).map(drop)
    }

    fn commands(&self, site: &Site, options: &BrokerOptions) -> Vec<Command> {
        let mut command = Command::new(&self.server);
        command.args(["-a", "127.0.0.1", "-p", &site.port(0), "-js", "-sd"]).arg(site.data());
        if let Some((user, password)) = &options.credentials {
            command.args(["--user", user, "--pass", password]);
        }
        if options.security.is_some() || options.room.is_some() {
            command.arg("-c").arg(site.home.join(SETTINGS));
        }
        if options.monitored && options.security.is_none() {
            command.args(["-m", &site.port(MONITOR)]);
        }
        command.args(&options.extra);
        vec![command]
    }
}
