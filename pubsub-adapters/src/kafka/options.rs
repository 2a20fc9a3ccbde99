//! How to reach a cluster, and how to work with it.

use std::fmt;

use pubsub_core::{Error, ErrorKind, Result};
use rdkafka::ClientConfig;

use crate::{
    common::{
        options::{BrokerOptions, bad, common_setters},
        secret::Secret,
    },
    url::BrokerUrl,
};

/// The port of a host without one.
const PORT: u16 = 9092;
/// Options of an address that only this adapter has; properties of the client stand behind `kafka.`.
const NAMES: &[&str] = &["security", "mechanism", "profile", "replication", "partitions"];
const PROPERTY: &str = "kafka.";

/// Properties that the adapter sets itself, because its guarantees hang on them.
const OWNED: &[&str] = &[
    "acks",
    "allow.auto.create.topics",
    "auto.commit.enable",
    "auto.offset.reset",
    "bootstrap.servers",
    "delivery.timeout.ms",
    "enable.auto.commit",
    "enable.auto.offset.store",
    "enable.gapless.guarantee",
    "enable.idempotence",
    "enable.partition.eof",
    "group.id",
    "group.protocol",
    "max.in.flight",
    "max.in.flight.requests.per.connection",
    "message.timeout.ms",
    "metadata.broker.list",
    "partition.assignment.strategy",
    "partitioner",
    "plugin.library.paths",
    "queue.buffering.max.messages",
    "request.required.acks",
    "sasl.mechanism",
    "sasl.mechanisms",
    "sasl.password",
    "sasl.username",
    "security.protocol",
    "ssl.ca.location",
    "ssl.certificate.location",
    "ssl.key.location",
    "transactional.id",
];

/// How the connection is protected.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Security {
    /// Not at all: `plaintext`.
    #[default]
    Plaintext,
    /// TLS: `ssl`. Needs the feature `kafka-ssl`.
    Ssl,
    /// A password, without TLS: `sasl_plaintext`. Needs the feature `kafka-ssl`.
    SaslPlaintext,
    /// A password over TLS: `sasl_ssl`. Needs the feature `kafka-ssl`.
    SaslSsl,
}

impl Security {
    const ALL: [Self; 4] = [Self::Plaintext, Self::Ssl, Self::SaslPlaintext, Self::SaslSsl];

    /// As it stands in an address.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Plaintext => "plaintext",
            Self::Ssl => "ssl",
            Self::SaslPlaintext => "sasl_plaintext",
            Self::SaslSsl => "sasl_ssl",
        }
    }

    /// Whether it encrypts, and what to write where it does not.
    pub(super) const fn encryption(self) -> (bool, &'static str) {
        match self {
            Self::Plaintext => (false, "write `security=ssl`"),
            Self::SaslPlaintext => (false, "write `security=sasl_ssl`"),
            _ => (true, ""),
        }
    }

    fn has_password(self) -> bool {
        matches!(self, Self::SaslPlaintext | Self::SaslSsl)
    }
}

/// How a password is proven.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Mechanism {
    /// The password itself is sent: `PLAIN`.
    #[default]
    Plain,
    /// `SCRAM-SHA-256`.
    ScramSha256,
    /// `SCRAM-SHA-512`.
    ScramSha512,
}

impl Mechanism {
    const ALL: [Self; 3] = [Self::Plain, Self::ScramSha256, Self::ScramSha512];

    /// As it stands in an address.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Plain => "PLAIN",
            Self::ScramSha256 => "SCRAM-SHA-256",
            Self::ScramSha512 => "SCRAM-SHA-512",
        }
    }
}

/// What publishing is tuned for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Profile {
    /// Events are sent as they come: `latency`.
    #[default]
    Latency,
    /// Events wait up to 5 ms for others to be sent with: `throughput`.
    Throughput,
}

impl Profile {
    const ALL: [Self; 2] = [Self::Latency, Self::Throughput];

    /// As it stands in an address.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Latency => "latency",
            Self::Throughput => "throughput",
        }
    }
}

