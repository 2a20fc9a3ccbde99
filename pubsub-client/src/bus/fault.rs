//! What goes wrong where nobody waits for the result.

use std::{
    error::Error as StdError,
    fmt,
    panic::AssertUnwindSafe,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use pubsub_core::Message;

use super::names::sent_name;

/// An error with any cause.
pub type BoxError = Box<dyn StdError + Send + Sync>;

/// Something that went wrong where nobody waits for the result: in a listener, or on the way to it.
#[derive(Debug)]
#[non_exhaustive]
pub struct BusFault {
    /// What kind of thing it was.
    pub kind: FaultKind,
    /// Which event it happened to, by the name that its sender gave it, where it was one event.
    pub event: Option<String>,
    /// What the listener had asked for, where it was one listener.
    pub listener: Option<String>,
    /// Why.
    pub cause: BoxError,
}

/// What kind of thing went wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum FaultKind {
    /// A listener returned an error.
    Failed,
    /// A listener panicked.
    Panicked,
    /// An event did not fit the type that a listener takes.
    Unreadable,
    /// A listener had too many events waiting, and did not get this one.
    Overrun,
    /// Events were lost on the way to all listeners of a channel, or its subscription is in trouble or has ended.
    Subscription,
}

impl FaultKind {
    /// In a word.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Failed => "failed",
            Self::Panicked => "panicked",
            Self::Unreadable => "unreadable",
            Self::Overrun => "overrun",
            Self::Subscription => "subscription",
        }
    }
}

impl fmt::Display for BusFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.kind {
            FaultKind::Failed => "a listener failed",
            FaultKind::Panicked => "a listener panicked",
            FaultKind::Unreadable => "an event does not fit its listener",
            FaultKind::Overrun => "a listener is too slow and missed an event",
            FaultKind::Subscription => "events may have been lost",
        })?;
        if let Some(listener) = &self.listener {
            write!(f, ", listener for `{listener}`")?;
        }
        if let Some(event) = &self.event {
            write!(f, ", event `{event}`")?;
        }
        Ok(())
    }
}

impl StdError for BusFault {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        Some(&*self.cause)
    }
}

/// Who is told of faults.
pub(super) type Hook = Box<dyn Fn(BusFault) + Send + Sync>;

/// Counts faults, and tells the hook.
pub(super) struct Faults {
    hook: Option<Hook>,
    count: AtomicU64,
}

impl Faults {
    pub(super) fn new(hook: Option<Hook>) -> Arc<Self> {
        Arc::new(Self { hook, count: AtomicU64::new(0) })
    }

    pub(super) fn count(&self) -> u64 {
        self.count.load(Ordering::Relaxed)
    }

    pub(super) fn of_listener(&self, kind: FaultKind, message: &Message, listener: &str, cause: BoxError) {
        let event = Some(sent_name(message.name()).into_owned());
        self.report(BusFault { kind, event, listener: Some(listener.to_owned()), cause });
    }

    pub(super) fn of_subscription(&self, cause: BoxError) {
        self.report(BusFault { kind: FaultKind::Subscription, event: None, listener: None, cause });
    }

    fn report(&self, fault: BusFault) {
        self.count.fetch_add(1, Ordering::Relaxed);
        if let Some(hook) = &self.hook {
            // A hook that panics must not end the task of the listener that it is told about. The fault is counted.
            let _ = std::panic::catch_unwind(AssertUnwindSafe(|| hook(fault)));
        }
    }
}
