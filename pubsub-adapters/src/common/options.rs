//! The options that the address of every broker takes.

use std::{path::PathBuf, time::Duration};

use pubsub_core::{ChannelName, Error, ErrorKind, Result, wire::WireFormat};

use crate::url::BrokerUrl;

/// Whether opening waits for the broker.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum StartMode {
    /// Opening waits for a connection, and fails with `Unavailable` when the time for it is over: `wait`.
    #[default]
    Wait,
    /// Opening returns at once, and the connection comes when it can: `degraded`.
    Degraded,
}

/// What every adapter of a broker has in common.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct BrokerOptions {
    /// Sets apart deployments on one broker: everything on it is named with this in front.
    pub prefix: Option<String>,
    /// The CloudEvents source of what is published.
    pub source: String,
    /// The form in which events are written; the usual one of the broker where it is not given.
    pub wire: Option<WireFormat>,
    /// Whether opening waits for the broker.
    pub start: StartMode,
    /// How long opening waits for the broker.
    pub connect_timeout: Duration,
    /// Whether channels must be declared before they are used.
    pub strict: bool,
    /// The certificates of those who may sign the server's, as a PEM file; the system's where it is not given.
    pub ca: Option<PathBuf>,
    /// The client's certificate, as a PEM file.
    pub cert: Option<PathBuf>,
    /// The client's private key, as a PEM file.
    pub key: Option<PathBuf>,
}

impl Default for BrokerOptions {
    fn default() -> Self {
        Self {
            prefix: None,
            source: "/pubsub/app".to_owned(),
            wire: None,
            start: StartMode::Wait,
            connect_timeout: Duration::from_secs(10),
            strict: false,
            ca: None,
            cert: None,
            key: None,
        }
    }
}

impl BrokerOptions {
    /// The defaults.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets apart deployments on one broker.
    #[must_use]
    pub fn prefix(mut self, prefix: impl Into<String>) -> Self {
        self.prefix = Some(prefix.into());
        self
    }

    /// Sets the CloudEvents source of what is published.
    #[must_use]
    pub fn source(mut self, source: impl Into<String>) -> Self {
        self.source = source.into();
        self
    }

    /// Sets the form in which events are written.
    #[must_use]
    pub fn wire(mut self, wire: WireFormat) -> Self {
        self.wire = Some(wire);
        self
    }

    /// Sets whether opening waits for the broker, and for how long.
    #[must_use]
    pub fn start(mut self, start: StartMode, connect_timeout: Duration) -> Self {
        (self.start, self.connect_timeout) = (start, connect_timeout);
        self
    }

    /// Sets whether channels must be declared before they are used.
    #[must_use]
    pub fn strict(mut self, strict: bool) -> Self {
        self.strict = strict;
        self
    }

    /// Sets the file with the certificates of those who may sign the server's.
    #[must_use]
    pub fn ca(mut self, ca: impl Into<PathBuf>) -> Self {
        self.ca = Some(ca.into());
        self
    }

    /// Sets the files with the client's certificate and its private key.
    #[must_use]
    pub fn identity(mut self, cert: impl Into<PathBuf>, key: impl Into<PathBuf>) -> Self {
        (self.cert, self.key) = (Some(cert.into()), Some(key.into()));
        self
    }

    /// The names of these options in an address.
    pub(crate) const NAMES: &'static [&'static str] =
        &["prefix", "source", "wire", "start", "connect_timeout", "strict", "ca", "cert", "key"];

    /// Reads them from an address, and checks that it has no others but `more`.
    ///
    /// # Errors
    /// `Invalid` that names the option at fault.
    pub(crate) fn from_url(url: &BrokerUrl, more: &[&str]) -> Result<Self> {
        let known: Vec<_> = Self::NAMES.iter().chain(more).copied().collect();
        url.check_options(&known)?;
        let path = |name: &str| url.option(name).map(PathBuf::from);
        let mut options = Self {
            prefix: url.option("prefix").map(str::to_owned),
            ca: path("ca"),
            cert: path("cert"),
            key: path("key"),
            strict: url.parsed_option("strict")?.unwrap_or(false),
            ..Self::default()
        };
        if let Some(source) = url.option("source") {
            options.source = source.to_owned();
        }
        if let Some(wire) = url.option("wire") {
            let wire = wire.parse().map_err(|_| bad("wire", "must be `binary`, `envelope` or `structured`"))?;
            options.wire = Some(wire);
        }
        options.start = match url.option("start") {
            None | Some("wait") => StartMode::Wait,
            Some("degraded") => StartMode::Degraded,
            Some(_) => return Err(bad("start", "must be `wait` or `degraded`")),
        };
        if let Some(timeout) = duration(url, "connect_timeout")? {
            options.connect_timeout = timeout;
        }
        options.check()?;
        Ok(options)
    }

    /// Checks them, however they were set.
    ///
    /// # Errors
    /// `Invalid` that names the option at fault.
    pub(crate) fn check(&self) -> Result<()> {
        if let Some(prefix) = &self.prefix
            && (ChannelName::parse(prefix).is_err() || prefix.len() > 64)
        {
            return Err(bad("prefix", "must follow the channel grammar, in at most 64 characters"));
        }
        if self.source.is_empty() || self.source.len() > 256 || !self.source.bytes().all(|b| b.is_ascii_graphic()) {
            return Err(bad("source", "must be 1 to 256 visible ASCII characters"));
        }
        if self.connect_timeout.is_zero() {
            return Err(bad("connect_timeout", "must not be zero"));
        }
        if self.cert.is_some() != self.key.is_some() {
            return Err(bad("cert", "and `key` belong together"));
        }
        Ok(())
    }

    /// Writes those that differ from the defaults into the query of an address.
    pub(crate) fn put(&self, put: &mut dyn FnMut(&str, &str)) {
        let default = Self::default();
        if let Some(prefix) = &self.prefix {
            put("prefix", prefix);
        }
        if self.source != default.source {
            put("source", &self.source);
        }
        if let Some(wire) = self.wire {
            put("wire", wire.as_str());
        }
        if self.start == StartMode::Degraded {
            put("start", "degraded");
        }
        if self.connect_timeout != default.connect_timeout {
            put("connect_timeout", &format!("{}ms", self.connect_timeout.as_millis()));
        }
        if self.strict {
            put("strict", "true");
        }
        for (name, path) in [("ca", &self.ca), ("cert", &self.cert), ("key", &self.key)] {
            if let Some(path) = path {
                put(name, &path.to_string_lossy());
            }
        }
    }
}

