//! Where the NATS server is, and how to use it.

use std::{fmt, path::PathBuf};

use pubsub_core::{Error, ErrorKind, Result};

use crate::{
    common::{
        options::{BrokerOptions, bad, common_setters},
        secret::Secret,
    },
    url::BrokerUrl,
};

const PORT: u16 = 4222;

/// Where streams are kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum NatsStorage {
    /// On disk: `file`. Events survive a restart of the server.
    #[default]
    File,
    /// In the server's memory: `memory`. Events end with the server.
    Memory,
}

/// Options of the NATS adapter.
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct NatsOptions {
    /// What all adapters have in common.
    pub broker: BrokerOptions,
    /// Hosts and ports of the servers of one cluster.
    pub hosts: Vec<(String, u16)>,
    /// Whether the connection must be encrypted.
    pub tls: bool,
    /// Whether encryption begins before the server's greeting.
    pub tls_first: bool,
    /// The user.
    pub user: Option<String>,
    password: Option<Secret>,
    token: Option<Secret>,
    /// A file that holds the seed of an nkey.
    pub nkey: Option<PathBuf>,
    /// A file with credentials, as `nsc` writes it.
    pub creds: Option<PathBuf>,
    /// How many servers keep a copy of each stream.
    pub replicas: usize,
    /// Where streams are kept.
    pub storage: NatsStorage,
}

impl Default for NatsOptions {
    fn default() -> Self {
        Self {
            broker: BrokerOptions::default(),
            hosts: vec![("localhost".to_owned(), PORT)],
            tls: false,
            tls_first: false,
            user: None,
            password: None,
            token: None,
            nkey: None,
            creds: None,
            replicas: 1,
            storage: NatsStorage::File,
        }
    }
}

impl NatsOptions {
    /// A server on this machine.
    pub fn new() -> Self {
        Self::default()
    }

    common_setters!();

    /// Sets the token to authenticate with.
    #[must_use]
    pub fn token(mut self, token: impl Into<String>) -> Self {
        self.token = Some(Secret::new(token));
        self
    }

    /// Sets how many servers keep a copy of each stream.
    #[must_use]
    pub fn replicas(mut self, replicas: usize) -> Self {
        self.replicas = replicas;
        self
    }

    /// Sets where streams are kept.
    #[must_use]
    pub fn storage(mut self, storage: NatsStorage) -> Self {
        self.storage = storage;
        self
    }

    /// Reads an address: `nats://user:password@host:4222,host2/?creds=file&replicas=3`.
    ///
    /// # Errors
    /// `Invalid` that names the part at fault, `Unsupported` for a way to connect that is not built in.
    pub fn from_url(url: &BrokerUrl) -> Result<Self> {
        let more = ["token", "nkey", "creds", "tls_first", "replicas", "storage"];
        let tls = match url.scheme() {
            "nats" => false,
            "tls" => true,
            "wss" => {
                let text = "`wss:` is not built in: WebSockets of the client are left out; connect with `tls:`";
                return Err(Error::new(ErrorKind::Unsupported, "connect", text));
            }
            _ => return Err(bad("scheme", "must be `nats` or `tls`")),
        };
        if !url.path().is_empty() {
            return Err(bad("path", "has no meaning here"));
        }
        let hosts: Vec<_> = url.hosts().iter().map(|(host, port)| (host.clone(), port.unwrap_or(PORT))).collect();
        let options = Self {
            broker: BrokerOptions::from_url(url, &more)?,
            hosts,
            tls,
            tls_first: url.parsed_option("tls_first")?.unwrap_or(false),
            user: url.user().map(str::to_owned),
            password: url.password().map(Secret::new),
            token: url.option("token").map(Secret::new),
            nkey: url.option("nkey").map(PathBuf::from),
            creds: url.option("creds").map(PathBuf::from),
            replicas: url.parsed_option("replicas")?.unwrap_or(1),
            storage: match url.option("storage") {
                None | Some("file") => NatsStorage::File,
                Some("memory") => NatsStorage::Memory,
                Some(_) => return Err(bad("storage", "must be `file` or `memory`")),
            },
        };
        options.check()?;
        Ok(options)
    }