/// How to reach a Kafka cluster, and how to work with it. `Debug` hides the password and the values of properties.
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct KafkaOptions {
    /// What the adapters of all brokers have.
    pub broker: BrokerOptions,
    /// Hosts and ports of some of the cluster's nodes, from which the others are learned.
    pub hosts: Vec<(String, u16)>,
    /// The user, where the security has passwords.
    pub user: Option<String>,
    password: Option<Secret>,
    /// How the connection is protected.
    pub security: Security,
    /// How the password is proven.
    pub mechanism: Mechanism,
    /// What publishing is tuned for.
    pub profile: Profile,
    /// How many nodes keep a copy of what is created; the cluster's default where it is not given.
    pub replication: Option<u16>,
    /// How many partitions an unordered channel is created with. With more than one, its members share the work and its
    /// events have no order at all.
    pub partitions: u16,
    properties: Vec<(String, Secret)>,
}

impl KafkaOptions {
    /// The defaults: a node on this machine.
    pub fn new() -> Self {
        Self::default()
    }

    common_setters!();

    /// Sets how the connection is protected.
    #[must_use]
    pub fn security(mut self, security: Security, mechanism: Mechanism) -> Self {
        (self.security, self.mechanism) = (security, mechanism);
        self
    }

    /// Sets what publishing is tuned for.
    #[must_use]
    pub fn profile(mut self, profile: Profile) -> Self {
        self.profile = profile;
        self
    }

    /// Sets how many nodes keep a copy of what is created.
    #[must_use]
    pub fn replication(mut self, nodes: u16) -> Self {
        self.replication = Some(nodes);
        self
    }

    /// Sets how many partitions an unordered channel is created with.
    #[must_use]
    pub fn partitions(mut self, partitions: u16) -> Self {
        self.partitions = partitions;
        self
    }

    /// Sets a property of librdkafka.
    #[must_use]
    pub fn property(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.properties.push((name.into(), Secret::new(value)));
        self
    }

    /// Reads them from an address: `kafka://user:password@h1:9092,h2:9092/?security=sasl_ssl&mechanism=SCRAM-SHA-512`.
    ///
    /// # Errors
    /// `Invalid` that names the option at fault, `Unsupported` for a security whose feature is not built in.
    pub fn from_url(url: &BrokerUrl) -> Result<Self> {
        if url.scheme() != "kafka" {
            return Err(bad("scheme", "must be `kafka`"));
        }
        if !url.path().is_empty() {
            return Err(bad("path", "has no meaning for Kafka"));
        }
        let properties: Vec<_> = url.options().filter(|(name, _)| name.starts_with(PROPERTY)).collect();
        let more: Vec<_> = NAMES.iter().copied().chain(properties.iter().map(|(name, _)| *name)).collect();
        let broker = BrokerOptions::from_url(url, &more)?;
        let options = Self {
            broker,
            hosts: url.hosts().iter().map(|(host, port)| (host.clone(), port.unwrap_or(PORT))).collect(),
            user: url.user().map(str::to_owned),
            password: url.password().map(Secret::new),
            security: choice(url, "security", &Security::ALL, Security::as_str)?,
            mechanism: choice(url, "mechanism", &Mechanism::ALL, Mechanism::as_str)?,
            profile: choice(url, "profile", &Profile::ALL, Profile::as_str)?,
            replication: url.parsed_option("replication")?,
            partitions: url.parsed_option("partitions")?.unwrap_or(1),
            properties: properties
                .iter()
                .map(|(name, value)| (name.trim_start_matches(PROPERTY).to_owned(), Secret::new(*value)))
                .collect(),
        };
        options.check()?;
        Ok(options)
    }

