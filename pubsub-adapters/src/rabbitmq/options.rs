//! The options of a RabbitMQ connection.

use std::time::Duration;

use pubsub_core::{Error, ErrorKind, Result};

use crate::{
    common::{
        options::{BrokerOptions, bad, common_setters, duration},
        secret::Secret,
    },
    url::BrokerUrl,
};

/// How to reach a RabbitMQ broker, and how to work with it. The address form is
/// `amqp://user:password@host:5672,other:5672/vhost?heartbeat=10s`, or `amqps:` with the feature `tls`.
///
/// Without a path the virtual host is `/`; a path names another one, and is decoded: `/%2f` is `/`, too.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct RabbitMqOptions {
    /// What every adapter takes.
    pub broker: BrokerOptions,
    /// Hosts and ports, tried in turn. In an address the port is 5672, or 5671 with TLS, where none is given.
    pub hosts: Vec<(String, u16)>,
    /// Whether connections are encrypted.
    pub tls: bool,
    /// The user; `guest` where none is given.
    pub user: Option<String>,
    password: Option<Secret>,
    /// The virtual host.
    pub vhost: String,
    /// How often either side gives a sign of life; 1 to 60 seconds.
    pub heartbeat: Duration,
    /// How many events may be on their way to the broker, unconfirmed; 1 to 65,535.
    pub window: usize,
    /// Over how many channels of the protocol events are published; 1 to 16.
    pub lanes: usize,
    /// How many bytes of history a channel keeps that sets no bound of its own.
    pub history_bytes: u64,
    /// The largest event in bytes that is sent.
    pub max_payload: usize,
}

const PORT: u16 = 5672;
const TLS_PORT: u16 = 5671;

impl Default for RabbitMqOptions {
    fn default() -> Self {
        Self {
            broker: BrokerOptions::default(),
            hosts: vec![("localhost".to_owned(), PORT)],
            tls: false,
            user: None,
            password: None,
            vhost: "/".to_owned(),
            heartbeat: Duration::from_secs(10),
            window: 1024,
            lanes: 3,
            history_bytes: 1 << 30,
            // What RabbitMQ takes by default from version 4.0 on; before, 128 MiB.
            max_payload: 16 << 20,
        }
    }
}

impl RabbitMqOptions {
    /// The defaults: a broker on this machine.
    pub fn new() -> Self {
        Self::default()
    }

    common_setters!();

    /// Sets whether the connection is encrypted.
    #[must_use]
    pub fn tls(mut self, tls: bool) -> Self {
        self.tls = tls;
        self
    }

    /// Sets the virtual host.
    #[must_use]
    pub fn vhost(mut self, vhost: impl Into<String>) -> Self {
        self.vhost = vhost.into();
        self
    }

    pub(super) fn password(&self) -> Option<&str> {
        self.password.as_ref().map(Secret::expose)
    }

    /// Reads them from an address.
    ///
    /// # Errors
    /// `Invalid` that names the part at fault, `Unsupported` for `amqps` without the feature `tls`.
    pub fn from_url(url: &BrokerUrl) -> Result<Self> {
        let tls = match url.scheme() {
            "amqp" => false,
            "amqps" => true,
            _ => return Err(bad("scheme", "must be `amqp` or `amqps`")),
        };
        if url.user().is_none() && url.password().is_some() {
            return Err(bad("user", "is missing: a password alone says nothing"));
        }
        let mut options = Self {
            broker: BrokerOptions::from_url(url, &["heartbeat", "window", "lanes", "history_bytes", "max_payload"])?,
            tls,
            user: url.user().map(str::to_owned),
            password: url.password().map(Secret::new),
            ..Self::default()
        };
        let port = if options.tls { TLS_PORT } else { PORT };
        options.hosts = url.hosts().iter().map(|(host, given)| (host.clone(), given.unwrap_or(port))).collect();
        if options.hosts.is_empty() {
            return Err(bad("host", "is missing: write `amqp://host`"));
        }
        if !url.path().is_empty() {
            options.vhost = url.path().to_owned();
        }
        if let Some(heartbeat) = duration(url, "heartbeat")? {
            options.heartbeat = heartbeat;
        }
        if let Some(window) = url.parsed_option("window")? {
            options.window = window;
        }
        if let Some(lanes) = url.parsed_option("lanes")? {
            options.lanes = lanes;
        }
        if let Some(bytes) = url.parsed_option("history_bytes")? {
            options.history_bytes = bytes;
        }
        if let Some(bytes) = url.parsed_option("max_payload")? {
            options.max_payload = bytes;
        }
        options.check()?;
        Ok(options)
    }

