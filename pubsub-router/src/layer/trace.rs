//! `Trace`: a span per delivery, within the trace that the event came with.

use pubsub_core::EventId;
use tracing::{Instrument, field::Empty};

use super::{Inner, layer};
use crate::{Incoming, Verdict};

/// Runs the handler in a span, and carries W3C trace context on: the span belongs to the trace of the event's
/// `traceparent`, or begins one, and what the handler emits names it as its parent. What the handler logs by `tracing`
/// belongs to the span; a failure is logged with its text and decision.
#[derive(Clone, Copy, Debug, Default)]
pub struct Trace;

impl Trace {
    async fn around(&self, incoming: Incoming, inner: impl Inner) -> Verdict {
        let message = incoming.message().clone();
        let context = Context::within(message.meta().traceparent.as_deref());
        let span = tracing::info_span!(
            "handle",
            group = %incoming.group(),
            channel = %message.channel(),
            event = %message.name(),
            id = %message.id(),
            attempt = incoming.attempt(),
            trace_id = %context.trace,
            span_id = %context.span,
            outcome = Empty,
        );
        let (parent, state) = (context.to_string(), message.meta().tracestate.clone());
        incoming.on_emit(move |emitted| {
            if emitted.meta.traceparent.is_none() {
                emitted.meta.traceparent = Some(parent.clone());
                emitted.meta.tracestate.clone_from(&state);
            }
        });
        let verdict = inner.run(incoming).instrument(span.clone()).await;
        match &verdict {
            Ok(_) => span.record("outcome", "success"),
            Err(error) => {
                span.in_scope(|| tracing::warn!(decision = ?error.decision(), "{error}"));
                span.record("outcome", "failure")
            }
        };
        verdict
    }
}

layer!(Trace, TraceService);

/// A span as W3C trace context names it.
struct Context {
    trace: String,
    span: String,
    flags: String,
}

impl Context {
    /// A new span in the trace of `parent`; in a new trace if there is no parent or it is not understood.
    fn within(parent: Option<&str>) -> Self {
        let known = parent.and_then(|parent| {
            let mut parts = parent.split('-');
            let (version, trace, span, flags) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
            let hex = |text: &str, length| {
                text.len() == length && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
            };
            let named = |text: &str, length| hex(text, length) && text.bytes().any(|byte| byte != b'0');
            let sound = hex(version, 2) && version != "ff" && named(trace, 32) && named(span, 16) && hex(flags, 2);
            sound.then(|| (trace.to_owned(), flags.to_owned()))
        });
        let (trace, flags) = known.unwrap_or_else(|| (random(32), "01".to_owned()));
        Self { trace, span: random(16), flags }
    }
}

impl std::fmt::Display for Context {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
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

    #[test]
    fn a_span_stays_in_the_trace_of_its_parent() {
        let parent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00";
        let context = Context::within(Some(parent)).to_string();
        assert!(context.starts_with("00-4bf92f3577b34da6a3ce929d0e0e4736-") && context.ends_with("-00"), "{context}");
        assert_ne!(context, parent);
        assert_eq!(context.len(), parent.len());
    }

    #[test]
    fn what_is_no_context_begins_a_trace() {
        let zero = "00-00000000000000000000000000000000-00f067aa0ba902b7-01";
        for odd in ["", "00-xyz", "ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00", zero] {
            let context = Context::within(Some(odd)).to_string();
            assert_eq!(context.len(), 55, "{context}");
            assert!(Context::within(Some(&context)).to_string().starts_with(&context[..35]));
        }
    }
}
