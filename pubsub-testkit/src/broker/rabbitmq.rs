//! RabbitMQ with a port mapper (`epmd`) of its own, so that nothing is shared with, or left to, the machine.

use std::fs;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use super::handshake::{Endpoint, handshake_at};
use super::launch::{Launch, Site};
use super::{BrokerError, BrokerKind, BrokerOptions, HandshakeError, Listener, Security, ServerInfo, find};

/// Debian's `rabbitmq-server` on PATH is a wrapper that changes user and folder; this is the program behind it.
const DEBIAN_PROGRAMS: &str = "/usr/lib/rabbitmq/bin";
const ERLANG_PROGRAMS: &str = "/usr/lib/erlang/bin";

const DISTRIBUTION: usize = 1;
const PORT_MAPPER: usize = 2;
/// The port without TLS of a server that has one with it.
const PLAIN: usize = 3;

#[derive(Debug)]
struct RabbitMq {
    server: PathBuf,
    epmd: PathBuf,
}

pub(super) fn find() -> Result<Box<dyn Launch>, BrokerError> {
    let missing = |name: &str| BrokerError::Missing { kind: BrokerKind::RabbitMq, looked_for: name.into() };
    let server = find::program("rabbitmq-server", &[DEBIAN_PROGRAMS]).ok_or_else(|| missing("rabbitmq-server"))?;
    let epmd = find::program("epmd", &[ERLANG_PROGRAMS]).ok_or_else(|| missing("epmd"))?;
    Ok(Box::new(RabbitMq { server, epmd }))
}

impl Launch for RabbitMq {
    fn ports(&self, options: &BrokerOptions) -> usize {
        if options.security.is_some() { PLAIN + 1 } else { PORT_MAPPER + 1 }
    }

    fn port_of(&self, listener: Listener) -> Option<usize> {
        match listener {
            Listener::Tls => Some(0),
            Listener::Plain => Some(PLAIN),
            Listener::TlsAlone => None,
        }
    }

    fn probe(&self, site: &Site, options: &BrokerOptions, within: Duration) -> Result<ServerInfo, HandshakeError> {
        handshake_at(BrokerKind::RabbitMq, &Endpoint::of(plain_address(site), options), within)
    }

    fn prepare(&self, site: &Site, options: &BrokerOptions) -> Result<(), BrokerError> {
        let mut settings = format!("listeners.tcp.1 = {}\n", plain_address(site));
        if let Some((user, password)) = &options.credentials {
            settings += &format!("default_user = {user}\ndefault_pass = {password}\n");
        }
        settings += &options.security.as_ref().map(|security| secured(site, security)).unwrap_or_default();
        for line in &options.extra {
            settings += line;
            settings.push('\n');
        }
        site.write("rabbitmq.conf", &settings)?;
        site.write("enabled_plugins", "[].\n")?;
        Ok(())
    }

    fn tool(&self, site: &Site, arguments: &[&str]) -> Option<Command> {
        let folder = self.server.parent().unwrap_or(Path::new(DEBIAN_PROGRAMS));
        let mut command = Command::new(folder.join("rabbitmqctl"));
        command
            .current_dir(&site.home)
            .env("HOME", &site.home)
            .env("ERL_EPMD_PORT", site.port(PORT_MAPPER))
            .env("ERL_EPMD_ADDRESS", "127.0.0.1")
            .env("RABBITMQ_CONF_ENV_FILE", site.home.join("no-rabbitmq-env.conf"))
            .args(["-q", "-n", &node(site)])
            .args(arguments);
        Some(command)
    }

    /// Quorum queues, and what knows the streams, have a folder each and are in a table of names. What is in no table is
    /// begun anew when the server starts, and before version 3.13.3 the tables are written a moment later.
    fn is_settled(&self, site: &Site) -> io::Result<bool> {
        let node = node(site);
        for system in ["quorum", "coordination"] {
            let folder = site.data().join(&node).join(system).join(&node);
            if !folder.exists() {
                continue;
            }
            let names = fs::read(folder.join("names.dets"))?;
            for entry in fs::read_dir(&folder)? {
                let entry = entry?;
                let name = entry.file_name().into_encoded_bytes();
                let is_named = names.windows(name.len().max(1)).any(|there| there == name);
                if entry.file_type()?.is_dir() && !is_named {
                    return Ok(false);
                }
            }
        }
        Ok(true)
    }

    fn commands(&self, site: &Site, _: &BrokerOptions) -> Vec<Command> {
        // In the foreground and in our process group; left to itself the server would start a daemon that outlives it.
        let mut epmd = Command::new(&self.epmd);
        epmd.args(["-port", &site.port(PORT_MAPPER), "-address", "127.0.0.1"]);

        let mut server = Command::new(&self.server);
        server
            .current_dir(&site.home)
            .env("HOME", &site.home)
            .env("ERL_EPMD_PORT", site.port(PORT_MAPPER))
            .env("ERL_EPMD_ADDRESS", "127.0.0.1")
            .env("RABBITMQ_NODENAME", node(site))
            .env("RABBITMQ_DIST_PORT", site.port(DISTRIBUTION))
            .env("RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS", "-kernel inet_dist_use_interface {127,0,0,1}")
            .env("RABBITMQ_MNESIA_BASE", site.data())
            .env("RABBITMQ_LOG_BASE", site.home.join("log"))
            .env("RABBITMQ_LOGS", "-")
            .env("RABBITMQ_CONFIG_FILE", site.home.join("rabbitmq.conf"))
            .env("RABBITMQ_CONF_ENV_FILE", site.home.join("no-rabbitmq-env.conf"))
            .env("RABBITMQ_ENABLED_PLUGINS_FILE", site.home.join("enabled_plugins"))
            // Makes the start script become the server instead of staying its parent, so signals reach the server.
            .env("RUNNING_UNDER_SYSTEMD", "true")
            .env_remove("NOTIFY_SOCKET")
            .env_remove("RABBITMQ_NODE_PORT")
            .env_remove("RABBITMQ_NODE_IP_ADDRESS");
        vec![epmd, server]
    }
}

fn node(site: &Site) -> String {
    format!("pubsub-{}@localhost", site.port(0))
}

fn plain_address(site: &Site) -> SocketAddr {
    site.addresses.get(PLAIN).copied().unwrap_or(site.client_address())
}

/// A listener with TLS, and one user instead of `guest`.
fn secured(site: &Site, security: &Security) -> String {
    let Security { certificates, user, password } = security;
    format!(
        "\
listeners.ssl.1 = {address}
ssl_options.cacertfile = {authority}
ssl_options.certfile = {server}
ssl_options.keyfile = {key}
ssl_options.verify = verify_none
ssl_options.fail_if_no_peer_cert = false
default_user = {user}
default_pass = {password}
",
        address = site.client_address(),
        authority = certificates.authority().display(),
        server = certificates.server().display(),
        key = certificates.server_key().display(),
    )
}