    /// The address that says the same, with its secrets.
    pub fn to_url(&self) -> BrokerUrl {
        let password = self.password.as_ref().map(Secret::expose);
        let mut url = BrokerUrl::of("kafka").with_credentials(self.user.as_deref(), password);
        for (host, port) in &self.hosts {
            url = url.with_host(host, Some(*port));
        }
        let mut options = Vec::new();
        self.broker.put(&mut |name, value| options.push((name.to_owned(), value.to_owned())));
        let mut put = |name: &str, value: String| options.push((name.to_owned(), value));
        if self.security != Security::default() {
            put("security", self.security.as_str().to_owned());
        }
        if self.mechanism != Mechanism::default() {
            put("mechanism", self.mechanism.as_str().to_owned());
        }
        if self.profile != Profile::default() {
            put("profile", self.profile.as_str().to_owned());
        }
        if let Some(nodes) = self.replication {
            put("replication", nodes.to_string());
        }
        if self.partitions != 1 {
            put("partitions", self.partitions.to_string());
        }
        for (name, value) in &self.properties {
            put(&format!("{PROPERTY}{name}"), value.expose().to_owned());
        }
        options.iter().fold(url, |url, (name, value)| url.with_option(name, value))
    }

    /// Checks them, however they were set.
    ///
    /// # Errors
    /// As [`KafkaOptions::from_url`].
    pub(super) fn check(&self) -> Result<()> {
        self.broker.check()?;
        if self.hosts.is_empty() {
            return Err(bad("host", "is missing"));
        }
        if self.replication == Some(0) || self.replication.is_some_and(|nodes| nodes > 100) {
            return Err(bad("replication", "must be 1 to 100"));
        }
        if self.partitions == 0 || self.partitions > 10_000 {
            return Err(bad("partitions", "must be 1 to 10000"));
        }
        if self.security != Security::Plaintext && !cfg!(feature = "kafka-ssl") {
            let text = format!(
                "`security={}` needs OpenSSL: turn on the feature `kafka-ssl` of pubsub-kit",
                self.security.as_str()
            );
            return Err(Error::new(ErrorKind::Unsupported, "connect", text));
        }
        if self.security.has_password() != self.user.is_some() {
            return Err(bad("security", "must be `sasl_plaintext` or `sasl_ssl` with a user, and only then"));
        }
        let owned = |name: &str| OWNED.contains(&name) || name.ends_with("_cb");
        if let Some((name, _)) = self.properties.iter().find(|(name, _)| owned(name)) {
            return Err(bad(&format!("{PROPERTY}{name}"), "is set by the adapter itself"));
        }
        Ok(())
    }

    /// Hosts and ports, as they are shown and as the client takes them.
    pub(super) fn servers(&self) -> String {
        let servers: Vec<_> = self.hosts.iter().map(|(host, port)| server(host, *port)).collect();
        servers.join(",")
    }

    /// The client's configuration, as far as producers and consumers share it.
    pub(super) fn client(&self) -> ClientConfig {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", self.servers());
        config.set("client.id", self.broker.source.trim_start_matches('/'));
        // A silent broker is noticed within this time.
        config.set("socket.timeout.ms", "6000").set("socket.keepalive.enable", "true");
        config.set("socket.nagle.disable", "true");
        config.set("reconnect.backoff.ms", "50").set("reconnect.backoff.max.ms", "1000");
        config.set("topic.metadata.propagation.max.ms", "5000");
        // Partitions that are added are in use within this time.
        config.set("topic.metadata.refresh.interval.ms", "5000");
        config.set("security.protocol", self.security.as_str());
        if self.security.has_password() {
            config.set("sasl.mechanism", self.mechanism.as_str());
            config.set("sasl.username", self.user.as_deref().unwrap_or_default());
            config.set("sasl.password", self.password.as_ref().map_or("", Secret::expose));
        }
        let files = [
            ("ssl.ca.location", &self.broker.ca),
            ("ssl.certificate.location", &self.broker.cert),
            ("ssl.key.location", &self.broker.key),
        ];
        for (name, path) in files {
            if let Some(path) = path {
                config.set(name, path.to_string_lossy());
            }
        }
        config
    }

    /// Adds the user's properties, which win over the adapter's choices where they may.
    pub(super) fn finish(&self, config: &mut ClientConfig) {
        for (name, value) in &self.properties {
            config.set(name, value.expose());
        }
    }

