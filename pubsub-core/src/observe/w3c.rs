//! W3C trace context: a span as the metadata of an event name it.

use std::fmt;

use crate::{EventId, Meta};

/// A span, and what vendors add to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct TraceContext {
    /// 32 hexadecimal digits.
    pub(super) trace: String,
    /// 16 hexadecimal digits.
    pub(super) span: String,
    /// Two hexadecimal digits.
    pub(super) flags: String,
    pub(super) state: Option<String>,
}

impl TraceContext {
    /// The span that an event belongs to, if its metadata names one that is understood.
    pub(super) fn of(meta: &Meta) -> Option<Self> {
        Some(Self { state: meta.tracestate.clone(), ..Self::parse(meta.traceparent.as_deref()?)? })
    }

    /// The span of this name.
    pub(super) fn parse(traceparent: &str) -> Option<Self> {
        let mut parts = traceparent.split('-');
        let (version, trace, span, flags) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
        let hex = |text: &str, length| {
            text.len() == length && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
        };
        let named = |text: &str, length| hex(text, length) && text.bytes().any(|byte| byte != b'0');
        let sound = hex(version, 2) && version != "ff" && named(trace, 32) && named(span, 16) && hex(flags, 2);
        // A later version may add fields; this one has no more.
        let sound = sound && (version != "00" || parts.next().is_none());
        let owned = |text: &str| text.to_owned();
        sound.then(|| Self { trace: owned(trace), span: owned(span), flags: owned(flags), state: None })
    }

    /// A new span in the same trace.
    pub(super) fn child(self) -> Self {
        Self { span: random(16), ..self }
    }

    /// The first span of a new trace.
    pub(super) fn root() -> Self {
        Self { trace: random(32), span: random(16), flags: "01".to_owned(), state: None }
    }

    /// Names the span in the metadata of an event.
    pub(super) fn write(&self, meta: &mut Meta) {
        meta.traceparent = Some(self.to_string());
        meta.tracestate.clone_from(&self.state);
    }
}

impl fmt::Display for TraceContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "00-{}-{}-{}", self.trace, self.span, self.flags)
    }
}

/// So many random hexadecimal digits, at most 32 and never all zero: those of a random id, which has a digit that is 4.
fn random(digits: usize) -> String {
    EventId::random().to_string().chars().filter(char::is_ascii_hexdigit).take(digits).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(traceparent: &str) -> Option<TraceContext> {
        let mut meta = Meta::default();
        meta.traceparent = Some(traceparent.to_owned());
        meta.tracestate = Some("vendor=1".to_owned());
        TraceContext::of(&meta)
    }

    #[test]
    fn a_child_stays_in_the_trace_of_its_parent() {
        let parent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00";
        let child = read(parent).unwrap().child();
        let text = child.to_string();
        assert!(text.starts_with("00-4bf92f3577b34da6a3ce929d0e0e4736-") && text.ends_with("-00"), "{text}");
        assert_ne!(text, parent);
        assert_eq!(text.len(), parent.len());
        assert_eq!(child.state.as_deref(), Some("vendor=1"));
    }

    #[test]
    fn what_is_no_context_is_none() {
        for odd in [
            "",
            "00-xyz",
            "ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00",
            "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
            "00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-more",
        ] {
            assert_eq!(read(odd), None, "{odd}");
        }
        assert!(read("01-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-more").is_some());
    }

    #[test]
    fn what_is_written_is_read_back() {
        let root = TraceContext::root();
        let mut meta = Meta::default();
        root.write(&mut meta);
        assert_eq!(TraceContext::of(&meta), Some(root));
    }
}