/// The builder methods that the options of every broker have.
macro_rules! common_setters {
    () => {
        /// Sets what every adapter takes.
        #[must_use]
        pub fn broker(mut self, broker: $crate::common::options::BrokerOptions) -> Self {
            self.broker = broker;
            self
        }

        /// Sets hosts and ports.
        #[must_use]
        pub fn hosts<H: Into<String>>(mut self, hosts: impl IntoIterator<Item = (H, u16)>) -> Self {
            self.hosts = hosts.into_iter().map(|(host, port)| (host.into(), port)).collect();
            self
        }

        /// Sets user and password.
        #[must_use]
        pub fn credentials(mut self, user: impl Into<String>, password: impl Into<String>) -> Self {
            self.user = Some(user.into());
            self.password = Some($crate::common::secret::Secret::new(password));
            self
        }
    };
}
pub(crate) use common_setters;

/// An option that is a duration: a whole number and `ms`, `s`, `m` or `h`.
///
/// # Errors
/// `Invalid` that names the option.
pub(crate) fn duration(url: &BrokerUrl, name: &str) -> Result<Option<Duration>> {
    let Some(text) = url.option(name) else { return Ok(None) };
    let wrong = || bad(name, "must be a whole number with a unit, as in `500ms`, `10s`, `5m` or `1h`");
    let split = text.find(|c: char| !c.is_ascii_digit()).ok_or_else(wrong)?;
    let (number, unit) = text.split_at(split);
    let number: u64 = number.parse().map_err(|_| wrong())?;
    let unit = match unit {
        "ms" => 1,
        "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        _ => return Err(wrong()),
    };
    number.checked_mul(unit).map(|ms| Some(Duration::from_millis(ms))).ok_or_else(wrong)
}

/// An error that names an option.
pub(crate) fn bad(field: &str, problem: &str) -> Error {
    Error::new(ErrorKind::Invalid, "connect", format!("field `{field}` {problem}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(query: &str) -> Result<BrokerOptions> {
        BrokerOptions::from_url(&BrokerUrl::parse(&format!("redis://h?{query}")).unwrap(), &["db"])
    }

    #[test]
    fn options_are_read_and_written_back() {
        let query = "prefix=shop&source=/pubsub/shop&wire=envelope&start=degraded&connect_timeout=1500ms&strict=true\
                     &ca=/a&cert=/b&key=/c&db=1";
        let options = read(query).unwrap();
        assert_eq!(options.connect_timeout, Duration::from_millis(1500));
        let mut written = String::new();
        options.put(&mut |name, value| written += &format!("{name}={value}&"));
        assert_eq!(read(written.trim_end_matches('&')).unwrap(), options);
        assert_eq!(read("").unwrap(), BrokerOptions::default());
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (query, field) in [
            ("prefix=a%20b", "prefix"),
            ("source=", "source"),
            ("wire=xml", "wire"),
            ("start=now", "start"),
            ("connect_timeout=10", "connect_timeout"),
            ("connect_timeout=0s", "connect_timeout"),
            ("connect_timeout=99999999999999999999h", "connect_timeout"),
            ("strict=maybe", "strict"),
            ("cert=/a", "cert"),
            ("bd=1", "bd"),
        ] {
            let error = read(query).unwrap_err();
            assert!(error.message().contains(&format!("`{field}`")), "{query}: {error}");
        }
    }
}
