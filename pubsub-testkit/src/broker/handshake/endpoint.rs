use std::net::{SocketAddr, ToSocketAddrs};

use super::HandshakeError;
use crate::broker::BrokerOptions;

/// The part of a broker URL that a handshake needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    pub(super) address: SocketAddr,
    pub(super) user: Option<String>,
    pub(super) password: Option<String>,
    /// The path without its slash: RabbitMQ's virtual host.
    pub(super) path: String,
}

impl Endpoint {
    /// A server that asks for no password.
    pub(crate) fn at(address: SocketAddr) -> Self {
        Self { address, user: None, password: None, path: String::new() }
    }

    /// A server of ours, with its user and password if it has one.
    pub(crate) fn of(address: SocketAddr, options: &BrokerOptions) -> Self {
        let secured = options.security.as_ref().map(|of| (of.user.clone(), of.password.clone()));
        let (user, password) = secured.or_else(|| options.credentials.clone()).unzip();
        Self { user, password, ..Self::at(address) }
    }

    /// Reads `scheme://[user[:password]@]host:port[,host:port…][/path][?query]`; of several hosts the first counts.
    ///
    /// # Errors
    /// [`HandshakeError::Url`] when the URL has another form, asks for TLS, or its host has no address.
    pub fn parse(url: &str) -> Result<Self, HandshakeError> {
        let unusable = |fault: &str| HandshakeError::Url(fault.into());
        let (scheme, rest) = url.split_once("://").ok_or_else(|| unusable("it has no scheme"))?;
        if matches!(scheme, "rediss" | "tls" | "wss" | "amqps") || rest.contains("security=") {
            return Err(unusable("the handshake does not speak TLS or SASL"));
        }
        let rest = rest.split('?').next().unwrap_or_default();
        let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
        let (credentials, hosts) = match authority.rsplit_once('@') {
            Some((credentials, hosts)) => (Some(credentials), hosts),
            None => (None, authority),
        };
        let (user, password) = match credentials.map(|text| text.split_once(':').unwrap_or((text, ""))) {
            Some((user, password)) => (Some(decoded(user)?), Some(decoded(password)?)),
            None => (None, None),
        };
        let host = hosts.split(',').next().unwrap_or_default();
        let address = host
            .to_socket_addrs()
            .ok()
            .and_then(|mut addresses| addresses.next())
            .ok_or_else(|| unusable("it needs a host that can be resolved, and a port"))?;
        Ok(Self { address, user, password, path: decoded(path)? })
    }
}

/// Undoes percent-encoding.
fn decoded(text: &str) -> Result<String, HandshakeError> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&byte, after)) = rest.split_first() {
        let code = after.get(..2).and_then(|hex| u8::from_str_radix(std::str::from_utf8(hex).ok()?, 16).ok());
        match (byte, code) {
            (b'%', Some(code)) => {
                bytes.push(code);
                rest = &after[2..];
            }
            _ => {
                bytes.push(byte);
                rest = after;
            }
        }
    }
    String::from_utf8(bytes).map_err(|_| HandshakeError::Url("it is not UTF-8 once decoded".into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_parts_are_read() -> Result<(), HandshakeError> {
        let full = Endpoint::parse("amqp://gu%40est:p%2Fw@127.0.0.1:5672/my%20host?heartbeat=15")?;
        assert_eq!(full.address, SocketAddr::from(([127, 0, 0, 1], 5672)));
        assert_eq!(full.user.as_deref(), Some("gu@est"));
        assert_eq!(full.password.as_deref(), Some("p/w"));
        assert_eq!(full.path, "my host");
        let several = Endpoint::parse("kafka://127.0.0.1:9092,127.0.0.2:9093/")?;
        assert_eq!(several.address.port(), 9092);
        assert_eq!((several.user, several.path.as_str()), (None, ""));
        Ok(())
    }

    #[test]
    fn what_cannot_be_used_is_refused() {
        for url in [
            "127.0.0.1:1",
            "redis://",
            "redis://127.0.0.1",
            "rediss://127.0.0.1:1",
            "kafka://127.0.0.1:1/?security=sasl_ssl",
        ] {
            assert!(matches!(Endpoint::parse(url), Err(HandshakeError::Url(_))), "{url} was accepted");
        }
    }
}
