//! What the client and the server report, in the library's words.

use std::{error::Error as StdError, io};

use async_nats::{
    ConnectError, ConnectErrorKind,
    jetstream::{ErrorCode, context::RequestErrorKind},
    rustls::Error as TlsError,
};
use pubsub_core::{Error, ErrorKind};

use super::options::NatsOptions;
use crate::common::tls;

type Cause = Box<dyn StdError + Send + Sync>;

/// Why there is no connection. Who is not let in, or cannot encrypt, need not try again.
pub(super) fn connect(error: ConnectError, options: &NatsOptions) -> Error {
    if let Some((kind, text)) = tls::explain(&tls::chain(&error), options.tls) {
        return Error::new(kind, "connect", format!("{text} (the server at {})", options.place())).because(error);
    }
    let kind = match error.kind() {
        ConnectErrorKind::Authentication | ConnectErrorKind::AuthorizationViolation | ConnectErrorKind::Tls => {
            ErrorKind::Auth
        }
        ConnectErrorKind::ServerParse => ErrorKind::Invalid,
        _ if is_tls(&error) => ErrorKind::Auth,
        _ => ErrorKind::Unavailable,
    };
    let place = options.place();
    let text = match kind {
        ErrorKind::Auth => format!("the server at {place} does not let us in: {}", error.kind()),
        _ => format!("the server at {place} cannot be reached: {}", error.kind()),
    };
    Error::new(kind, "connect", text).because(error)
}

/// Whether a failed handshake is behind an error of reading and writing.
fn is_tls(error: &ConnectError) -> bool {
    let mut cause: Option<&(dyn StdError + 'static)> = error.source();
    while let Some(error) = cause {
        if let Some(io) = error.downcast_ref::<io::Error>()
            && let Some(inner) = io.get_ref()
            && inner.is::<TlsError>()
        {
            return true;
        }
        if error.is::<TlsError>() {
            return true;
        }
        cause = StdError::source(error);
    }
    false
}

/// Whether the client's words for a failed reconnect tell of credentials or encryption.
pub(super) fn is_auth(text: &str) -> bool {
    ["authorization violation", "failed signing nonce", "TLS error", "authentication"]
        .iter()
        .any(|word| text.to_ascii_lowercase().contains(&word.to_ascii_lowercase()))
}

/// An API request that got no answer.
pub(super) fn request(operation: &'static str, error: async_nats::jetstream::context::RequestError) -> Error {
    let (kind, text) = match error.kind() {
        RequestErrorKind::TimedOut => (ErrorKind::Timeout, "the server did not answer in time"),
        RequestErrorKind::NoResponders => {
            (ErrorKind::Unavailable, "JetStream does not answer; if the server has it turned off, start it with `-js`")
        }
        _ => (ErrorKind::Backend, "the request failed"),
    };
    Error::new(kind, operation, text).because(error)
}

/// An answer that is an error.
pub(super) fn api(operation: &'static str, error: async_nats::jetstream::Error) -> Error {
    let kind = kind_of(error.error_code(), error.code());
    Error::new(kind, operation, "the server refused").because(error)
}

/// The kind of an error code of the server.
pub(super) fn kind_of(code: ErrorCode, status: usize) -> ErrorKind {
    match code.0 {
        10_059 | 10_014 => ErrorKind::NotFound,
        10_058 | 10_065 | 10_012 | 10_013 | 10_148 | 10_071 | 10_164 => ErrorKind::Conflict,
        10_054 => ErrorKind::TooLarge,
        10_047 | 10_077 | 10_122 | 10_023 | 10_028 | 10_027 => ErrorKind::Rejected,
        10_008 | 10_009 | 10_118 => ErrorKind::Unavailable,
        10_039 | 10_076 => ErrorKind::Unsupported,
        _ if status == 503 => ErrorKind::Unavailable,
        _ => ErrorKind::Backend,
    }
}

/// An error of the client's that has no answer of the server in it.
pub(super) fn client(operation: &'static str, error: impl Into<Cause>) -> Error {
    Error::new(ErrorKind::Unavailable, operation, "the connection does not take the request").because(error)
}

pub(super) fn closed(operation: &'static str) -> Error {
    Error::new(ErrorKind::Closed, operation, "the adapter is closed")
}
