//! How to reach a Redis server, and how to use it.

use std::fmt;

use pubsub_core::{Error, ErrorKind, Result, wire::WireFormat};

use crate::{
    common::{
        options::{BrokerOptions, bad, common_setters},
        secret::Secret,
    },
    url::BrokerUrl,
};

/// What kind of deployment the hosts are.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Deployment {
    /// One server: `redis://` and `rediss://`.
    #[default]
    Single,
    /// Sentinels that know the server of this name: `redis+sentinel://…?master=name`.
    Sentinel(String),
    /// Nodes of a cluster: `redis+cluster://`.
    Cluster,
}

/// In which fields of a stream entry an event is written. Readers take every form.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Fields {
    /// One field with attributes and body in a frame: the fastest.
    #[default]
    Framed,
    /// A field per attribute with its CloudEvents name, and `data` for the body, as other clients read them.
    CloudEvents,
}

/// How to open a [`Redis`](super::Redis) adapter.
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct RedisOptions {
    /// What every broker has.
    pub broker: BrokerOptions,
    /// What kind of deployment the hosts are.
    pub deployment: Deployment,
    /// Whether connections are encrypted; needs the feature `tls`.
    pub tls: bool,
    /// Hosts and ports; one, unless they are sentinels or nodes of a cluster.
    pub hosts: Vec<(String, u16)>,
    /// The user; none for the default one.
    pub user: Option<String>,
    password: Option<Secret>,
    /// The number of the database.
    pub db: u16,
    /// How events are written into streams.
    pub fields: Fields,
    /// How many events may be on their way to the server before publishers wait.
    pub in_flight: usize,
    /// The largest event in bytes; the server's own limit is `proto-max-bulk-len`, 512 MiB.
    pub max_payload: usize,
}

const PORT: u16 = 6379;
const SENTINEL_PORT: u16 = 26379;
/// The server's limit is 512 MiB; some room is left for metadata.
const MAX_PAYLOAD: usize = 500 * 1024 * 1024;

impl Default for RedisOptions {
    fn default() -> Self {
        Self {
            broker: BrokerOptions::default(),
            deployment: Deployment::Single,
            tls: false,
            hosts: vec![("127.0.0.1".to_owned(), PORT)],
            user: None,
            password: None,
            db: 0,
            fields: Fields::Framed,
            in_flight: 16_384,
            max_payload: MAX_PAYLOAD,
        }
    }
}

