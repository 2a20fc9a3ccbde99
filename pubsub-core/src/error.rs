//! The one error of the library: what kind, during which operation, on which channel, and why.

use std::{borrow::Cow, error::Error as StdError, fmt, sync::Arc};

use crate::ChannelName;

/// A `Result` whose error is [`Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What went wrong, coarse enough to be acted on by program.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// An argument, name, option or payload breaks a rule; nothing was done.
    Invalid,
    /// The adapter cannot do what was asked for; reported when the publisher or subscription is built.
    Unsupported,
    /// The broker cannot be reached now.
    Unavailable,
    /// No answer within the time given.
    Timeout,
    /// The deadline carried by the event itself has passed.
    DeadlineExceeded,
    /// A bounded buffer stayed full for as long as the caller was willing to wait.
    Backpressure,
    /// The broker or a policy refused the operation.
    Rejected,
    /// Nobody would receive the event: no queue, no stream, no responder.
    Unroutable,
    /// A payload or batch is larger than the limit.
    TooLarge,
    /// Credentials are missing, wrong or insufficient.
    Auth,
    /// The channel, group or object does not exist.
    NotFound,
    /// It exists already with another meaning, or somebody else was first.
    Conflict,
    /// What exists on the broker differs from what was declared.
    TopologyMismatch,
    /// The position points before the first event that is still retained.
    PositionExpired,
    /// Bytes could not be decoded, or a value could not be encoded.
    Codec,
    /// The operation was cancelled before it had an effect.
    Cancelled,
    /// The handle, subscription or bus is closed.
    Closed,
    /// The broker reported something that fits no other kind.
    Backend,
}

impl ErrorKind {
    /// The kind as one lower-case word, as logs and metrics carry it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Invalid => "invalid",
            Self::Unsupported => "unsupported",
            Self::Unavailable => "unavailable",
            Self::Timeout => "timeout",
            Self::DeadlineExceeded => "deadline_exceeded",
            Self::Backpressure => "backpressure",
            Self::Rejected => "rejected",
            Self::Unroutable => "unroutable",
            Self::TooLarge => "too_large",
            Self::Auth => "auth",
            Self::NotFound => "not_found",
            Self::Conflict => "conflict",
            Self::TopologyMismatch => "topology_mismatch",
            Self::PositionExpired => "position_expired",
            Self::Codec => "codec",
            Self::Cancelled => "cancelled",
            Self::Closed => "closed",
            Self::Backend => "backend",
        }
    }
}

impl fmt::Display for ErrorKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// One fault of a payload or option: where it is, and what is wrong there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// JSON pointer (RFC 6901) to the value at fault; empty for the whole document.
    pub pointer: String,
    /// What is wrong there.
    pub message: String,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.pointer.is_empty() {
            f.write_str(&self.message)
        } else {
            write!(f, "{}: {}", self.pointer, self.message)
        }
    }
}

struct Inner {
    kind: ErrorKind,
    operation: &'static str,
    channel: Option<ChannelName>,
    message: Cow<'static, str>,
    faults: Vec<Fault>,
    maybe_applied: bool,
    source: Option<Box<dyn StdError + Send + Sync>>,
}

/// What every fallible call of the library returns.
///
/// `Display` prints operation, channel and message once and leaves the cause to [`StdError::source`], so that a
/// report that walks the chain names each cause once. Cloning is cheap: one failed broker call may end many tickets.
#[derive(Clone)]
pub struct Error(Arc<Inner>);

impl Error {
    /// An error of `kind` met during `operation` (a verb such as `"publish"`).
    pub fn new(kind: ErrorKind, operation: &'static str, message: impl Into<Cow<'static, str>>) -> Self {
        Self(Arc::new(Inner {
            kind,
            operation,
            channel: None,
            message: message.into(),
            faults: Vec::new(),
            maybe_applied: false,
            source: None,
        }))
    }

    fn edit(mut self, change: impl FnOnce(&mut Inner)) -> Self {
        match Arc::get_mut(&mut self.0) {
            Some(inner) => change(inner),
            None => {
                // A shared error is copied without its source text being lost: the original becomes the source.
                let mut inner = Inner {
                    kind: self.0.kind,
                    operation: self.0.operation,
                    channel: self.0.channel.clone(),
                    message: self.0.message.clone(),
                    faults: self.0.faults.clone(),
                    maybe_applied: self.0.maybe_applied,
                    source: self.0.source.as_ref().map(|_| Box::new(SharedSource(self.0.clone())) as _),
                };
                change(&mut inner);
                self.0 = Arc::new(inner);
            }
        }
        self
    }

    /// The same with other words, in the course of another operation.
    pub(crate) fn reworded(self, operation: &'static str, message: String) -> Self {
        self.edit(|inner| (inner.operation, inner.message) = (operation, message.into()))
    }