    /// The address that reads as these options, secrets included.
    pub fn to_url(&self) -> BrokerUrl {
        let mut url = BrokerUrl::of(if self.tls { "tls" } else { "nats" })
            .with_credentials(self.user.as_deref(), self.password.as_ref().map(Secret::expose));
        for (host, port) in &self.hosts {
            url = url.with_host(host, Some(*port));
        }
        let mut pairs = Vec::new();
        self.broker.put(&mut |name, value| pairs.push((name.to_owned(), value.to_owned())));
        let mut put = |name: &str, value: String| pairs.push((name.to_owned(), value));
        if let Some(token) = &self.token {
            put("token", token.expose().to_owned());
        }
        for (name, path) in [("nkey", &self.nkey), ("creds", &self.creds)] {
            if let Some(path) = path {
                put(name, path.to_string_lossy().into_owned());
            }
        }
        if self.tls_first {
            put("tls_first", "true".to_owned());
        }
        if self.replicas != 1 {
            put("replicas", self.replicas.to_string());
        }
        if self.storage == NatsStorage::Memory {
            put("storage", "memory".to_owned());
        }
        pairs.iter().fold(url, |url, (name, value)| url.with_option(name, value))
    }

    /// Checks them, however they were set.
    ///
    /// # Errors
    /// `Invalid` that names the option at fault.
    pub(super) fn check(&self) -> Result<()> {
        self.broker.check()?;
        if self.hosts.is_empty() {
            return Err(bad("host", "is missing"));
        }
        if !(1..=5).contains(&self.replicas) {
            return Err(bad("replicas", "must be from 1 to 5"));
        }
        if self.password.is_some() && self.user.is_none() {
            return Err(bad("user", "is missing beside the password"));
        }
        if self.user.is_some() && self.password.is_none() {
            return Err(bad("password", "is missing beside the user; a token is written as `?token=`"));
        }
        let ways = [self.user.is_some(), self.token.is_some(), self.nkey.is_some(), self.creds.is_some()];
        if ways.iter().filter(|way| **way).count() > 1 {
            return Err(bad("creds", "must be the only one among `user`, `token`, `nkey` and `creds`"));
        }
        Ok(())
    }

    /// Where the servers are, for errors.
    pub(super) fn place(&self) -> String {
        let places: Vec<_> = self.hosts.iter().map(|(host, port)| format!("{host}:{port}")).collect();
        places.join(", ")
    }

    pub(super) fn secret_password(&self) -> &str {
        self.password.as_ref().map_or("", Secret::expose)
    }

    pub(super) fn secret_token(&self) -> Option<&str> {
        self.token.as_ref().map(Secret::expose)
    }
}

impl fmt::Debug for NatsOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NatsOptions").field("url", &self.to_url()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<NatsOptions> {
        NatsOptions::from_url(&BrokerUrl::parse(text)?)
    }

    #[test]
    fn options_are_read_and_written_back() {
        for text in [
            "nats://h",
            "nats://me:p%2Fw@h1:4223,[::1]?prefix=shop&replicas=3&storage=memory",
            "tls://h?token=hunter2&tls_first=true&ca=/a&cert=/b&key=/c",
            "nats://h?nkey=/seed&start=degraded",
            "nats://h?creds=/a%20b",
        ] {
            let options = read(text).unwrap();
            assert_eq!(NatsOptions::from_url(&options.to_url()).unwrap(), options, "{text}");
            assert_eq!(read(&options.to_url().expose()).unwrap(), options, "{text}");
        }
        let made = NatsOptions::new()
            .hosts([("h", 1)])
            .credentials("me", "hunter2")
            .broker(BrokerOptions::new().prefix("p"))
            .replicas(2);
        assert_eq!(NatsOptions::from_url(&made.to_url()).unwrap(), made);
        assert!(!format!("{made:?}").contains("hunter2"));
        assert!(!format!("{:?}", read("nats://h?token=hunter2").unwrap()).contains("hunter2"));
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (text, field) in [
            ("nats://", "host"),
            ("nats:", "host"),
            ("nats://h/path", "path"),
            ("nats://h?replicas=0", "replicas"),
            ("nats://h?replicas=x", "replicas"),
            ("nats://h?storage=tape", "storage"),
            ("nats://h?tls_first=1", "tls_first"),
            ("nats://me:pw@h?token=t", "creds"),
            ("nats://:pw@h", "user"),
            ("nats://name@h", "password"),
            ("nats://h?nonsense=1", "nonsense"),
        ] {
            let error = read(text).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Invalid, "{text}");
            assert!(error.message().contains(&format!("`{field}`")), "{text}: {error}");
        }
        let error = read("wss://h").unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unsupported);
        assert!(error.message().contains("`tls:`"), "{error}");
    }
}