impl RedisOptions {
    const NAMES: &'static [&'static str] = &["fields", "in_flight", "max_payload", "master", "tls"];

    /// A server on this machine at the usual port.
    pub fn new() -> Self {
        Self::default()
    }

    common_setters!();

    /// Sets the password of the default user, who has no name.
    #[must_use]
    pub fn default_user(mut self, password: impl Into<String>) -> Self {
        (self.user, self.password) = (None, Some(Secret::new(password)));
        self
    }

    /// Sets the number of the database.
    #[must_use]
    pub fn db(mut self, db: u16) -> Self {
        self.db = db;
        self
    }

    /// Sets whether connections are encrypted.
    #[must_use]
    pub fn tls(mut self, tls: bool) -> Self {
        self.tls = tls;
        self
    }

    /// Sets how events are written into streams.
    #[must_use]
    pub fn fields(mut self, fields: Fields) -> Self {
        self.fields = fields;
        self
    }

    /// Sets how many events may be on their way before publishers wait.
    #[must_use]
    pub fn in_flight(mut self, events: usize) -> Self {
        self.in_flight = events;
        self
    }

    /// Reads `redis://user:password@host:port/db`, `rediss://`, `redis+sentinel://h1,h2/db?master=name` and
    /// `redis+cluster://h1,h2`, with the options `fields` (`framed` or `cloudevents`), `in_flight`, `max_payload`, `tls`
    /// (for sentinels and clusters) and those of every broker.
    ///
    /// # Errors
    /// `Invalid` that names the part at fault.
    pub fn from_url(url: &BrokerUrl) -> Result<Self> {
        let mut options = Self { broker: BrokerOptions::from_url(url, Self::NAMES)?, ..Self::default() };
        let master = url.option("master");
        let tls: Option<bool> = url.parsed_option("tls")?;
        options.deployment = match (url.scheme(), master) {
            ("redis+sentinel", Some(master)) if !master.is_empty() => Deployment::Sentinel(master.to_owned()),
            ("redis+sentinel", _) => return Err(bad("master", "must name the server that the sentinels know")),
            (_, Some(_)) => return Err(bad("master", "is for `redis+sentinel:` only")),
            ("redis+cluster", None) => Deployment::Cluster,
            ("redis" | "rediss", None) => Deployment::Single,
            _ => return Err(bad("scheme", "is none of Redis")),
        };
        options.tls = match (&options.deployment, tls) {
            (Deployment::Single, Some(_)) => return Err(bad("tls", "is said by `rediss:`")),
            (Deployment::Single, None) => url.scheme() == "rediss",
            (_, tls) => tls.unwrap_or(false),
        };
        let port = if matches!(options.deployment, Deployment::Sentinel(_)) { SENTINEL_PORT } else { PORT };
        options.hosts = url.hosts().iter().map(|(host, given)| (host.clone(), given.unwrap_or(port))).collect();
        options.user = url.user().map(str::to_owned);
        options.password = url.password().map(Secret::new);
        if !url.path().is_empty() {
            options.db = url.path().parse().map_err(|_| bad("path", "must be the number of a database"))?;
        }
        options.fields = match url.option("fields") {
            None | Some("framed") => Fields::Framed,
            Some("cloudevents") => Fields::CloudEvents,
            Some(_) => return Err(bad("fields", "must be `framed` or `cloudevents`")),
        };
        if let Some(events) = url.parsed_option("in_flight")? {
            options.in_flight = events;
        }
        if let Some(bytes) = url.parsed_option("max_payload")? {
            options.max_payload = bytes;
        }
        options.check()?;
        Ok(options)
    }

    /// The address that reads back as these options, with their secrets.
    pub fn to_url(&self) -> BrokerUrl {
        let scheme = match (&self.deployment, self.tls) {
            (Deployment::Single, false) => "redis",
            (Deployment::Single, true) => "rediss",
            (Deployment::Sentinel(_), _) => "redis+sentinel",
            (Deployment::Cluster, _) => "redis+cluster",
        };
        let mut url = BrokerUrl::of(scheme).with_credentials(self.user.as_deref(), self.password());
        for (host, port) in &self.hosts {
            url = url.with_host(host, Some(*port));
        }
        if self.db != 0 {
            url = url.with_path(&self.db.to_string());
        }
        let default = Self::default();
        let mut pairs = Vec::new();
        let mut put = |name: &str, value: &str| pairs.push((name.to_owned(), value.to_owned()));
        if let Deployment::Sentinel(master) = &self.deployment {
            put("master", master);
        }
        if self.tls && self.deployment != Deployment::Single {
            put("tls", "true");
        }
        if self.fields == Fields::CloudEvents {
            put("fields", "cloudevents");
        }
        if self.in_flight != default.in_flight {
            put("in_flight", &self.in_flight.to_string());
        }
        if self.max_payload != default.max_payload {
            put("max_payload", &self.max_payload.to_string());
        }
        self.broker.put(&mut put);
        pairs.iter().fold(url, |url, (name, value)| url.with_option(name, value))
    }

    pub(super) fn password(&self) -> Option<&str> {
        self.password.as_ref().map(Secret::expose)
    }

    /// The hosts and ports, as errors name them.
    pub(super) fn places(&self) -> String {
        let places: Vec<_> = self.hosts.iter().map(|(host, port)| format!("{host}:{port}")).collect();
        places.join(", ")
    }

    /// Checks them, however they were set.
    pub(super) fn check(&self) -> Result<()> {
        self.broker.check()?;
        if self.broker.wire == Some(WireFormat::Structured) {
            let text = "field `wire` must be `binary` or `envelope`: an entry has no content type that would tell more";
            return Err(Error::new(ErrorKind::Unsupported, "connect", text));
        }
        if self.hosts.is_empty() {
            return Err(bad("host", "is missing"));
        }
        if self.deployment == Deployment::Single && self.hosts.len() > 1 {
            return Err(bad("host", "takes one server; several are `redis+sentinel:` or `redis+cluster:`"));
        }
        if self.deployment == Deployment::Cluster && self.db != 0 {
            return Err(bad("path", "must be empty: a cluster has one database"));
        }
        if self.user.is_some() && self.password.is_none() {
            return Err(bad("user", "needs a password"));
        }
        if self.in_flight == 0 || self.in_flight > 1 << 20 {
            return Err(bad("in_flight", "must lie between 1 and 1048576"));
        }
        if self.max_payload == 0 || self.max_payload > MAX_PAYLOAD {
            return Err(bad("max_payload", "must lie between 1 and 524288000"));
        }
        Ok(())
    }
}

impl fmt::Debug for RedisOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisOptions")
            .field("broker", &self.broker)
            .field("deployment", &self.deployment)
            .field("tls", &self.tls)
            .field("hosts", &self.hosts)
            .field("user", &self.user)
            .field("password", &self.password)
            .field("db", &self.db)
            .field("fields", &self.fields)
            .field("in_flight", &self.in_flight)
            .field("max_payload", &self.max_payload)
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<RedisOptions> {
        RedisOptions::from_url(&BrokerUrl::parse(text)?)
    }

    #[test]
    fn addresses_are_read_and_written_back_with_their_secrets() {
        for text in [
            "redis://127.0.0.1:6379",
            "redis://me:hunter2@h:7000/3?fields=cloudevents&in_flight=9&max_payload=1000&prefix=shop&strict=true",
            "rediss://:hunter2@h:6379?ca=%2Fca&cert=%2Fcert&key=%2Fkey",
            "redis+sentinel://me:hunter2@h1:26379,h2:26380/2?master=main&tls=true",
            "redis+cluster://h1:7000,h2:7001?start=degraded",
        ] {
            let options = read(text).unwrap();
            assert_eq!(options.to_url().expose(), text);
            assert_eq!(read(&options.to_url().expose()).unwrap(), options);
            assert!(!format!("{options:?} {}", options.to_url()).contains("hunter2"), "{options:?}");
        }
        assert_eq!(read("redis+sentinel://h?master=m").unwrap().hosts, [("h".to_owned(), 26379)]);
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (text, field) in [
            ("redis://", "host"),
            ("redis://a,b", "host"),
            ("redis://a/x", "path"),
            ("redis+cluster://a/1", "path"),
            ("redis+sentinel://a", "master"),
            ("redis://a?master=b", "master"),
            ("redis://a?tls=true", "tls"),
            ("redis://a?fields=json", "fields"),
            ("redis://a?in_flight=0", "in_flight"),
            ("redis://a?max_payload=0", "max_payload"),
            ("redis://me@a", "user"),
            ("redis://a?wire=xml", "wire"),
            ("redis://a?foo=1", "foo"),
        ] {
            let error = read(text).unwrap_err();
            assert!(error.message().contains(&format!("`{field}`")), "{text}: {error}");
        }
    }
}
