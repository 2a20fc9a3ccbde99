use std::fmt;
use std::io;
use std::process::ExitStatus;

/// Why there is no PostgreSQL.
#[derive(Debug)]
#[non_exhaustive]
pub enum PostgresError {
    /// Its programs are not on this machine.
    Missing {
        /// What was looked for.
        looked_for: String,
    },
    /// The server ended before it took sessions.
    Exited {
        /// How it ended.
        status: ExitStatus,
        /// What it logged.
        log: String,
    },
    /// The server runs but took no session in time.
    NotReady {
        /// What it said last.
        last: io::Error,
        /// What it logged.
        log: String,
    },
    /// A program of it failed.
    Failed {
        /// Which.
        program: &'static str,
        /// What it printed.
        output: String,
    },
    /// A file or a process could not be handled.
    Io {
        /// What was attempted.
        action: &'static str,
        /// The fault.
        source: io::Error,
    },
}

impl PostgresError {
    pub(super) fn io(action: &'static str) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Io { action, source }
    }

    pub(super) fn is_port_taken(&self) -> bool {
        matches!(self, Self::Exited { log, .. } if log.contains("Address already in use"))
    }
}

impl fmt::Display for PostgresError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing { looked_for } => write!(
                f,
                "PostgreSQL is missing: looked for {looked_for}; on Debian and Ubuntu it is the package `postgresql`"
            ),
            Self::Exited { status, log } => write!(f, "PostgreSQL ended before it took sessions ({status}):\n{log}"),
            Self::NotReady { log, .. } => write!(f, "PostgreSQL took no session in time; its log:\n{log}"),
            Self::Failed { program, output } => write!(f, "{program} failed: {output}"),
            Self::Io { action, .. } => write!(f, "PostgreSQL: cannot {action}"),
        }
    }
}

impl std::error::Error for PostgresError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::NotReady { last: source, .. } | Self::Io { source, .. } => Some(source),
            _ => None,
        }
    }
}
