use std::fmt;

use super::Certificates;

/// What a server with TLS and a password is started with; see [`BrokerOptions::secured`](super::BrokerOptions::secured).
///
/// The password may have letters, digits and `/ @ : . - _`, for it goes into configuration files of four kinds.
#[derive(Clone)]
pub struct Security {
    pub(super) certificates: Certificates,
    pub(super) user: String,
    pub(super) password: String,
}

impl Security {
    /// This certificate for the server, and this only user.
    #[must_use]
    pub fn new(certificates: Certificates, user: impl Into<String>, password: impl Into<String>) -> Self {
        Self { certificates, user: user.into(), password: password.into() }
    }

    /// User and password as they stand before the host of a URL, with the `@`.
    pub(super) fn in_url(&self) -> String {
        format!("{}:{}@", encoded(&self.user), encoded(&self.password))
    }

    /// `ca=` and the authority's file, as they stand in a URL.
    pub(super) fn authority_in_url(&self) -> String {
        format!("ca={}", encoded(&self.certificates.authority().display().to_string()))
    }
}

impl fmt::Debug for Security {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Security").field("user", &self.user).finish_non_exhaustive()
    }
}

/// The ways into a server that was started with [`Security`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Listener {
    /// TLS and the password (Kafka: `SASL_SSL` with SCRAM-SHA-512).
    Tls,
    /// The password without TLS (Kafka: `SASL_PLAINTEXT` with PLAIN and SCRAM-SHA-512). NATS has none.
    Plain,
    /// TLS without a password; Kafka alone has one.
    TlsAlone,
}

fn encoded(text: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
    text.bytes().map(|byte| if plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_encoded_in_a_url_and_hidden_elsewhere() {
        let folder = std::env::temp_dir();
        let security = Security::new(Certificates::at(folder), "al ice", "p/a@s:s");
        assert_eq!(security.in_url(), "al%20ice:p%2Fa%40s%3As@");
        assert!(!format!("{security:?}").contains("p/a@s:s"));
    }
}
