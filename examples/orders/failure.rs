//! Why there is no report.

use std::{error::Error, fmt, process::ExitCode};

/// What keeps the example from reaching its report.
#[derive(Debug)]
pub(crate) enum Failure {
    /// It could not begin: the arguments, the input or the bus.
    Start(String),
    /// It broke off on the way.
    Run(String),
}

impl Failure {
    /// 2 for what the caller can put right before trying again, 1 for the rest.
    pub(crate) fn status(&self) -> ExitCode {
        match self {
            Self::Start(_) => ExitCode::from(2),
            Self::Run(_) => ExitCode::FAILURE,
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (Self::Start(text) | Self::Run(text)) = self;
        f.write_str(text)
    }
}

impl From<pubsub::Error> for Failure {
    fn from(error: pubsub::Error) -> Self {
        Self::Run(with_causes(&error))
    }
}

/// An error and everything that led to it, on one line.
pub(crate) fn with_causes(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}
