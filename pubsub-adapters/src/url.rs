//! Broker addresses: one grammar for every adapter.
//!
//! `scheme://user:password@host:port,host:port/path?option=value`. The hosts may be several, which the generic syntax of
//! RFC 3986 does not know; everything else follows it.

use std::fmt;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};
use pubsub_core::{Error, ErrorKind, Result};

/// The longest address, in bytes.
const MAX_LEN: usize = 4096;

/// What is written as it is: RFC 3986 calls it unreserved.
const ENCODED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// The parts of an address, decoded. `Debug` and `Display` hide the password and every option that may hold a secret.
#[derive(Clone, PartialEq, Eq)]
pub struct BrokerUrl {
    scheme: String,
    user: Option<String>,
    password: Option<String>,
    hosts: Vec<(String, Option<u16>)>,
    has_authority: bool,
    path: String,
    options: Vec<(String, String)>,
}

impl BrokerUrl {
    /// Reads an address.
    ///
    /// # Errors
    /// `Invalid` that names the part at fault; the text itself is not repeated, for it may hold a password.
    pub fn parse(text: &str) -> Result<Self> {
        if text.len() > MAX_LEN {
            return Err(bad("url", "is longer than 4096 bytes"));
        }
        if text.chars().any(|c| c.is_control() || c.is_whitespace()) {
            return Err(bad("url", "holds white space or a control character"));
        }
        let (scheme, rest) = text.split_once(':').ok_or_else(|| bad("scheme", "is missing: write `scheme://host`"))?;
        let letters = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '+' | '-' | '.');
        if !scheme.starts_with(|c: char| c.is_ascii_lowercase()) || !scheme.chars().all(letters) {
            return Err(bad("scheme", "must be lower-case letters, as in `redis://`"));
        }
        if rest.contains('#') {
            return Err(bad("url", "has a fragment, which no adapter knows"));
        }
        let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
        let (has_authority, (authority, path)) = match rest.strip_prefix("//") {
            Some(rest) => (true, rest.split_at(rest.find('/').unwrap_or(rest.len()))),
            None => (false, ("", rest)),
        };
        let (credentials, hosts) = match authority.rsplit_once('@') {
            Some((credentials, hosts)) => (Some(credentials), hosts),
            None => (None, authority),
        };
        let (user, password) = match credentials.map(|text| text.split_once(':').unwrap_or((text, ""))) {
            Some((user, "")) => (Some(decode(user, "user")?), None),
            Some((user, password)) => (Some(decode(user, "user")?), Some(decode(password, "password")?)),
            None => (None, None),
        };
        Ok(Self {
            scheme: scheme.to_owned(),
            user: user.filter(|user| !user.is_empty()),
            password,
            hosts: hosts.split(',').filter(|host| !host.is_empty()).map(parse_host).collect::<Result<_>>()?,
            has_authority,
            path: decode(path.strip_prefix('/').unwrap_or(path), "path")?,
            options: query.split('&').filter(|pair| !pair.is_empty()).map(parse_option).collect::<Result<_>>()?,
        })
    }

    /// An address of this scheme and nothing else, to be filled in.
    pub fn of(scheme: &str) -> Self {
        Self {
            scheme: scheme.to_owned(),
            user: None,
            password: None,
            hosts: Vec::new(),
            has_authority: true,
            path: String::new(),
            options: Vec::new(),
        }
    }

    /// Sets user and password.
    #[must_use]
    pub fn with_credentials(mut self, user: Option<&str>, password: Option<&str>) -> Self {
        self.user = user.map(str::to_owned);
        self.password = password.map(str::to_owned);
        self
    }

    /// Adds a host.
    #[must_use]
    pub fn with_host(mut self, host: &str, port: Option<u16>) -> Self {
        self.hosts.push((host.to_owned(), port));
        self
    }

    /// Sets what stands between the hosts and the options.
    #[must_use]
    pub fn with_path(mut self, path: &str) -> Self {
        path.clone_into(&mut self.path);
        self
    }

    /// Adds an option.
    #[must_use]
    pub fn with_option(mut self, name: &str, value: &str) -> Self {
        self.options.push((name.to_owned(), value.to_owned()));
        self
    }

    /// The address with its secrets, as [`BrokerUrl::parse`] reads it. `Display` hides them.
    pub fn expose(&self) -> String {
        let encode = |text: &str| utf8_percent_encode(text, ENCODED).to_string();
        let mut text = format!("{}:{}", self.scheme, if self.has_authority { "//" } else { "" });
        if self.user.is_some() || self.password.is_some() {
            text += &encode(self.user().unwrap_or(""));
            text += &self.password().map(|password| format!(":{}", encode(password))).unwrap_or_default();
            text.push('@');
        }
        let hosts = self.hosts.iter().map(|(host, port)| {
            let host = if host.contains(':') { format!("[{host}]") } else { encode(host) };
            port.map_or_else(|| host.clone(), |port| format!("{host}:{port}"))
        });
        text += &hosts.collect::<Vec<_>>().join(",");
        if !self.path.is_empty() {
            text += if self.has_authority { "/" } else { "" };
            text += &encode(&self.path);
        }
        for (index, (name, value)) in self.options.iter().enumerate() {
            text += &format!("{}{}={}", if index == 0 { "?" } else { "&" }, encode(name), encode(value));
        }
        text
    }

    /// The scheme, as in `redis`.
    pub fn scheme(&self) -> &str {
        &self.scheme
    }

    /// The user.
    pub fn user(&self) -> Option<&str> {
        self.user.as_deref()
    }

    /// The password.
    pub fn password(&self) -> Option<&str> {
        self.password.as_deref()
    }

    /// Hosts and ports, in order.
    pub fn hosts(&self) -> &[(String, Option<u16>)] {
        &self.hosts
    }

    /// Whether there is a place for hosts, were it empty: `memory://` has one, `memory:` has none.
    pub fn has_authority(&self) -> bool {
        self.has_authority
    }

    /// What stands between the hosts and the options, without its first slash.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// The options in order.
    pub fn options(&self) -> impl Iterator<Item = (&str, &str)> {
        self.options.iter().map(|(name, value)| (name.as_str(), value.as_str()))
    }

    /// Checks that only these options are there, each at most once.
    ///
    /// # Errors
    /// `Invalid` that names every unknown option, and lists the known ones.
    pub fn check_options(&self, known: &[&str]) -> Result<()> {
        let unknown: Vec<_> = self.options().map(|(name, _)| name).filter(|name| !known.contains(name)).collect();
        if !unknown.is_empty() {
            let text = format!("`{}` unknown to `{}:`; known: {}", unknown.join("`, `"), self.scheme, known.join(", "));
            return Err(Error::new(ErrorKind::Invalid, "connect", format!("option {text}")));
        }
        for (index, (name, _)) in self.options.iter().enumerate() {
            if self.options[..index].iter().any(|(earlier, _)| earlier == name) {
                return Err(bad(name, "is given twice"));
            }
        }
        Ok(())
    }

    /// The value of an option.
    pub fn option(&self, name: &str) -> Option<&str> {
        self.options().find(|(known, _)| *known == name).map(|(_, value)| value)
    }

    /// The value of an option as a number or another type that reads from text.
    ///
    /// # Errors
    /// `Invalid` that names the option.
    pub fn parsed_option<T: std::str::FromStr>(&self, name: &str) -> Result<Option<T>> {
        match self.option(name).map(str::parse) {
            None => Ok(None),
            Some(Ok(value)) => Ok(Some(value)),
            Some(Err(_)) => Err(bad(name, &format!("must be {}", kind_of::<T>()))),
        }
    }
}

