//! What differs between the brokers when one is started.

use std::fmt;
use std::fs;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use super::{
    BrokerError, BrokerKind, BrokerOptions, HandshakeError, Listener, ServerInfo, kafka, nats, rabbitmq, redis,
};

/// The programs of one broker, found on this machine.
pub(crate) trait Launch: fmt::Debug + Send + Sync {
    /// How many ports it needs; the first is the one that clients use.
    fn ports(&self, options: &BrokerOptions) -> usize;

    /// Which of the ports of a secured server this listener has.
    fn port_of(&self, listener: Listener) -> Option<usize>;

    /// Asks the server whether it is ready. One with TLS answers at another port of its own.
    fn probe(&self, site: &Site, options: &BrokerOptions, within: Duration) -> Result<ServerInfo, HandshakeError>;

    /// Writes configuration and, on an empty data folder, whatever the server needs to start on it.
    fn prepare(&self, site: &Site, options: &BrokerOptions) -> Result<(), BrokerError>;

    /// The processes to start; the last one is the server, those before it are its companions.
    fn commands(&self, site: &Site, options: &BrokerOptions) -> Vec<Command>;

    /// The broker's own command-line tool, where it has one.
    fn tool(&self, site: &Site, arguments: &[&str]) -> Option<Command> {
        let _ = (site, arguments);
        None
    }

    /// Whether the server would find all that it has again if it were killed now.
    ///
    /// # Errors
    /// When its folder cannot be read.
    fn is_settled(&self, site: &Site) -> io::Result<bool> {
        let _ = site;
        Ok(true)
    }

    /// The version, where the protocol does not tell it.
    fn version(&self) -> Option<String> {
        None
    }
}

/// Finds the programs of a broker.
pub(crate) fn launcher(kind: BrokerKind) -> Result<Box<dyn Launch>, BrokerError> {
    match kind {
        BrokerKind::Redis => redis::find(),
        BrokerKind::Nats => nats::find(),
        BrokerKind::Kafka => kafka::find(),
        BrokerKind::RabbitMq => rabbitmq::find(),
    }
}

/// Where one broker lives: its folder and its addresses.
#[derive(Clone, Debug)]
pub(crate) struct Site {
    pub(crate) home: PathBuf,
    pub(crate) addresses: Vec<SocketAddr>,
}

impl Site {
    /// All that [`wipe`](super::Broker::wipe) deletes.
    pub(crate) fn data(&self) -> PathBuf {
        self.home.join("data")
    }

    pub(crate) fn log(&self) -> PathBuf {
        self.home.join("server.log")
    }

    pub(crate) fn client_address(&self) -> SocketAddr {
        self.addresses[0]
    }

    pub(crate) fn port(&self, index: usize) -> String {
        self.addresses[index].port().to_string()
    }

    pub(crate) fn create(&self) -> Result<(), BrokerError> {
        fs::create_dir_all(self.data()).map_err(BrokerError::path("create", self.data()))
    }

    pub(crate) fn write(&self, name: &str, text: &str) -> Result<PathBuf, BrokerError> {
        let file = self.home.join(name);
        fs::write(&file, text).map_err(BrokerError::path("write", &file))?;
        Ok(file)
    }

    /// How long the log is now.
    pub(crate) fn log_length(&self) -> usize {
        fs::metadata(self.log()).map_or(0, |log| log.len() as usize)
    }

    /// What was logged since the log had this length.
    pub(crate) fn log_since(&self, length: usize) -> String {
        match fs::read(self.log()) {
            Ok(log) => String::from_utf8_lossy(log.get(length..).unwrap_or_default()).into_owned(),
            Err(fault) => format!("(no log: {fault})"),
        }
    }
}
