//! What the server and the client say, in the library's words.

use ::redis::{ErrorKind as RedisKind, RedisError, ServerErrorKind};
use pubsub_core::{Error, ErrorKind};

use super::options::RedisOptions;
use crate::common::tls::{chain, explain};

/// An error of the client or the server. Its own text is the source.
pub(super) fn from_redis(operation: &'static str, error: RedisError) -> Error {
    let kind = kind_of(&error);
    Error::new(kind, operation, text_of(kind)).because(error)
}

fn text_of(kind: ErrorKind) -> &'static str {
    match kind {
        ErrorKind::Auth => "the server refused the credentials, or its certificate was refused",
        ErrorKind::Timeout => "the server did not answer in time",
        ErrorKind::Unavailable => "the server cannot be reached",
        ErrorKind::Backpressure => "the server's memory is used up",
        ErrorKind::NotFound => "the stream or group does not exist",
        _ => "the server refused the command",
    }
}

/// Why there is no connection, with the address that was tried and, where it is known, what to do about it.
pub(super) fn from_connect(options: &RedisOptions, error: RedisError) -> Error {
    let cause = chain(&error);
    let (kind, text) = if cause.contains("refused to switch database") {
        (ErrorKind::Invalid, "field `path` names a database that the server does not have")
    } else if let Some(explained) = explain(&cause, options.tls) {
        explained
    } else {
        match kind_of(&error) {
            ErrorKind::Timeout if options.tls => {
                (ErrorKind::Timeout, "the server did not answer in time; the port may be one without TLS")
            }
            kind => (kind, text_of(kind)),
        }
    };
    Error::new(kind, "connect", format!("{}: {text}", options.places())).because(error)
}

/// Whether it makes no sense to wait for the connection: somebody has to mend the address first.
pub(super) fn is_final(error: &Error) -> bool {
    matches!(error.kind(), ErrorKind::Auth | ErrorKind::Invalid | ErrorKind::Unsupported)
}

fn kind_of(error: &RedisError) -> ErrorKind {
    use ServerErrorKind::{BusyLoading, ClusterDown, MasterDown, NoPerm, ReadOnly, TryAgain};
    match (error.kind(), error.code()) {
        (RedisKind::AuthenticationFailed | RedisKind::Server(NoPerm), _) => ErrorKind::Auth,
        (_, Some("NOAUTH" | "WRONGPASS" | "NOPERM")) => ErrorKind::Auth,
        (_, Some("OOM")) => ErrorKind::Backpressure,
        (_, Some("NOGROUP")) => ErrorKind::NotFound,
        (RedisKind::Server(BusyLoading | ClusterDown | MasterDown | ReadOnly | TryAgain), _) => ErrorKind::Unavailable,
        (RedisKind::Server(_) | RedisKind::Extension, _) => ErrorKind::Backend,
        (RedisKind::InvalidClientConfig, _) => ErrorKind::Invalid,
        _ if error.is_timeout() => ErrorKind::Timeout,
        (RedisKind::Io, _) if is_tls(error) => ErrorKind::Auth,
        _ => ErrorKind::Unavailable,
    }
}

/// Whether TLS failed: rustls reports through I/O errors.
fn is_tls(error: &RedisError) -> bool {
    let text = error.to_string();
    text.contains("certificate") || text.contains("UnknownIssuer") || text.contains("received fatal alert")
}

/// Whether the connection is of no more use, rather than one command refused.
pub(super) fn breaks(error: &RedisError) -> bool {
    match error.kind() {
        RedisKind::Server(kind) => matches!(kind, ServerErrorKind::ReadOnly | ServerErrorKind::MasterDown),
        RedisKind::Extension | RedisKind::Client | RedisKind::UnexpectedReturnType => false,
        _ => true,
    }
}

/// Whether a stream or group is missing.
pub(super) fn is_missing(error: &RedisError) -> bool {
    matches!(error.code(), Some("NOGROUP" | "UNBLOCKED"))
        || error.detail().is_some_and(|detail| detail.contains("NOGROUP") || detail.contains("no such key"))
}

/// Whether the server does not know a script.
pub(super) fn is_unknown_script(error: &RedisError) -> bool {
    error.kind() == RedisKind::Server(ServerErrorKind::NoScript)
}

/// The error of everything that is asked of a closed adapter.
pub(super) fn closed(operation: &'static str) -> Error {
    Error::new(ErrorKind::Closed, operation, "the adapter is closed")
}

/// An answer of the wrong shape.
pub(super) fn unexpected(operation: &'static str) -> Error {
    Error::new(ErrorKind::Backend, operation, "the server's answer is not of the expected shape")
}