/// A type in a user's words.
fn kind_of<T>() -> &'static str {
    match std::any::type_name::<T>() {
        "bool" => "`true` or `false`",
        "f32" | "f64" => "a number",
        name if name.starts_with(['u', 'i']) => "a whole number within its range",
        name => name,
    }
}

fn bad(field: &str, problem: &str) -> Error {
    Error::new(ErrorKind::Invalid, "connect", format!("field `{field}` {problem}"))
}

fn decode(text: &str, field: &str) -> Result<String> {
    let decoded = percent_decode_str(text).decode_utf8().map_err(|_| bad(field, "is not UTF-8 once decoded"))?;
    if decoded.chars().any(char::is_control) {
        return Err(bad(field, "holds a control character"));
    }
    Ok(decoded.into_owned())
}

fn parse_host(text: &str) -> Result<(String, Option<u16>)> {
    // An IPv6 address stands in brackets, for it has colons of its own.
    let (host, rest) = match text.strip_prefix('[') {
        Some(rest) => rest.split_once(']').ok_or_else(|| bad("host", "opens a bracket that nothing closes"))?,
        None => text.split_at(text.find(':').unwrap_or(text.len())),
    };
    let port = match rest.strip_prefix(':') {
        Some(port) => Some(port.parse().map_err(|_| bad("port", "must be a number from 0 to 65535"))?),
        None if rest.is_empty() => None,
        None => return Err(bad("host", "has something behind its bracket")),
    };
    let host = decode(host, "host")?;
    if host.is_empty() { Err(bad("host", "is empty")) } else { Ok((host, port)) }
}

fn parse_option(pair: &str) -> Result<(String, String)> {
    let Some((name, value)) = pair.split_once('=') else {
        return Err(bad(&decode(pair, "option")?, "needs a value"));
    };
    Ok((decode(name, "option")?, decode(value, "option")?))
}

