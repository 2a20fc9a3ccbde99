//! Redis with its append-only file on; no configuration file is read.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use super::handshake::{Endpoint, handshake_at};
use super::launch::{Launch, Site};
use super::{BrokerError, BrokerKind, BrokerOptions, HandshakeError, Listener, Security, ServerInfo, find};

/// The port without TLS of a server that has one with it.
const PLAIN: usize = 1;

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
    fn ports(&self, options: &BrokerOptions) -> usize {
        if options.security.is_some() { PLAIN + 1 } else { 1 }
    }

    fn port_of(&self, listener: Listener) -> Option<usize> {
        match listener {
            Listener::Tls => Some(0),
            Listener::Plain => Some(PLAIN),
            Listener::TlsAlone => None,
        }
    }

    fn probe(&self, site: &Site, options: &BrokerOptions, within: Duration) -> Result<ServerInfo, HandshakeError> {
        handshake_at(BrokerKind::Redis, &Endpoint::of(plain_address(site), options), within)
    }

    fn prepare(&self, _: &Site, _: &BrokerOptions) -> Result<(), BrokerError> {
        Ok(())
    }

    fn commands(&self, site: &Site, options: &BrokerOptions) -> Vec<Command> {
        let mut command = Command::new(&self.server);
        command
            .args([
                "--port",
                &plain_address(site).port().to_string(),
                "--bind",
                "127.0.0.1",
                "--appendonly",
                "yes",
                "--save",
                "",
            ])
            .args(["--appendfsync", if options.fsync_always { "always" } else { "everysec" }])
            .arg("--dir")
            .arg(site.data())
            .args(options.security.iter().flat_map(|security| secured(site, security)));
        if let Some((_, password)) = &options.credentials {
            command.args(["--requirepass", password]);
        }
        command.args(&options.extra);
        vec![command]
    }
}

fn plain_address(site: &Site) -> SocketAddr {
    site.addresses.get(PLAIN).copied().unwrap_or(site.client_address())
}

/// A listener with TLS, and one user instead of the default one, who needs no password.
fn secured(site: &Site, security: &Security) -> Vec<String> {
    let Security { certificates, user, password } = security;
    let mut arguments: Vec<String> = Vec::new();
    for (name, value) in [
        ("--tls-port", site.port(0)),
        ("--tls-cert-file", certificates.server().display().to_string()),
        ("--tls-key-file", certificates.server_key().display().to_string()),
        ("--tls-ca-cert-file", certificates.authority().display().to_string()),
        ("--tls-auth-clients", "no".to_owned()),
    ] {
        arguments.extend([name.to_owned(), value]);
    }
    arguments.extend(["--user", "default", "off", "--user", user, "on"].map(str::to_owned));
    arguments.extend([format!(">{password}"), "~*".to_owned(), "&*".to_owned(), "+@all".to_owned()]);
    arguments
}
