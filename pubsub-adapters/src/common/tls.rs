//! Certificates of an address, and what a connection that fails has to do with TLS.

use std::{fs, path::Path};

use pubsub_core::{Error, ErrorKind, Result};

use super::options::{BrokerOptions, bad};

/// The files that an address names, read once and seen to hold what they should.
#[derive(Clone, Default)]
#[cfg_attr(not(feature = "tls"), allow(dead_code, reason = "without TLS they are only checked"))]
pub(crate) struct Certificates {
    /// The authorities, as PEM.
    pub(crate) ca: Option<Vec<u8>>,
    /// The client's certificate and private key, as PEM.
    pub(crate) identity: Option<(Vec<u8>, Vec<u8>)>,
}

impl Certificates {
    /// Reads the files of `options`. Without encryption they have no meaning: `remedy` says how to ask for it, as in
    /// "write `rediss://`".
    ///
    /// # Errors
    /// `Invalid` that names the option whose file cannot be used.
    pub(crate) fn read(options: &BrokerOptions, encrypted: bool, remedy: &str) -> Result<Self> {
        let named = [("ca", &options.ca), ("cert", &options.cert), ("key", &options.key)];
        if let Some((name, _)) = named.into_iter().find(|(_, path)| !encrypted && path.is_some()) {
            return Err(bad(name, &format!("has no meaning without TLS: {remedy}")));
        }
        let ca = options.ca.as_deref().map(|path| pem("ca", path, "CERTIFICATE")).transpose()?;
        let cert = options.cert.as_deref().map(|path| pem("cert", path, "CERTIFICATE")).transpose()?;
        let key = options.key.as_deref().map(|path| pem("key", path, "PRIVATE KEY")).transpose()?;
        Ok(Self { ca, identity: cert.zip(key) })
    }
}

/// The bytes of a PEM file with at least one section of this kind.
fn pem(field: &str, path: &Path, section: &str) -> Result<Vec<u8>> {
    let bytes = fs::read(path).map_err(|cause| {
        let text = format!("field `{field}` names a file that cannot be read: {}", path.display());
        Error::new(ErrorKind::Invalid, "connect", text).because(cause)
    })?;
    let text = String::from_utf8_lossy(&bytes);
    let holds = |mark: &str| {
        text.lines().any(|line| line.starts_with(mark) && line.trim_end().ends_with("-----") && line.contains(section))
    };
    if !holds("-----BEGIN ") || !holds("-----END ") {
        let text = format!("names a file without a {} in PEM form: {}", section.to_ascii_lowercase(), path.display());
        return Err(bad(field, &text));
    }
    Ok(bytes)
}

/// What servers say of a certificate of the client that is missing, or that they do not trust.
const CLIENT_REFUSED: [&str; 7] = [
    "CertificateRequired",
    "certificate required",
    "HandshakeFailure",
    "BadCertificate",
    "DecryptError",
    "UnknownCA",
    "CertificateUnknown",
];

/// What a failed attempt to connect over rustls has to do with TLS, if anything, with the remedy. `cause` is the
/// text of all causes.
pub(crate) fn explain(cause: &str, encrypted: bool) -> Option<(ErrorKind, &'static str)> {
    let has = |words: &[&str]| words.iter().any(|word| cause.contains(word));
    if has(&["UnknownIssuer", "invalid peer certificate", "NotValidForName", "CertExpired", "BadSignature"]) {
        let text = "TLS: the server's certificate is not one that is trusted here: name the file of its authority with \
                    `ca=`, and the host as the certificate does";
        return Some((ErrorKind::Auth, text));
    }
    if has(&CLIENT_REFUSED) {
        let text =
            "TLS: the server wants a certificate of the client that it trusts: name its files with `cert=` and `key=`";
        return Some((ErrorKind::Auth, text));
    }
    if encrypted && has(&["corrupt message", "InvalidContentType", "InvalidMessage", "wrong version number"]) {
        return Some((
            ErrorKind::Unavailable,
            "TLS: the server does not answer in TLS; the port may be one without it",
        ));
    }
    if !encrypted && has(&["reset by peer", "unexpected end of file", "UnexpectedEof", "early eof", "Broken pipe"]) {
        return Some((ErrorKind::Unavailable, "the server hung up at once; the port may want TLS"));
    }
    None
}

/// An error and all its causes, on one line.
pub(crate) fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let next = cause.to_string();
        if !text.contains(&next) {
            text += &format!(": {next}");
        }
        source = cause.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(name: &str, content: Option<&str>) -> (BrokerOptions, std::path::PathBuf) {
        let path = std::env::temp_dir().join(format!("pubsub-{}-{name}.pem", std::process::id()));
        if let Some(content) = content {
            fs::write(&path, content).unwrap();
        }
        (BrokerOptions { ca: Some(path.clone()), ..BrokerOptions::default() }, path)
    }

    #[test]
    fn files_are_read_and_what_cannot_be_used_is_named() {
        let good = "-----BEGIN CERTIFICATE-----\nAA==\n-----END CERTIFICATE-----\n";
        let (options, path) = with("good", Some(good));
        assert_eq!(Certificates::read(&options, true, "").unwrap().ca.unwrap(), good.as_bytes());
        let error = Certificates::read(&options, false, "write `rediss://`").err().unwrap();
        assert!(error.message().contains("`ca`") && error.message().contains("`rediss://`"), "{error}");
        fs::remove_file(path).unwrap();

        let (options, path) = with("garbage", Some("no certificate"));
        let error = Certificates::read(&options, true, "").err().unwrap();
        assert!(error.kind() == ErrorKind::Invalid && error.message().contains("`ca`"), "{error}");
        fs::remove_file(path).unwrap();

        let (options, _) = with("absent", None);
        let error = Certificates::read(&options, true, "").err().unwrap();
        assert!(error.kind() == ErrorKind::Invalid && error.message().contains("`ca`"), "{error}");
    }

    #[test]
    fn what_fails_is_explained_with_its_remedy() {
        let (kind, text) = explain("IO error: invalid peer certificate: UnknownIssuer", true).unwrap();
        assert!(kind == ErrorKind::Auth && text.contains("`ca=`"));
        assert!(explain("received corrupt message of type InvalidContentType", true).unwrap().1.contains("without it"));
        assert!(explain("Connection reset by peer (os error 104)", false).unwrap().1.contains("may want TLS"));
        assert!(explain("received fatal alert: UnknownCA", true).unwrap().1.contains("`cert=`"));
        assert_eq!(explain("Connection refused", true), None);
    }
}