impl std::str::FromStr for BrokerUrl {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        Self::parse(text)
    }
}

impl fmt::Display for BrokerUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:", self.scheme)?;
        if !self.hosts.is_empty() || self.user.is_some() || self.password.is_some() {
            f.write_str("//")?;
        }
        if self.user.is_some() || self.password.is_some() {
            write!(f, "{}{}@", self.user().unwrap_or(""), if self.password.is_some() { ":***" } else { "" })?;
        }
        for (index, (host, port)) in self.hosts.iter().enumerate() {
            f.write_str(if index == 0 { "" } else { "," })?;
            if host.contains(':') {
                write!(f, "[{host}]")?;
            } else {
                f.write_str(host)?;
            }
            if let Some(port) = port {
                write!(f, ":{port}")?;
            }
        }
        if !self.path.is_empty() {
            write!(f, "/{}", self.path)?;
        }
        for (index, (name, value)) in self.options.iter().enumerate() {
            let lower = name.to_ascii_lowercase();
            let secret =
                ["pass", "secret", "token", "key", "cred", "nkey", "jwt"].iter().any(|word| lower.contains(word));
            write!(f, "{}{name}={}", if index == 0 { "?" } else { "&" }, if secret { "***" } else { value })?;
        }
        Ok(())
    }
}

impl fmt::Debug for BrokerUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "BrokerUrl({self})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_parts_are_told_apart_and_decoded() {
        let url =
            BrokerUrl::parse("kafka://us%40er:p%3Aw@h1:9092,[::1]:9093,h3/a%2Fb?security=sasl_ssl&x=%20").unwrap();
        assert_eq!((url.scheme(), url.user(), url.password()), ("kafka", Some("us@er"), Some("p:w")));
        let hosts = [("h1".into(), Some(9092)), ("::1".into(), Some(9093)), ("h3".into(), None)];
        assert_eq!(url.hosts(), hosts);
        assert_eq!((url.path(), url.option("security"), url.option("x")), ("a/b", Some("sasl_ssl"), Some(" ")));
        let memory = BrokerUrl::parse("memory:").unwrap();
        assert!(memory.hosts().is_empty() && memory.path().is_empty());
    }

    #[test]
    fn an_address_is_written_as_it_is_read() {
        for text in [
            "kafka://us%40er:p%3Aw@h1:9092,[::1]:9093,h3/a%2Fb?security=sasl_ssl&x=%20",
            "redis://:pw@h/0",
            "memory:",
            "memory://name?capacity=1",
        ] {
            let url = BrokerUrl::parse(text).unwrap();
            assert_eq!((url.expose().as_str(), BrokerUrl::parse(&url.expose()).unwrap()), (text, url));
        }
        let made = BrokerUrl::of("nats").with_credentials(Some("me"), Some("p/w")).with_host("::1", Some(4222));
        assert_eq!(made.with_path("p").with_option("a", "b&c").expose(), "nats://me:p%2Fw@[::1]:4222/p?a=b%26c");
    }

    #[test]
    fn secrets_are_hidden() {
        let text = "redis://me:hunter2@h/0?password=hunter2&sasl.password=hunter2&token=hunter2&db=1";
        let url = BrokerUrl::parse(text).unwrap();
        for shown in [url.to_string(), format!("{url:?}")] {
            assert!(!shown.contains("hunter2") && shown.contains("db=1"), "{shown}");
        }
    }

    #[test]
    fn faults_name_the_part_and_never_the_text() {
        let cases = [
            ("", "scheme"),
            ("nothing", "scheme"),
            ("Redis://h", "scheme"),
            ("://h", "scheme"),
            ("redis://h:99999", "port"),
            ("redis://h:hunter2", "port"),
            ("redis://[::1", "host"),
            ("redis://[::1]x", "host"),
            ("redis://u:%ff@h", "password"),
            ("redis://h?a", "a"),
            ("redis://h#f", "url"),
            ("redis://h\n", "url"),
            (&"x".repeat(5000), "url"),
        ];
        for (text, field) in cases {
            let error = BrokerUrl::parse(text).unwrap_err();
            assert!(error.message().contains(&format!("`{field}`")), "{text}: {error}");
            assert!(!error.to_string().contains("hunter2"));
        }
    }

    #[test]
    fn unknown_options_are_listed_with_the_known_ones() {
        let url = BrokerUrl::parse("memory:?capacity=1&capcity=2&foo=3").unwrap();
        let error = url.check_options(&["capacity"]).unwrap_err();
        assert!(error.message().contains("`capcity`, `foo`") && error.message().contains("known: capacity"), "{error}");
        assert!(BrokerUrl::parse("memory:?a=1&a=2").unwrap().check_options(&["a"]).is_err());
    }
}
