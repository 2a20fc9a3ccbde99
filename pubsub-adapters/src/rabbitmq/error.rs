//! From the client's errors to the library's.

use lapin::protocol::{AMQPError, AMQPErrorKind, AMQPHardError, AMQPSoftError};
use pubsub_core::{Error, ErrorKind};

/// What went wrong, in the library's words.
pub(super) fn convert(operation: &'static str, error: lapin::Error) -> Error {
    let (kind, text) = match error.kind() {
        lapin::ErrorKind::ProtocolError(error) => {
            let kind = match error.kind() {
                AMQPErrorKind::Soft(AMQPSoftError::ACCESSREFUSED) => ErrorKind::Auth,
                AMQPErrorKind::Soft(AMQPSoftError::NOTFOUND) if is_down(error) => ErrorKind::Unavailable,
                AMQPErrorKind::Soft(AMQPSoftError::NOTFOUND) => ErrorKind::NotFound,
                AMQPErrorKind::Soft(AMQPSoftError::RESOURCELOCKED) => ErrorKind::Conflict,
                // A stream that was just declared.
                AMQPErrorKind::Soft(AMQPSoftError::PRECONDITIONFAILED)
                    if error.get_message().as_str().contains("does not have a replica") =>
                {
                    ErrorKind::Unavailable
                }
                AMQPErrorKind::Soft(AMQPSoftError::PRECONDITIONFAILED) => ErrorKind::TopologyMismatch,
                AMQPErrorKind::Soft(AMQPSoftError::CONTENTTOOLARGE) => ErrorKind::TooLarge,
                AMQPErrorKind::Hard(AMQPHardError::NOTALLOWED) => ErrorKind::Auth,
                AMQPErrorKind::Hard(AMQPHardError::CONNECTIONFORCED) => ErrorKind::Unavailable,
                _ => ErrorKind::Backend,
            };
            (kind, "the broker refused")
        }
        lapin::ErrorKind::AuthProviderError(_) => (ErrorKind::Auth, "the credentials cannot be used"),
        lapin::ErrorKind::IOError(error) if error.kind() == std::io::ErrorKind::InvalidData => {
            (ErrorKind::Auth, "the encrypted connection was refused")
        }
        lapin::ErrorKind::IOError(_) | lapin::ErrorKind::MissingHeartbeatError => {
            (ErrorKind::Unavailable, "the connection to the broker is gone")
        }
        lapin::ErrorKind::InvalidConnectionState(_) | lapin::ErrorKind::InvalidChannelState(..) => {
            (ErrorKind::Unavailable, "the connection to the broker is closed")
        }
        lapin::ErrorKind::RuntimeShutdownError(_) => (ErrorKind::Closed, "the runtime of the connection has ended"),
        _ => (ErrorKind::Backend, "the client failed"),
    };
    Error::new(kind, operation, text).because(error)
}

/// The broker does not answer, or cannot be reached.
pub(super) fn unavailable(operation: &'static str, reason: &str) -> Error {
    Error::new(ErrorKind::Unavailable, operation, format!("the broker cannot be reached: {reason}"))
}

/// The adapter is closed.
pub(super) fn closed(operation: &'static str) -> Error {
    Error::new(ErrorKind::Closed, operation, "the adapter is closed")
}

/// The broker did not answer in time.
pub(super) fn late(operation: &'static str) -> Error {
    Error::new(ErrorKind::Timeout, operation, "the broker did not answer in time")
}

/// Whether the broker says that something does not exist.
pub(super) fn is_missing(error: &lapin::Error) -> bool {
    let lapin::ErrorKind::ProtocolError(cause) = error.kind() else { return false };
    is_soft(error, |soft| matches!(soft, AMQPSoftError::NOTFOUND)) && !is_down(cause)
}

/// The broker has one word for what does not exist, and for a queue that is there and has no leader yet.
fn is_down(error: &AMQPError) -> bool {
    error.get_message().as_str().contains("down or inaccessible")
}

/// Whether the broker says that something exists with other properties.
pub(super) fn is_different(error: &lapin::Error) -> bool {
    is_soft(error, |soft| matches!(soft, AMQPSoftError::PRECONDITIONFAILED))
}

fn is_soft(error: &lapin::Error, wanted: impl Fn(&AMQPSoftError) -> bool) -> bool {
    let lapin::ErrorKind::ProtocolError(error) = error.kind() else { return false };
    matches!(error.kind(), AMQPErrorKind::Soft(soft) if wanted(soft))
}
