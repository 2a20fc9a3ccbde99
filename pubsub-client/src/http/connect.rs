//! Connections: TCP, and TLS over it where the address asks for it and the feature `tls` is on.

use std::{
    error::Error as StdError,
    future::Future,
    io,
    path::PathBuf,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use http::Uri;
use hyper_util::client::legacy::connect::HttpConnector;
use pubsub_core::{Error, ErrorKind, Result};
use tower_service::Service;

#[cfg(feature = "tls")]
type Stack = hyper_rustls::HttpsConnector<HttpConnector>;
#[cfg(not(feature = "tls"))]
type Stack = HttpConnector;

type BoxError = Box<dyn StdError + Send + Sync>;

/// What is known of connections beside the address.
#[derive(Clone, Debug)]
pub(super) struct Options {
    /// How long one may take to be made, its TLS included.
    pub(super) limit: Duration,
    /// The file of the only authorities that are trusted.
    pub(super) ca: Option<PathBuf>,
}

/// Makes connections within their time.
#[derive(Clone)]
pub(super) struct Connector {
    stack: Stack,
    limit: Duration,
}

impl Service<Uri> for Connector {
    type Response = <Stack as Service<Uri>>::Response;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, BoxError>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.stack.poll_ready(context).map_err(Into::into)
    }

    fn call(&mut self, url: Uri) -> Self::Future {
        let (connecting, limit) = (self.stack.call(url), self.limit);
        Box::pin(async move {
            let connected = tokio::time::timeout(limit, connecting).await;
            let connection = connected.map_err(|_| io::Error::from(io::ErrorKind::TimedOut))??;
            Ok(connection)
        })
    }
}

/// Makes what connects.
///
/// # Errors
/// `Unsupported` for TLS without the feature, `Invalid` for authorities that cannot be read.
pub(super) fn connector(encrypted: bool, options: &Options) -> Result<Connector> {
    if options.ca.is_some() && !encrypted {
        let message = "field `ca` has no meaning without TLS: write `https://`";
        return Err(Error::new(ErrorKind::Invalid, "build client", message));
    }
    let mut tcp = HttpConnector::new();
    tcp.set_nodelay(true);
    Ok(Connector { stack: stack(tcp, encrypted, options)?, limit: options.limit })
}

#[cfg(not(feature = "tls"))]
fn stack(tcp: HttpConnector, encrypted: bool, _: &Options) -> Result<Stack> {
    if encrypted {
        let message = "`https://` needs the feature `tls`";
        return Err(Error::new(ErrorKind::Unsupported, "build client", message));
    }
    Ok(tcp)
}

#[cfg(feature = "tls")]
fn stack(mut tcp: HttpConnector, encrypted: bool, options: &Options) -> Result<Stack> {
    use std::sync::Arc;

    // Who speaks no TLS is not asked for the machine's authorities.
    let roots = if encrypted { authorities(options.ca.as_deref())? } else { rustls::RootCertStore::empty() };
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let config = config
        .map_err(|error| Error::new(ErrorKind::Backend, "build client", "TLS cannot be set up").because(error))?;
    let config = config.with_root_certificates(roots).with_no_client_auth();
    tcp.enforce_http(false);
    let https = hyper_rustls::HttpsConnectorBuilder::new().with_tls_config(config).https_or_http();
    Ok(https.enable_all_versions().wrap_connector(tcp))
}

/// The authorities of the file; those that the machine trusts without one.
#[cfg(feature = "tls")]
fn authorities(file: Option<&std::path::Path>) -> Result<rustls::RootCertStore> {
    use rustls::pki_types::{CertificateDer, pem::PemObject};

    let invalid = |message: String| Error::new(ErrorKind::Invalid, "build client", message);
    let mut roots = rustls::RootCertStore::empty();
    let Some(file) = file else {
        // Some that cannot be read are usual; without any, nothing could be trusted.
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        if roots.is_empty() {
            return Err(invalid("the machine names no authority for certificates: name one with `ca`".into()));
        }
        return Ok(roots);
    };
    let shown = file.display();
    let bytes = std::fs::read(file)
        .map_err(|cause| invalid(format!("field `ca` names a file that cannot be read: {shown}")).because(cause))?;
    for certificate in CertificateDer::pem_slice_iter(&bytes) {
        let bad = || invalid(format!("field `ca` names a file with a certificate that cannot be used: {shown}"));
        roots.add(certificate.map_err(|cause| bad().because(cause))?).map_err(|cause| bad().because(cause))?;
    }
    if roots.is_empty() {
        return Err(invalid(format!("field `ca` names a file without a certificate in PEM form: {shown}")));
    }
    Ok(roots)
}

/// What the cause of a failed connection has to do with TLS, if anything.
#[cfg(not(feature = "tls"))]
pub(super) fn explain(_: &(dyn StdError + 'static)) -> Option<(ErrorKind, &'static str)> {
    None
}

#[cfg(feature = "tls")]
pub(super) fn explain(cause: &(dyn StdError + 'static)) -> Option<(ErrorKind, &'static str)> {
    use rustls::Error::{AlertReceived, InvalidCertificate, InvalidMessage};

    Some(match cause.downcast_ref::<rustls::Error>()? {
        InvalidCertificate(_) => (
            ErrorKind::Auth,
            "TLS: the server's certificate is not one that is trusted here: name the file of its authority with `ca`, \
             and the host as the certificate does",
        ),
        AlertReceived(_) => (ErrorKind::Auth, "TLS: the server refuses this client"),
        InvalidMessage(_) => {
            (ErrorKind::Unavailable, "TLS: the server does not answer in TLS; the port may be one without it")
        }
        _ => return None,
    })
}
