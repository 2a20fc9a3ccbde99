use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use super::Security;

/// How a broker is started. The default fits a test: a scratch folder that is removed in the end, and as long
/// to get ready as a server may need on a machine with much other work.
#[derive(Clone, Debug)]
pub struct BrokerOptions {
    pub(super) ready_within: Duration,
    pub(super) home: Option<PathBuf>,
    pub(super) port: Option<u16>,
    pub(super) fsync_always: bool,
    pub(super) advertised: Option<SocketAddr>,
    pub(super) room: Option<u64>,
    pub(super) credentials: Option<(String, String)>,
    pub(super) security: Option<Security>,
    pub(super) monitored: bool,
    pub(super) extra: Vec<String>,
}

impl Default for BrokerOptions {
    fn default() -> Self {
        Self {
            ready_within: Duration::from_secs(180),
            home: None,
            port: None,
            fsync_always: false,
            advertised: None,
            room: None,
            credentials: None,
            security: None,
            monitored: false,
            extra: Vec::new(),
        }
    }
}

impl BrokerOptions {
    /// The defaults.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// How long the server may take from its start to its first sound handshake.
    #[must_use]
    pub fn ready_within(mut self, limit: Duration) -> Self {
        self.ready_within = limit;
        self
    }

    /// A folder for configuration, data and log that is kept when the broker is dropped.
    #[must_use]
    pub fn home(mut self, folder: impl Into<PathBuf>) -> Self {
        self.home = Some(folder.into());
        self
    }

    /// This port for clients instead of a free one. The start fails when it is taken.
    #[must_use]
    pub fn port(mut self, port: u16) -> Self {
        self.port = Some(port);
        self
    }

    /// NATS: the server tells on a port of its own whether it is ready, as one must that lets in only whom this crate does
    /// not know. The other brokers ignore it.
    #[must_use]
    pub fn monitored(mut self) -> Self {
        self.monitored = true;
        self
    }

    /// Redis: `appendfsync always`, so what was answered is on disk. The other brokers ignore it.
    #[must_use]
    pub fn fsync_always(mut self) -> Self {
        self.fsync_always = true;
        self
    }

    /// Kafka: the address that clients are told to connect to, for a broker behind a fault proxy.
    /// The other brokers do not tell clients an address.
    #[must_use]
    pub fn advertised(mut self, address: SocketAddr) -> Self {
        self.advertised = Some(address);
        self
    }

    /// NATS: how many bytes the streams may hold together. The other brokers ignore it.
    #[must_use]
    pub fn room(mut self, bytes: u64) -> Self {
        self.room = Some(bytes);
        self
    }

    /// Lets in only this user with this password; Redis knows its user `default` alone. Kafka ignores it.
    #[must_use]
    pub fn credentials(mut self, user: impl Into<String>, password: impl Into<String>) -> Self {
        self.credentials = Some((user.into(), password.into()));
        self
    }

    /// Encrypted, and with a password: [`url`](super::Broker::url) is then that of the encrypted listener, and the others
    /// are found by [`url_of`](super::Broker::url_of).
    #[must_use]
    pub fn secured(mut self, security: Security) -> Self {
        self.security = Some(security);
        self
    }

    /// More settings, in the server's own form: command-line arguments for Redis and NATS, lines of the configuration
    /// file for Kafka and RabbitMQ. They come last and win.
    #[must_use]
    pub fn extra<S: Into<String>>(mut self, settings: impl IntoIterator<Item = S>) -> Self {
        self.extra.extend(settings.into_iter().map(Into::into));
        self
    }
}