    /// Checks them, however they were set.
    ///
    /// # Errors
    /// `Invalid` that names the option at fault, `Unsupported` for what is not built in.
    pub(super) fn check(&self) -> Result<()> {
        self.broker.check()?;
        if self.hosts.is_empty() {
            return Err(bad("host", "is missing"));
        }
        if self.broker.prefix.as_deref().is_some_and(|prefix| prefix.starts_with("amq.")) {
            return Err(bad("prefix", "must not begin with `amq.`, which the broker keeps for itself"));
        }
        if !(Duration::from_secs(1)..=Duration::from_secs(60)).contains(&self.heartbeat) {
            return Err(bad("heartbeat", "must be 1 to 60 seconds"));
        }
        if self.window == 0 || self.window > usize::from(u16::MAX) {
            return Err(bad("window", "must be 1 to 65535"));
        }
        if self.lanes == 0 || self.lanes > 16 {
            return Err(bad("lanes", "must be 1 to 16"));
        }
        if self.history_bytes < 1 << 20 {
            return Err(bad("history_bytes", "must be at least a megabyte"));
        }
        if self.max_payload == 0 {
            return Err(bad("max_payload", "must not be zero"));
        }
        if self.tls && !cfg!(feature = "tls") {
            let text = "`amqps:` is not built in: turn on the feature `tls` of pubsub-kit";
            return Err(Error::new(ErrorKind::Unsupported, "connect", text));
        }
        Ok(())
    }

    /// Writes them as an address, secrets included; its `Display` hides them.
    pub fn to_url(&self) -> BrokerUrl {
        let default = Self::default();
        let mut url = BrokerUrl::of(if self.tls { "amqps" } else { "amqp" })
            .with_credentials(self.user.as_deref(), self.password());
        for (host, port) in &self.hosts {
            url = url.with_host(host, Some(*port));
        }
        if self.vhost != default.vhost {
            url = url.with_path(&self.vhost);
        }
        let mut pairs: Vec<(String, String)> = Vec::new();
        let mut put = |name: &str, value: &str| pairs.push((name.to_owned(), value.to_owned()));
        self.broker.put(&mut put);
        if self.heartbeat != default.heartbeat {
            put("heartbeat", &format!("{}ms", self.heartbeat.as_millis()));
        }
        let numbers = [
            ("window", self.window as u64, default.window as u64),
            ("lanes", self.lanes as u64, default.lanes as u64),
            ("history_bytes", self.history_bytes, default.history_bytes),
            ("max_payload", self.max_payload as u64, default.max_payload as u64),
        ];
        for (name, value, usual) in numbers {
            if value != usual {
                put(name, &value.to_string());
            }
        }
        pairs.iter().fold(url, |url, (name, value)| url.with_option(name, value))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_reads_back_with_its_secrets() {
        let text = "amqp://app:p%40ss@a:5673,b/shop%2Feu?prefix=x&strict=true&heartbeat=5s&window=256&lanes=2\
                    &history_bytes=2000000&max_payload=1000";
        let options = RabbitMqOptions::from_url(&BrokerUrl::parse(text).unwrap()).unwrap();
        assert_eq!((options.vhost.as_str(), options.password()), ("shop/eu", Some("p@ss")));
        let again = BrokerUrl::parse(&options.to_url().expose()).unwrap();
        assert_eq!(RabbitMqOptions::from_url(&again).unwrap(), options);
        assert!(!format!("{options:?}").contains("p@ss"));
        let plain = RabbitMqOptions::from_url(&BrokerUrl::parse("amqp://localhost").unwrap()).unwrap();
        assert_eq!(plain, RabbitMqOptions::new());
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (query, field) in
            [("heartbeat=0s", "heartbeat"), ("window=0", "window"), ("lanes=99", "lanes"), ("prefix=amq.x", "prefix")]
        {
            let url = BrokerUrl::parse(&format!("amqp://h?{query}")).unwrap();
            let error = RabbitMqOptions::from_url(&url).unwrap_err();
            assert!(error.message().contains(&format!("`{field}`")), "{error}");
        }
        for (text, field) in [("redis://h", "scheme"), ("amqp://:word@h", "user")] {
            let error = RabbitMqOptions::from_url(&BrokerUrl::parse(text).unwrap()).unwrap_err();
            assert!(error.message().contains(&format!("`{field}`")), "{text}: {error}");
            assert!(!error.to_string().contains("word@"), "{error}");
        }
    }
}