    /// A property that the user has set.
    pub(super) fn property_value(&self, name: &str) -> Option<&str> {
        self.properties.iter().find(|(known, _)| known == name).map(|(_, value)| value.expose())
    }
}

impl Default for KafkaOptions {
    fn default() -> Self {
        Self {
            broker: BrokerOptions::default(),
            hosts: vec![("localhost".to_owned(), PORT)],
            user: None,
            password: None,
            security: Security::default(),
            mechanism: Mechanism::default(),
            profile: Profile::default(),
            replication: None,
            partitions: 1,
            properties: Vec::new(),
        }
    }
}

fn server(host: &str, port: u16) -> String {
    if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") }
}

/// An option that is one of several words.
fn choice<T: Copy + Default>(url: &BrokerUrl, name: &str, all: &[T], text: fn(T) -> &'static str) -> Result<T> {
    let Some(word) = url.option(name) else { return Ok(T::default()) };
    all.iter().copied().find(|&known| text(known) == word).ok_or_else(|| {
        let words: Vec<_> = all.iter().map(|&known| format!("`{}`", text(known))).collect();
        bad(name, &format!("must be one of {}", words.join(", ")))
    })
}

impl fmt::Debug for KafkaOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KafkaOptions")
            .field("broker", &self.broker)
            .field("hosts", &self.hosts)
            .field("user", &self.user)
            .field("password", &self.password)
            .field("security", &self.security)
            .field("mechanism", &self.mechanism)
            .field("profile", &self.profile)
            .field("replication", &self.replication)
            .field("partitions", &self.partitions)
            .field("properties", &self.properties)
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<KafkaOptions> {
        KafkaOptions::from_url(&BrokerUrl::parse(text).unwrap())
    }

    #[test]
    fn options_survive_the_way_through_an_address_and_secrets_stay_hidden() {
        let mut options = KafkaOptions::new()
            .hosts([("h1", 9092), ("::1", 1)])
            .broker(BrokerOptions::new().prefix("shop"))
            .profile(Profile::Throughput)
            .replication(3)
            .partitions(6)
            .property("ssl.key.password", "very secret");
        if cfg!(feature = "kafka-ssl") {
            options = options.credentials("me", "p&ss w@rd").security(Security::SaslSsl, Mechanism::ScramSha512);
        }
        let url = options.to_url();
        assert_eq!(read(&url.expose()).unwrap(), options);
        let shown = format!("{options:?} {url:?} {url}");
        assert!(!shown.contains("very secret") && !shown.contains("p&ss"), "{shown}");
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (text, field) in [
            ("kafka://", "host"),
            ("kafka://h/x", "path"),
            ("kafka://h?security=tls", "security"),
            ("kafka://h?mechanism=GSSAPI", "mechanism"),
            ("kafka://h?profile=fast", "profile"),
            ("kafka://h?replication=0", "replication"),
            ("kafka://h?partitions=0", "partitions"),
            ("kafka://user:pw@h", "security"),
            ("kafka://h?kafka.group.id=x", "kafka.group.id"),
            ("kafka://h?kafka.acks=0", "kafka.acks"),
            ("kafka://h?kafka.a=1&kafka.a=2", "kafka.a"),
        ] {
            let error = read(text).unwrap_err();
            assert!(error.message().contains(&format!("`{field}`")), "{text}: {error}");
        }
        assert_eq!(read("kafka://h?kafka.fetch.wait.max.ms=5").unwrap().hosts, [("h".to_owned(), 9092)]);
    }

    #[test]
    #[cfg(not(feature = "kafka-ssl"))]
    fn what_needs_openssl_names_its_feature() {
        for security in ["ssl", "sasl_plaintext", "sasl_ssl"] {
            let error = read(&format!("kafka://u:p@h?security={security}")).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Unsupported);
            assert!(error.message().contains("`kafka-ssl`"), "{error}");
        }
    }
}
