use std::fmt;
use std::io;
use std::path::PathBuf;
use std::process::ExitStatus;
use std::time::Duration;

use super::BrokerKind;

/// Why a broker could not be had, or could not do what was asked.
#[derive(Debug)]
#[non_exhaustive]
pub enum BrokerError {
    /// No program of this broker is on the machine.
    Missing {
        /// Which broker.
        kind: BrokerKind,
        /// What was looked for.
        looked_for: String,
    },
    /// The process ended before it answered.
    Exited {
        /// Which broker.
        kind: BrokerKind,
        /// How it ended.
        status: ExitStatus,
        /// What it logged since it was started.
        log: String,
    },
    /// The process runs but gave no sound answer in time.
    NotReady {
        /// Which broker.
        kind: BrokerKind,
        /// How long it was waited for.
        waited: Duration,
        /// What the last handshake said.
        last: HandshakeError,
        /// What it logged since it was started.
        log: String,
    },
    /// What was asked needs a stopped broker (`wipe`) or a running one (`pause`).
    State {
        /// Which broker.
        kind: BrokerKind,
        /// The state that it is in, and what was asked.
        message: &'static str,
    },
    /// A file or a process could not be handled.
    Io {
        /// What was attempted.
        action: String,
        /// The fault.
        source: io::Error,
    },
}

impl BrokerError {
    pub(crate) fn io(action: impl Into<String>) -> impl FnOnce(io::Error) -> Self {
        let action = action.into();
        move |source| Self::Io { action, source }
    }

    pub(crate) fn path(action: &str, path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        Self::io(format!("{action} {}", path.into().display()))
    }

    /// Whether the broker ended because another process has one of its ports.
    #[must_use]
    pub fn is_port_taken(&self) -> bool {
        const SIGNS: [&str; 2] = ["address already in use", "eaddrinuse"];
        match self {
            Self::Exited { log, .. } => {
                let log = log.to_lowercase();
                SIGNS.iter().any(|sign| log.contains(sign))
            }
            _ => false,
        }
    }
}

impl fmt::Display for BrokerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing { kind, looked_for } => {
                write!(f, "{kind} is missing: looked for {looked_for}; {}", kind.how_to_get())
            }
            Self::Exited { kind, status, log } => {
                write!(f, "{kind} ended before it answered ({status}); end of its log:\n{}", tail(log))
            }
            Self::NotReady { kind, waited, log, .. } => {
                write!(f, "{kind} gave no sound answer within {waited:?}; end of its log:\n{}", tail(log))
            }
            Self::State { kind, message } => write!(f, "{kind}: {message}"),
            Self::Io { action, .. } => write!(f, "cannot {action}"),
        }
    }
}

impl std::error::Error for BrokerError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::NotReady { last, .. } => Some(last),
            Self::Io { source, .. } => Some(source),
            _ => None,
        }
    }
}

fn tail(log: &str) -> String {
    const LINES: usize = 40;
    let lines: Vec<&str> = log.lines().collect();
    lines[lines.len().saturating_sub(LINES)..].join("\n")
}

/// Why a server did not pass its protocol's handshake.
#[derive(Debug)]
#[non_exhaustive]
pub enum HandshakeError {
    /// Nothing was heard in time: the server is stopped, stalled or cut off.
    Timeout,
    /// The connection was refused or broke.
    Connection(io::Error),
    /// The server answered, but not as a ready server of this kind does.
    Answer(String),
    /// The URL cannot be used.
    Url(String),
}

impl HandshakeError {
    /// Whether the deadline passed without an answer.
    #[must_use]
    pub fn is_timeout(&self) -> bool {
        matches!(self, Self::Timeout)
    }
}

impl From<io::Error> for HandshakeError {
    fn from(fault: io::Error) -> Self {
        match fault.kind() {
            io::ErrorKind::TimedOut | io::ErrorKind::WouldBlock => Self::Timeout,
            _ => Self::Connection(fault),
        }
    }
}

impl fmt::Display for HandshakeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Timeout => f.write_str("no answer in time"),
            Self::Connection(_) => f.write_str("the connection failed"),
            Self::Answer(answer) => write!(f, "unexpected answer: {answer}"),
            Self::Url(fault) => write!(f, "unusable URL: {fault}"),
        }
    }
}

impl std::error::Error for HandshakeError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Connection(fault) => Some(fault),
            _ => None,
        }
    }
}
