//! Readiness as a client would find it: each server is spoken to in its own protocol, over a plain TCP connection.
//!
//! An open port proves nothing (a proxy, a container's port mapping and a stopped process all accept connections),
//! so a server counts as ready when it answered what only a ready server answers.

mod endpoint;
mod kafka;
pub(super) mod nats;
mod rabbitmq;
pub(super) mod redis;

use std::fmt;
use std::time::Duration;

pub use endpoint::Endpoint;
pub(super) use nats::monitored;

use super::{BrokerKind, HandshakeError};

/// What a ready server says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ServerInfo {
    /// Its version, where the protocol carries one (Kafka's does not).
    pub version: Option<String>,
    /// What proved that it is ready.
    pub proof: String,
}

impl fmt::Display for ServerInfo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(version) = &self.version {
            write!(f, "{version}, ")?;
        }
        f.write_str(&self.proof)
    }
}

/// Asks the server at `url` whether it is ready.
///
/// # Errors
/// [`HandshakeError::Timeout`] when it stays silent, the other kinds when it cannot be reached or is not ready.
pub fn handshake(kind: BrokerKind, url: &str, within: Duration) -> Result<ServerInfo, HandshakeError> {
    handshake_at(kind, &Endpoint::parse(url)?, within)
}

pub(super) fn handshake_at(
    kind: BrokerKind,
    endpoint: &Endpoint,
    within: Duration,
) -> Result<ServerInfo, HandshakeError> {
    Ok(open(kind, endpoint, within)?.1)
}

/// Leaves a durable mark on the server: a key, a stream, a topic or a queue of this name.
/// With [`has_mark`] it proves that data outlives a crash, and does not outlive a wipe.
///
/// # Errors
/// As [`handshake`], or when the server refuses.
pub fn leave_mark(kind: BrokerKind, url: &str, name: &str, within: Duration) -> Result<(), HandshakeError> {
    open(kind, &Endpoint::parse(url)?, within)?.0.leave_mark(name)
}

/// Whether a mark of this name is on the server.
///
/// # Errors
/// As [`handshake`].
pub fn has_mark(kind: BrokerKind, url: &str, name: &str, within: Duration) -> Result<bool, HandshakeError> {
    open(kind, &Endpoint::parse(url)?, within)?.0.has_mark(name)
}

/// A connection that has passed the handshake.
trait Session {
    fn leave_mark(&mut self, name: &str) -> Result<(), HandshakeError>;
    fn has_mark(&mut self, name: &str) -> Result<bool, HandshakeError>;
}

type Opened = Result<(Box<dyn Session>, ServerInfo), HandshakeError>;

fn open(kind: BrokerKind, endpoint: &Endpoint, within: Duration) -> Opened {
    match kind {
        BrokerKind::Redis => redis::open(endpoint, within),
        BrokerKind::Nats => nats::open(endpoint, within),
        BrokerKind::Kafka => kafka::open(endpoint, within),
        BrokerKind::RabbitMq => rabbitmq::open(endpoint, within),
    }
}

fn unexpected<T>(answer: impl fmt::Display) -> Result<T, HandshakeError> {
    Err(HandshakeError::Answer(answer.to_string()))
}