    /// Several errors as one, with the kind of the first and all their texts; a single one as it is.
    pub(crate) fn join(operation: &'static str, errors: Vec<Self>) -> Result<()> {
        if let [first, _, ..] = errors.as_slice() {
            let texts: Vec<_> = errors.iter().map(Self::message).collect();
            let faults = errors.iter().flat_map(|error| error.faults().iter().cloned()).collect();
            return Err(Self::new(first.kind(), operation, texts.join("; ")).with_faults(faults));
        }
        errors.into_iter().next().map_or(Ok(()), Err)
    }

    /// Adds the channel that the operation was about.
    #[must_use]
    pub fn on(self, channel: &ChannelName) -> Self {
        self.edit(|inner| inner.channel = Some(channel.clone()))
    }

    /// Adds the cause.
    #[must_use]
    pub fn because(self, source: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        let source = source.into();
        self.edit(|inner| inner.source = Some(source))
    }

    /// Adds the places at fault.
    #[must_use]
    pub fn with_faults(self, faults: Vec<Fault>) -> Self {
        self.edit(|inner| inner.faults = faults)
    }

    /// Says that the effect may have happened although the call failed, as after a timeout once bytes were sent.
    #[must_use]
    pub fn perhaps_applied(self) -> Self {
        self.edit(|inner| inner.maybe_applied = true)
    }

    /// What went wrong.
    pub fn kind(&self) -> ErrorKind {
        self.0.kind
    }

    /// During which operation.
    pub fn operation(&self) -> &'static str {
        self.0.operation
    }

    /// On which channel, where one is known.
    pub fn channel(&self) -> Option<&ChannelName> {
        self.0.channel.as_ref()
    }

    /// The message alone, without operation and channel.
    pub fn message(&self) -> &str {
        &self.0.message
    }

    /// The places at fault, for kinds `Invalid` and `Codec`.
    pub fn faults(&self) -> &[Fault] {
        &self.0.faults
    }

    /// Whether the same call may succeed later without a change by the caller.
    pub fn is_retryable(&self) -> bool {
        matches!(
            self.0.kind,
            ErrorKind::Unavailable | ErrorKind::Timeout | ErrorKind::Backpressure | ErrorKind::Backend
        )
    }

    /// Whether the effect may have happened nevertheless. Repeat such a call with the same event id.
    pub fn maybe_applied(&self) -> bool {
        self.0.maybe_applied
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0.operation)?;
        if let Some(channel) = &self.0.channel {
            write!(f, " on `{channel}`")?;
        }
        write!(f, ": {}", self.0.message)?;
        for (index, fault) in self.0.faults.iter().enumerate() {
            write!(f, "{}{fault}", if index == 0 { " (" } else { "; " })?;
        }
        if !self.0.faults.is_empty() {
            f.write_str(")")?;
        }
        Ok(())
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut out = f.debug_struct("Error");
        out.field("kind", &self.0.kind).field("operation", &self.0.operation);
        if let Some(channel) = &self.0.channel {
            out.field("channel", &channel.as_str());
        }
        out.field("message", &self.0.message);
        if !self.0.faults.is_empty() {
            out.field("faults", &self.0.faults);
        }
        if self.0.maybe_applied {
            out.field("maybe_applied", &true);
        }
        if let Some(source) = &self.0.source {
            out.field("source", source);
        }
        out.finish()
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.0.source.as_deref().map(|source| source as _)
    }
}

/// Lends the source of a shared error to its edited copy.
struct SharedSource(Arc<Inner>);

impl SharedSource {
    fn get(&self) -> Option<&(dyn StdError + Send + Sync + 'static)> {
        self.0.source.as_deref()
    }
}

impl fmt::Debug for SharedSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.get(), f)
    }
}

impl fmt::Display for SharedSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.get() {
            Some(source) => fmt::Display::fmt(source, f),
            None => Ok(()),
        }
    }
}

impl StdError for SharedSource {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.get().and_then(StdError::source)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_names_each_cause_once() {
        let cause = std::io::Error::other("broken pipe");
        let error = Error::new(ErrorKind::Unavailable, "publish", "the broker went away").because(cause);
        assert_eq!(error.to_string(), "publish: the broker went away");
        assert_eq!(error.source().map(ToString::to_string).as_deref(), Some("broken pipe"));
        assert!(error.is_retryable());
    }

    #[test]
    fn editing_a_shared_error_keeps_the_original() {
        let first = Error::new(ErrorKind::Timeout, "publish", "no answer").because(std::io::Error::other("slow"));
        let second = first.clone().perhaps_applied();
        assert!(second.maybe_applied() && !first.maybe_applied());
        assert_eq!(second.source().map(ToString::to_string).as_deref(), Some("slow"));
    }

    #[test]
    fn faults_are_printed_with_their_pointers() {
        let fault = Fault { pointer: "/total".into(), message: "expected a number".into() };
        let error = Error::new(ErrorKind::Codec, "decode", "payload does not fit").with_faults(vec![fault]);
        assert_eq!(error.to_string(), "decode: payload does not fit (/total: expected a number)");
    }
}
